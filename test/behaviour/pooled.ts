/**
 * A pooler in front of a lab for one test, and clients of it that speak bare protocol. What the pooler logs is
 * kept: tests read the reasons it gives, and a mistake of its own fails the test that caused it.
 */
import { inspect } from "node:util";
import type { Logger } from "../../src/base/log.ts";
import { checkConfig } from "../../src/config/load.ts";
import type { Config } from "../../src/config/schema.ts";
import type { Lab } from "../../src/lab/index.ts";
import { Pooler, type PoolerOptions } from "../../src/server/app.ts";
import type { ErrorFields } from "../../src/wire/fields.ts";
import type { BackendMessage, FrontendMessage } from "../../src/wire/messages.ts";
import type { Place } from "../kit/byte-stream.ts";
import { type RawClient, type RawSession, type RawStartup, rawCancel, rawClient } from "../kit/raw-client.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";

type Table = Readonly<Record<string, unknown>>;

/** Where [nodes.main] is, if it is not given otherwise. */
type Upstream = { readonly primary: Pick<Lab["primary"], "host" | "port"> };

/** What differs from a pooler in transaction mode that trusts everybody and has one node. */
export interface PooledOptions {
  /** [pgsluice] */
  readonly settings?: Table;
  /** [nodes.main] */
  readonly node?: Table;
  /** Further [nodes.NAME]. */
  readonly nodes?: Readonly<Record<string, Table>>;
  /** [nodes.NAME] without [nodes.main]. */
  readonly onlyNodes?: Readonly<Record<string, Table>>;
  /** [databases] */
  readonly databases?: Readonly<Record<string, Table>>;
  readonly users?: Readonly<Record<string, Table>>;
  readonly peers?: Readonly<Record<string, Table>>;
}

export interface LogLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** How a unit went: everything up to one ReadyForQuery. */
export interface Outcome {
  readonly rows: readonly (string | null)[][];
  readonly tags: readonly string[];
  /** The first error. */
  readonly error: ErrorFields | undefined;
  readonly messages: readonly BackendMessage[];
  /** Status of ReadyForQuery. */
  readonly status: string;
}

export class Pooled implements AsyncDisposable {
  readonly pooler: Pooler;
  readonly log: readonly LogLine[];
  readonly #lab: Upstream;

  private constructor(pooler: Pooler, log: readonly LogLine[], lab: Upstream) {
    this.pooler = pooler;
    this.log = log;
    this.#lab = lab;
  }

  static async start(
    lab: Upstream,
    options: PooledOptions = {},
    own: Pick<PoolerOptions, "lookUp" | "onNodeEvent" | "routeRead"> = {},
  ): Promise<Pooled> {
    const log: LogLine[] = [];
    const pooler = await Pooler.start(configOf(lab, options), { ...own, logger: loggerInto(log) });
    return new Pooled(pooler, log, lab);
  }

  get place(): Place {
    return this.pooler.address;
  }

  /** Puts another configuration in force, in the same words as at the start. */
  async reload(options: PooledOptions): Promise<void> {
    await this.pooler.reload(configOf(this.#lab, options));
  }

  /** A client that is logged in, as `postgres` if not told otherwise. */
  connect(startup: RawStartup = {}): Promise<Client> {
    return Client.connect(this.place, startup);
  }

  /** Reasons for which servers were closed so far. */
  get closeReasons(): unknown[] {
    return this.log
      .filter(({ message }) => message === "closing server" || message === "server lost")
      .map(({ fields }) => fields["reason"]);
  }

  /** Servers opened so far. */
  get opened(): number {
    return this.log.filter(({ message }) => message === "new connection to server").length;
  }

  /** The most servers that were open at once. */
  get mostServers(): number {
    const open = new Set<unknown>();
    let most = 0;
    for (const { fields, message } of this.log) {
      if (message === "new connection to server") open.add(fields["server"]);
      else if (message === "closing server" || message === "server lost") open.delete(fields["server"]);
      most = Math.max(most, open.size);
    }
    return most;
  }

  async untilClosedFor(reason: string): Promise<void> {
    await waitToSee(
      () => this.closeReasons,
      (reasons) => reasons.includes(reason),
      `a server is closed because of: ${reason}`,
    );
  }

  /** Runs `action`, which ends a server, and waits until the pooler knows that it is gone. */
  async losingServer(action: () => Promise<unknown>): Promise<void> {
    const before = this.closeReasons.length;
    await action();
    await waitUntil(() => this.closeReasons.length > before, "the pooler notices that a server is gone");
  }

  async untilWaiting(count: number): Promise<void> {
    await this.#untilCounts(({ waiting }) => waiting === count, `${count} clients wait for a server`);
  }

  async untilServers(count: number): Promise<void> {
    await this.#untilCounts(({ servers }) => servers === count, `the pooler has ${count} servers`);
  }

  async untilSessions(count: number): Promise<void> {
    await this.#untilCounts(({ sessions }) => sessions === count, `the pooler has ${count} clients`);
  }

  async #untilCounts(wanted: (counts: Pooler["counts"]) => boolean, what: string): Promise<void> {
    await waitToSee(() => this.pooler.counts, wanted, what);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pooler.shutdown("immediate");
    const mistakes = this.log.filter(({ level }) => level === "error");
    if (mistakes.length > 0) throw new Error(`the pooler logged errors: ${inspect(mistakes, { depth: 5 })}`);
  }
}

/** One logged-in session. */
export class Client implements Disposable {
  readonly place: Place;
  readonly raw: RawClient;
  readonly session: RawSession;

