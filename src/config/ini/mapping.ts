/**
 * From the lines of a pgbouncer.ini to a configuration in the shape of pgsluice.toml, by the tables in globals.ts
 * and names.ts. Checking the values is left to the schema of the configuration; what is kept beside them is where
 * each one stands, for its errors.
 *
 * The last of several lines counts. A further [pgbouncer] sets all that has a default back to it before its own
 * lines, as PgBouncer does.
 */
import type { DeclarationTable } from "../declare.ts";
import type { ConfigProblem } from "../errors.ts";
import { suggestion } from "../nearest.ts";
import { isConsoleDatabase } from "../reserved.ts";
import { settings } from "../settings.ts";
import { databaseSettings, peerSettings, userSettings } from "../tables.ts";
import { globalVerdicts, ownDefaults } from "./globals.ts";
import { type IniLine, type Place, placeText } from "./grammar.ts";
import { type NamedEntry, type NamedSection, readNamed } from "./named.ts";
import { isOfKind, meansSame, namedValueOf, readCount, valueOf } from "./values.ts";
import type { SettingVerdict, VerdictTable } from "./verdicts.ts";

/** A setting that was given and has no counterpart here. */
export interface Finding {
  readonly verdict: "inert" | "unsupported";
  /** As it is written: `pkt_buf`, or `connect_query of database "app"`. */
  readonly name: string;
  readonly doc: string;
  readonly place: Place;
}

export interface MappedIni {
  /** The tables of pgsluice.toml. */
  readonly raw: Readonly<
    Record<"pgsluice" | "nodes" | "databases" | "users" | "peers", Record<string, unknown>>
  >;
  /** Where the keys of `raw` were written, and under which name if not their own. */
  readonly origins: ReadonlyMap<string, Origin>;
  readonly findings: readonly Finding[];
  readonly problems: readonly ConfigProblem[];
}

export interface Origin {
  readonly key: string;
  readonly place: Place;
}

interface Given {
  readonly value: string;
  readonly place: Place;
}

const declarations: DeclarationTable = settings;
const namedDeclarations: Readonly<Record<NamedSection, DeclarationTable>> = {
  databases: databaseSettings,
  users: userSettings,
  peers: peerSettings,
};
const defaultPort = "5432";
const sectionNames = ["pgbouncer", "databases", "users", "peers"] as const;

/** What the lines of a file and all that it includes mean. `file` is named where something is missing. */
export function mapIni(lines: readonly IniLine[], file: string): MappedIni {
  return new Mapping().map(lines, file);
}

