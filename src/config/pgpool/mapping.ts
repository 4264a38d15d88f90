/**
 * From the lines of a pgpool.conf to tables in the shape of pgsluice.toml, by the table in parameters.ts. What has no
 * counterpart comes out as remarks. Checking the values is left to the schema of the configuration.
 *
 * Paths stay as they are written if they are absolute; others start at the folder of pgpool.conf.
 */
import path from "node:path";
import { functionLists } from "../function-lists.ts";
import { meansSame, type PgpoolLine, readSwitch, readTime } from "./grammar.ts";
import { verdictOf } from "./parameters.ts";

/** Something to tell the reader of the new file. */
export interface Remark {
  /** Line of pgpool.conf, if one is meant. */
  readonly line?: number;
  readonly text: string;
}

export interface MappedPgpool {
  readonly pgsluice: Record<string, unknown>;
  readonly nodes: Record<string, Record<string, unknown>>;
  readonly remarks: readonly Remark[];
  /** Clients are held against pool_hba.conf. */
  readonly usesRules: boolean;
  /** The file of users, as an absolute path; empty: none. */
  readonly usersFile: string;
}

export function mapPgpool(lines: readonly PgpoolLine[], file: string): MappedPgpool {
  return new Mapping(path.dirname(path.resolve(file))).map(lines);
}