  constructor(place: Place, raw: RawClient, session: RawSession) {
    this.place = place;
    this.raw = raw;
    this.session = session;
  }

  static async connect(place: Place, startup: RawStartup = {}): Promise<Client> {
    const raw = await rawClient(place);
    try {
      return new Client(place, raw, await raw.startup({ database: "postgres", ...startup }));
    } catch (error) {
      raw.destroy();
      throw error;
    }
  }

  /** Sends messages in one write. */
  send(...messages: readonly (FrontendMessage | Buffer)[]): void {
    this.raw.send(...messages);
  }

  /** What comes up to the next ReadyForQuery. */
  async outcome(): Promise<Outcome> {
    return outcomeOf(await this.raw.until("ReadyForQuery"));
  }

  /** Sends messages in one write and waits for one ReadyForQuery. */
  ask(...messages: readonly FrontendMessage[]): Promise<Outcome> {
    this.send(...messages);
    return this.outcome();
  }

  /** Runs a simple query. */
  run(sql: string): Promise<Outcome> {
    return this.ask({ kind: "Query", sql });
  }

  /** The one value of a simple query, which must succeed. */
  async value(sql: string): Promise<string | null> {
    const { rows, error } = await this.run(sql);
    if (error !== undefined) throw new Error(`${error.code}: ${error.message}`);
    return rows[0]?.[0] ?? null;
  }

  /** Process number of the server it is on now. */
  backendPid(): Promise<string | null> {
    return this.value("select pg_backend_pid()");
  }

  /** Sends a cancel request with this session's key; resolves when the other side has closed. */
  cancel(): Promise<void> {
    return rawCancel(this.place, this.session);
  }

  /** Says goodbye and waits for the close. */
  close(): Promise<void> {
    return this.raw.close();
  }

  /** Goes away without a word. */
  destroy(): void {
    this.raw.destroy();
  }

  [Symbol.dispose](): void {
    this.destroy();
  }
}

/** Runs them one after the other, in this client. */
export async function runAll(client: Client, ...statements: readonly string[]): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const sql of statements) {
    const outcome = await client.run(sql);
    if (outcome.error !== undefined) throw new Error(`${sql}: ${outcome.error.message}`);
    outcomes.push(outcome);
  }
  return outcomes;
}

export function outcomeOf(messages: readonly BackendMessage[]): Outcome {
  const rows: (string | null)[][] = [];
  const tags: string[] = [];
  let error: ErrorFields | undefined;
  let status = "";
  for (const message of messages) {
    if (message.kind === "DataRow") rows.push(message.values.map((value) => value?.toString() ?? null));
    else if (message.kind === "CommandComplete") tags.push(message.tag);
    else if (message.kind === "ErrorResponse") error ??= message.fields;
    else if (message.kind === "ReadyForQuery") status = String.fromCharCode(message.status);
  }
  return { rows, tags, error, messages, status };
}

/** Statements of other sessions that PostgreSQL runs now and whose text contains `text`. */
export async function running(lab: Lab, text: string): Promise<number> {
  const { rows } = await lab.primary.query(
    `select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and query like '%${text}%'`,
  );
  return Number(rows[0]?.[0]);
}

export async function untilRunning(lab: Lab, text: string, count = 1): Promise<void> {
  const what = `${count} × ${text} run on PostgreSQL`;
  await waitToSee(
    () => running(lab, text),
    (found) => found === count,
    what,
  );
}

/** Sessions at PostgreSQL that are not this one; `where` is a further condition. */
export async function backends(lab: Lab, where = "true"): Promise<number> {
  const { rows } = await lab.primary.query(
    `select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() and ${where}`,
  );
  return Number(rows[0]?.[0]);
}

// ---- messages in few words ----

export const sync: FrontendMessage = { kind: "Sync" };

export function query(sql: string): FrontendMessage {
  return { kind: "Query", sql };
}

export function parse(name: string, sql: string): FrontendMessage {
  return { kind: "Parse", name, sql, types: [] };
}

/** Bind to the unnamed portal with text values, and Execute. */
export function execute(statement: string, values: readonly string[] = []): FrontendMessage[] {
  const bytes = values.map((value) => Buffer.from(value));
  return [
    { kind: "Bind", portal: "", statement, formats: [], values: bytes, resultFormats: [] },
    { kind: "Execute", portal: "", maxRows: 0 },
  ];
}

export function closeStatement(name: string): FrontendMessage {
  return { kind: "Close", target: "statement", name };
}

function configOf(lab: Upstream, options: PooledOptions): Config {
  const { host, port } = lab.primary;
  return checkConfig(
    {
      pgsluice: {
        listen_port: 0,
        auth_type: "trust",
        pool_mode: "transaction",
        server_tls_sslmode: "disable",
        ...options.settings,
      },
      nodes: options.onlyNodes ?? { main: { host, port, ...options.node }, ...options.nodes },
      databases: options.databases ?? { "*": {} },
      users: options.users ?? {},
      peers: options.peers ?? {},
    },
    process.cwd(),
  );
}

function loggerInto(log: LogLine[]): Logger {
  const at =
    (level: LogLine["level"]) =>
    (fields: object, message: string): void => {
      log.push({ level, fields: fields as LogLine["fields"], message });
    };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