class Mapping {
  readonly #globals = new Map<string, Given>();
  readonly #named: Record<NamedSection, Map<string, NamedEntry>> = {
    databases: new Map(),
    users: new Map(),
    peers: new Map(),
  };
  readonly #origins = new Map<string, Origin>();
  readonly #findings: Finding[] = [];
  readonly #problems: ConfigProblem[] = [];

  map(lines: readonly IniLine[], file: string): MappedIni {
    this.#gather(lines, file);
    const pgsluice = this.#settings();
    const nodes: Record<string, unknown> = {};
    const databases = emptyTable();
    for (const [name, entry] of this.#named.databases) databases[name] = this.#database(name, entry, nodes);
    const users = emptyTable();
    for (const [name, entry] of this.#named.users) users[name] = this.#user(name, entry);
    const peers = emptyTable();
    for (const [name, entry] of this.#named.peers) peers[name] = this.#peer(name, entry);
    return {
      raw: { pgsluice, nodes, databases, users, peers },
      origins: this.#origins,
      findings: this.#findings,
      problems: this.#problems,
    };
  }

  // ---- lines ----

  #gather(lines: readonly IniLine[], file: string): void {
    let section: string | undefined;
    let hasMain = false;
    for (const line of lines) {
      if (line.kind === "section") {
        section = line.name;
        this.#openSection(line.name, line.place);
        hasMain ||= section === "pgbouncer";
      } else if (line.kind === "value") {
        if (section === undefined) this.#problem(line.place, line.key, "stands before the first section");
        else this.#gatherValue(section, line.key, line.value, line.place);
      }
    }
    if (!hasMain)
      this.#problems.push({ key: "", problem: "the section [pgbouncer] is missing", place: file });
  }

  #openSection(name: string, place: Place): void {
    if (!sectionNames.some((known) => known === name)) {
      this.#problem(place, `[${name}]`, `unknown section${suggestion(name, sectionNames)}`);
    }
    if (name !== "pgbouncer") return;
    for (const key of this.#globals.keys()) {
      // What is not set by default stays as it is.
      const verdict = verdictOf(globalVerdicts, key);
      if (verdict === undefined || verdict.default !== undefined) this.#globals.delete(key);
    }
  }

  #gatherValue(section: string, key: string, value: string, place: Place): void {
    if (section === "pgbouncer") {
      const known = Object.keys({ ...globalVerdicts, ...declarations });
      if (known.includes(key)) this.#globals.set(key, { value, place });
      else this.#problem(place, key, `unknown setting${suggestion(key, known)}`);
    } else if (section === "databases" || section === "users" || section === "peers") {
      if (section === "databases" && isConsoleDatabase(key)) {
        this.#problem(place, JSON.stringify(key), "this name is reserved for the console");
        return;
      }
      const entry = readNamed(section, key, value, place);
      this.#problems.push(...entry.problems);
      this.#named[section].set(key, entry);
    }
  }

  // ---- [pgbouncer] ----

  #settings(): Record<string, unknown> {
    const result: Record<string, unknown> = { ...ownDefaults };
    for (const [name, verdict] of Object.entries(globalVerdicts)) {
      const given = this.#globals.get(name);
      if (verdict.verdict === "inert" || verdict.verdict === "unsupported") {
        if (given !== undefined) this.#examine(name, verdict, given);
        continue;
      }
      const text = given?.value ?? verdict.default;
      if (text === undefined) continue;
      const target = verdict.verdict === "renamed" ? verdict.to : name;
      result[target] = verdict.convert?.(text) ?? convert(target, text);
      if (given !== undefined) this.#origins.set(`pgsluice.${target}`, { key: name, place: given.place });
    }
    for (const [name, { value, place }] of this.#globals) {
      if (Object.hasOwn(globalVerdicts, name)) continue;
      result[name] = convert(name, value);
      this.#origins.set(`pgsluice.${name}`, { key: name, place });
    }
    return result;
  }

  /** Notes a setting that has no counterpart, unless its value asks for nothing. */
  #examine(name: string, verdict: SettingVerdict, { value, place }: Given): void {
    if (verdict.verdict !== "inert" && verdict.verdict !== "unsupported") return;
    const { kind, default: unset = "" } = verdict;
    if (!isOfKind(value, kind)) {
      this.#problem(place, name, kind === "integer" ? "must be an integer" : "must be seconds");
      return;
    }
    const harmless = verdict.verdict === "unsupported" ? (verdict.harmless ?? []) : [];
    if ([unset, ...harmless].some((other) => meansSame(value, other, kind))) return;
    this.#findings.push({ verdict: verdict.verdict, name, doc: verdict.doc, place });
  }

  // ---- [databases], [users], [peers] ----

  #examineAll(section: NamedSection, name: string, entry: NamedEntry): void {
    for (const [key, value] of entry.values) {
      const verdict = verdictOf(entry.table, key);
      // PgBouncer takes a negative number for "not set".
      if (verdict === undefined || (readCount(value) ?? 0) < 0) continue;
      const label = `${key} of ${section.slice(0, -1)} ${JSON.stringify(name)}`;
      this.#examine(label, verdict, { value, place: entry.place });
    }
  }

  #database(name: string, entry: NamedEntry, nodes: Record<string, unknown>): Record<string, unknown> {
    this.#examineAll("databases", name, entry);
    const { values, place } = entry;
    const result = this.#commonValues("databases", name, entry);
    const port = this.#port(entry);
    const folder = this.#globals.get("unix_socket_dir")?.value ?? globalVerdicts["unix_socket_dir"]?.default;
    const host = values.get("host") ?? folder ?? "";
    if (host === "") this.#namedProblem(entry, "host", "must be given, because unix_socket_dir is empty");
    const node = `${host.includes(":") && !host.includes(",") ? `[${host}]` : host}:${port}`;
    nodes[node] = { host, port };
    result["node"] = node;
    if (values.has("password") && !values.has("user")) {
      delete result["password"];
      const label = `password of database ${JSON.stringify(name)}`;
      const doc = "It is used only together with user.";
      this.#findings.push({ verdict: "inert", name: label, doc, place });
    }
    return result;
  }

  #port(entry: NamedEntry): number {
    const port = readCount(entry.values.get("port") ?? defaultPort) ?? 0;
    if (port >= 1 && port <= 65_535) return port;
    this.#namedProblem(entry, "port", "must be an integer from 1 to 65535");
    return Number(defaultPort);
  }

  #user(name: string, entry: NamedEntry): Record<string, unknown> {
    this.#examineAll("users", name, entry);
    return this.#commonValues("users", name, entry);
  }

  #peer(name: string, entry: NamedEntry): Record<string, unknown> {
    const result = this.#commonValues("peers", name, entry);
    for (const quoted of [name, JSON.stringify(name)]) {
      this.#origins.set(`peers.${quoted}`, { key: JSON.stringify(name), place: entry.place });
      this.#origins.set(`peers.${quoted}.host`, { key: `${JSON.stringify(name)}: host`, place: entry.place });
    }
    return result;
  }

  /** What is there under its own name or another; also notes where the table stands. */
  #commonValues(section: NamedSection, name: string, entry: NamedEntry): Record<string, unknown> {
    const result: Record<string, unknown> = {};
    const targets = new Map<string, string>();
    for (const [key, text] of entry.values) {
      const verdict = verdictOf(entry.table, key);
      if (verdict?.verdict !== "same" && verdict?.verdict !== "renamed") continue;
      const target = verdict.verdict === "renamed" ? verdict.to : key;
      const declaration = namedDeclarations[section][target];
      const value = declaration === undefined ? undefined : namedValueOf(text, declaration);
      if (value === undefined) continue;
      result[target] = value;
      targets.set(key, target);
    }
    for (const quoted of new Set([name, JSON.stringify(name)])) {
      const table = `${section}.${quoted}`;
      for (const key of [...entry.values.keys(), "node"]) {
        const own = `${JSON.stringify(name)}: ${key}`;
        this.#origins.set(`${table}.${targets.get(key) ?? key}`, { key: own, place: entry.place });
      }
    }
    return result;
  }

  #namedProblem(entry: NamedEntry, key: string, problem: string): void {
    this.#problem(entry.place, `${JSON.stringify(entry.name)}: ${key}`, problem);
  }

  #problem(place: Place, key: string, problem: string): void {
    this.#problems.push({ key, problem, place: placeText(place) });
  }
}

/** Without a prototype, so that a database called "__proto__" is just a name. */
function emptyTable(): Record<string, unknown> {
  return Object.create(null) as Record<string, unknown>;
}

function verdictOf(table: VerdictTable, name: string): SettingVerdict | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

function convert(name: string, text: string): unknown {
  const declaration = declarations[name];
  return declaration === undefined ? text : valueOf(text, declaration);
}