class Mapping {
  readonly #folder: string;
  readonly #given = new Map<string, PgpoolLine>();
  /** By parameter and number. */
  readonly #numbered = new Map<string, Map<number, PgpoolLine>>();
  readonly #pgsluice: Record<string, unknown> = {};
  readonly #remarks: Remark[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  map(lines: readonly PgpoolLine[]): MappedPgpool {
    for (const line of lines) this.#gather(line);
    this.#listening();
    this.#pools();
    this.#times();
    this.#encryption();
    this.#logging();
    this.#functions();
    const nodes = this.#nodes();
    const users = this.#text("pool_passwd") ?? "pool_passwd";
    return {
      pgsluice: this.#pgsluice,
      nodes,
      remarks: this.#remarks,
      usesRules: this.#switch("enable_pool_hba", false),
      usersFile: users === "" ? "" : this.#path(users),
    };
  }

  // ---- lines ----

  #gather(line: PgpoolLine): void {
    const known = verdictOf(line.name);
    if (known === undefined) {
      this.#remark(`${line.name} is no parameter of pgpool-II, and is left out.`, line);
      return;
    }
    const { name, verdict, number } = known;
    if (name.endsWith("N") && number !== undefined) {
      const lines = this.#numbered.get(name) ?? new Map<number, PgpoolLine>();
      this.#numbered.set(name, lines.set(number, line));
    } else if (number === undefined) {
      this.#given.set(name, line);
    }
    if (verdict.verdict !== "missing" && verdict.verdict !== "inert") return;
    if (verdict.default === undefined || meansSame(line.value, verdict.default)) return;
    if (name === "backend_clustering_mode" && meansSame(line.value, "raw")) return;
    const fate =
      verdict.verdict === "inert"
        ? "has no counterpart and needs none"
        : "HAS NO COUNTERPART, and is left out";
    this.#remark(`${line.name} ${fate}. ${verdict.doc.replaceAll("`", "")}`, line);
  }

  #remark(text: string, line?: PgpoolLine): void {
    this.#remarks.push(line === undefined ? { text } : { line: line.line, text });
  }

  #text(name: string): string | undefined {
    return this.#given.get(name)?.value;
  }

  #switch(name: string, initial: boolean): boolean {
    return readSwitch(this.#text(name) ?? "") ?? initial;
  }

  /** A whole number; what is none is left to the schema, which says what is wrong. */
  #count(name: string, initial: number): number {
    const text = this.#text(name);
    return text === undefined ? initial : Number(text);
  }

  #path(text: string): string {
    return path.resolve(this.#folder, text);
  }

  // ---- groups ----

  #listening(): void {
    const settings = this.#pgsluice;
    settings["listen_addr"] = this.#text("listen_addresses") ?? "localhost";
    settings["listen_port"] = this.#count("port", 9999);
    const folders = (this.#text("unix_socket_directories") ?? "/tmp")
      .split(",")
      .map((folder) => folder.trim());
    settings["unix_socket_dir"] = folders[0] ?? "";
    if (folders.length > 1)
      this.#remark(
        "There is one Unix socket: of unix_socket_directories the first is taken.",
        this.#given.get("unix_socket_directories"),
      );
    settings["unix_socket_mode"] = this.#text("unix_socket_permissions") ?? "0777";
    const group = this.#text("unix_socket_group") ?? "";
    if (group !== "") settings["unix_socket_group"] = group;
    const pidFile = this.#text("pid_file_name") ?? "";
    if (pidFile !== "") settings["pidfile"] = this.#path(pidFile);
  }

  #pools(): void {
    const settings = this.#pgsluice;
    const children = this.#count("num_init_children", 32);
    settings["pool_mode"] = "session";
    settings["max_client_conn"] = children - this.#count("reserved_connections", 0);
    settings["superuser_reserved_connections"] = 0;
    settings["default_pool_size"] = children;
    settings["listen_backlog"] = children * this.#count("listen_backlog_multiplier", 2);
    this.#remark(
      `Clients beyond ${children} waited unseen in pgpool-II; here they are told that there are too many (53300). With pool_mode = "transaction" max_client_conn may be many times default_pool_size: docs/pooling.md.`,
    );
    if (!this.#switch("connection_cache", true)) settings["server_lifetime"] = 0;
    const reset = (this.#text("reset_query_list") ?? "ABORT; DISCARD ALL")
      .split(";")
      .map((query) => query.trim())
      .filter((query) => query !== "" && !/^(?:abort|rollback)$/i.test(query));
    settings["server_reset_query"] = reset.join("; ");
  }

  #times(): void {
    const seconds = (name: string, setting: string, unitSeconds: number, initial: number): void => {
      const text = this.#text(name);
      this.#pgsluice[setting] = text === undefined ? initial : (readTime(text, unitSeconds) ?? text);
    };
    seconds("authentication_timeout", "client_login_timeout", 1, 60);
    seconds("client_idle_limit", "client_idle_timeout", 1, 0);
    seconds("connection_life_time", "server_idle_timeout", 1, 0);
    seconds("connect_timeout", "server_connect_timeout", 0.001, 10);
    // 0 is no limit there, and refused here.
    if (this.#pgsluice["server_connect_timeout"] === 0) this.#pgsluice["server_connect_timeout"] = 60;
  }

  /** pgpool-II asks servers for TLS if it has it for clients, goes on without if they have none, and checks no names. */
  #encryption(): void {
    const settings = this.#pgsluice;
    settings["client_tls_sslmode"] = "disable";
    settings["server_tls_sslmode"] = "disable";
    if (!this.#switch("ssl", false)) return;
    settings["client_tls_sslmode"] = "prefer";
    settings["server_tls_sslmode"] = "prefer";
    settings["client_tls_key_file"] = this.#path(this.#text("ssl_key") ?? "./server.key");
    settings["client_tls_cert_file"] = this.#path(this.#text("ssl_cert") ?? "./server.crt");
    const authorities = this.#text("ssl_ca_cert") ?? "";
    if (authorities !== "") {
      settings["client_tls_ca_file"] = this.#path(authorities);
      settings["server_tls_ca_file"] = this.#path(authorities);
      this.#remark(
        'The names in certificates of servers are not checked, as in pgpool-II: server_tls_sslmode = "verify-full" does it.',
      );
    }
    const ciphers = this.#text("ssl_ciphers") ?? "";
    if (ciphers !== "" && !meansSame(ciphers, "HIGH:MEDIUM:+3DES:!aNULL"))
      settings["client_tls_ciphers"] = ciphers;
    const curve = this.#text("ssl_ecdh_curve") ?? "";
    if (curve !== "" && !meansSame(curve, "prime256v1")) settings["client_tls_ecdhcurve"] = curve;
  }

  #logging(): void {
    const settings = this.#pgsluice;
    settings["log_connections"] = this.#switch("log_connections", false);
    settings["log_disconnections"] = this.#switch("log_disconnections", false);
    settings["log_level"] = logLevelOf(this.#text("log_min_messages") ?? "warning");
    if (!(this.#text("log_destination") ?? "stderr").includes("syslog")) return;
    settings["syslog"] = true;
    settings["syslog_facility"] = (this.#text("syslog_facility") ?? "LOCAL0").toLowerCase();
    settings["syslog_ident"] = this.#text("syslog_ident") ?? "pgpool";
  }

  #functions(): void {
    for (const list of functionLists) {
      const entries = (this.#text(list) ?? "").split(",").map((entry) => entry.trim());
      const named = entries.filter((entry) => entry !== "");
      if (named.length > 0) this.#pgsluice[list] = named;
    }
  }

  // ---- nodes ----

  #nodes(): Record<string, Record<string, unknown>> {
    const of = (name: string, number: number): string | undefined =>
      this.#numbered.get(`backend_${name}N`)?.get(number)?.value;
    const numbers = [...(this.#numbered.get("backend_hostnameN")?.keys() ?? [])].sort((a, b) => a - b);
    const primary = numbers.find((number) => /ALWAYS_PRIMARY/i.test(of("flag", number) ?? "")) ?? numbers[0];
    const nodes: Record<string, Record<string, unknown>> = Object.create(null) as typeof nodes;
    const nameOf = new Map<number, string>();
    for (const number of numbers) {
      const wanted = of("application_name", number) ?? "";
      const name = wanted === "" || nodes[wanted] !== undefined ? `node${number}` : wanted;
      nameOf.set(number, name);
      // pgpool-II takes the Unix socket in /tmp if the host is empty.
      const host = of("hostname", number) ?? "";
      nodes[name] = { host: host === "" ? "/tmp" : host, port: Number(of("port", number) ?? 5432) };
      if (number !== primary) nodes[name]["role"] = "standby";
    }
    if (numbers.length === 0) nodes["node0"] = { host: "localhost", port: 5432 };
    this.#remarkNodes(numbers.length, primary === undefined ? undefined : nameOf.get(primary));
    return nodes;
  }

  #remarkNodes(count: number, primary: string | undefined): void {
    if (primary === undefined) {
      this.#remark("pgpool.conf names no backend: PostgreSQL on this machine stands in for one.");
    } else if (count > 1) {
      this.#remark(
        `pgpool-II finds out which node is the primary; here it is written down: ${primary}. The standbys are named and get no statements yet. pgsluice check tells whether the roles are right.`,
      );
    }
  }
}

/** pgpool-II's messages LOG, which it writes at nearly every level, are our `info`. */
function logLevelOf(text: string): string {
  const level = text.toLowerCase();
  if (/^debug[2-5]$/.test(level)) return "trace";
  if (level === "debug1") return "debug";
  if (level === "fatal" || level === "panic") return "fatal";
  return "info";
}
