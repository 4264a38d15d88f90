/**
 * The installed PgBouncer and pgsluice, started from the same text of a pgbouncer.ini in front of the same PostgreSQL,
 * and scripts of clients that run against both at once. Each side's run writes down what its clients hear, line by
 * line; the two transcripts must be the same but for the differences that the script names, each with its reason.
 * A difference that is named and not seen fails as well, so that the list stays true.
 */
import { spawn, spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import { loadConfigFile } from "../../src/config/file.ts";
import { ordinaryAccount } from "../../src/lab/account.ts";
import type { Lab } from "../../src/lab/index.ts";
import { Pooler } from "../../src/server/app.ts";
import { decodeBackend } from "../../src/wire/decode-backend.ts";
import type { BackendMessage, FrontendMessage } from "../../src/wire/messages.ts";
import { ByteStream } from "../kit/byte-stream.ts";
import { ownAddress } from "../kit/own-address.ts";
import { type RawClient, type RawSession, type RawStartup, rawCancel, rawClient } from "../kit/raw-client.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";
import { running } from "./pooled.ts";

const program = "pgbouncer";

/** `1.18.0`; undefined where PgBouncer is not installed. */
export const version: string | undefined = /^PgBouncer (\S+)/.exec(
  spawnSync(program, ["--version"], { encoding: "utf8" }).stdout ?? "",
)?.[1];

type SideName = "theirs" | "ours";
type Address = { readonly host: string; readonly port: number };

/** The text of a pgbouncer.ini, but for where it listens. */
interface Ini {
  /** Lines of [databases]; `SERVER` stands for the lab's host and port. */
  readonly databases?: readonly string[];
  /** Lines of [users]. */
  readonly users?: readonly string[];
  /** Further lines of [pgbouncer]. */
  readonly settings?: readonly string[];
}

interface Difference {
  /** Lines that PgBouncer's transcript has where ours has `ours`, each time. */
  readonly theirs: readonly string[];
  readonly ours: readonly string[];
  readonly reason: string;
}

/** `null`: names no database. */
type Login = Omit<RawStartup, "database"> & { readonly database?: string | null };

type Script = (run: Run) => Promise<void>;

export interface Case {
  readonly name: string;
  readonly ini?: Ini;
  readonly script: Script;
  readonly differences?: readonly Difference[];
}

const userlist = ['"postgres" "secret"', '"app" "secret"', '"watcher" "secret"', ""].join("\n");

/** Runs one script against both, each freshly started with the same file, and compares. */
export async function compare(
  lab: Lab,
  ini: Ini,
  script: Script,
  differences: readonly Difference[] = [],
): Promise<void> {
  const both = await Promise.allSettled([
    transcript(lab, ini, script, "theirs"),
    transcript(lab, ini, script, "ours"),
  ]);
  const [theirs, ours] = both.map((side) => {
    if (side.status === "rejected") throw side.reason;
    return side.value;
  });
  expect(ours).toEqual(accepted(theirs ?? [], differences));
}

async function transcript(lab: Lab, ini: Ini, script: Script, side: SideName): Promise<readonly string[]> {
  await using pooler = await start(lab, ini, side);
  await using run = new Run(side, pooler.address, lab);
  await script(run).catch((error: unknown) => {
    throw new Error(`${side}: ${String(error)}, after:\n${run.lines.join("\n")}`, { cause: error });
  });
  expect(run.lines.length).toBeGreaterThan(0);
  return run.lines;
}

/** PgBouncer's transcript with the differences put in force. */
function accepted(lines: readonly string[], differences: readonly Difference[]): string[] {
  let result = [...lines];
  for (const { theirs, ours, reason } of differences) {
    const changed: string[] = [];
    let found = false;
    for (let i = 0; i < result.length; ) {
      if (theirs.every((line, offset) => result[i + offset] === line)) {
        found = true;
        changed.push(...ours);
        i += theirs.length;
      } else changed.push(result[i++] ?? "");
    }
    expect(found, `PgBouncer does not differ any more (${reason}), but says:\n${result.join("\n")}`).toBe(
      true,
    );
    result = changed;
  }
  return result;
}

// ---- the two poolers ----

interface Started extends AsyncDisposable {
  readonly address: Address;
}

async function start(lab: Lab, ini: Ini, side: SideName): Promise<Started> {
  const folder = await tempFolder();
  const address = await ownAddress();
  const file = path.join(folder.path, "pgbouncer.ini");
  await writeFile(path.join(folder.path, "users.txt"), userlist, { mode: 0o644 });
  await writeFile(file, iniText(lab, ini, address, folder.path, side), { mode: 0o644 });
  if (side === "ours") {
    const { config } = await loadConfigFile(file);
    const reload = async (): Promise<void> => pooler.reload((await loadConfigFile(file)).config);
    const pooler: Pooler = await Pooler.start(config, { onReload: reload });
    return {
      address,
      [Symbol.asyncDispose]: async () => {
        await pooler.shutdown("immediate");
        await folder[Symbol.asyncDispose]();
      },
    };
  }
  const account = await ordinaryAccount(folder.path);
  const as = account === undefined ? {} : { uid: account.uid, gid: account.gid };
  const child = spawn(program, ["-q", file], { cwd: folder.path, stdio: "ignore", ...as });
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  await waitUntil(async () => {
    if (child.exitCode !== null) throw new Error(`PgBouncer ended with ${child.exitCode}`);
    const stream = await ByteStream.connect(address).catch(() => undefined);
    // It must not be counted as a client any more.
    stream?.end();
    await stream?.closed;
    return stream !== undefined;
  }, "PgBouncer listens");
  return {
    address,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await gone;
      await folder[Symbol.asyncDispose]();
    },
  };
}

function iniText(lab: Lab, ini: Ini, address: Address, folder: string, side: SideName): string {
  const { host, port } = lab.primary;
  const databases = (ini.databases ?? ["postgres = SERVER"]).map((line) =>
    line.replace("SERVER", `host=${host} port=${port}`),
  );
  return [
    "[databases]",
    ...databases,
    "[users]",
    ...(ini.users ?? []),
    "[pgbouncer]",
    `listen_addr = ${address.host}`,
    `listen_port = ${address.port}`,
    "unix_socket_dir =",
    "auth_type = trust",
    `auth_file = ${path.join(folder, "users.txt")}`,
    "admin_users = postgres",
    "stats_users = watcher",
    "server_tls_sslmode = disable",
    ...(side === "ours" ? ["sqlstate_compat = pgbouncer"] : []),
    ...(ini.settings ?? []),
    "",
  ].join("\n");
}

// ---- what a script does ----

/** One run of a script against one side. */
class Run implements AsyncDisposable {
  readonly side: SideName;
  readonly lines: string[] = [];
  readonly address: Address;
  readonly lab: Lab;
  readonly #opened: RawClient[] = [];
  #watcher: Speaker | undefined;

  constructor(side: SideName, address: Address, lab: Lab) {
    this.side = side;
    this.address = address;
    this.lab = lab;
  }

  note(line: string): void {
    this.lines.push(line);
  }

  /** A connection that has sent nothing yet. */
  async raw(): Promise<RawClient> {
    const raw = await rawClient(this.address);
    this.#opened.push(raw);
    return raw;
  }

  /** A client that is logged in. */
  async connect(name: string, startup: RawStartup = {}): Promise<Speaker> {
    const raw = await this.raw();
    const session = await raw.startup({ user: "app", database: "postgres", password: "secret", ...startup });
    return new Speaker(this, name, raw, session);
  }

  admin(): Promise<Speaker> {
    return this.connect("admin", { user: "postgres", database: "pgbouncer" });
  }

  /** Tries to log in and notes what comes of it. */
  async login(what: string, { database = "postgres", ...startup }: Login = {}): Promise<void> {
    const raw = await this.raw();
    const named = database === null ? {} : { database };
    const options = { user: "app", password: "secret", ...named, ...startup };
    try {
      const { messages } = await raw.startup(options);
      this.note(`${what}: logged in, ${messages.filter(isOfLogin).map(plain).join(", ")}`);
    } catch (error) {
      this.note(`${what}: ${String(error instanceof Error ? error.message : error)}`);
    }
    raw.destroy();
  }

  /** Sends bytes and notes what comes until the other side closes. */
  async startupBytes(what: string, packet: Buffer): Promise<void> {
    const raw = await this.raw();
    raw.send(packet);
    const bytes = await raw.stream.readToEnd();
    const words: string[] = [];
    // Errors of protocol 2 have no length, but a text up to a zero.
    if (bytes[0] === 0x45 && bytes[1] !== 0) words.push(bytes.toString("latin1").replaceAll("\0", ""));
    else
      for (let start = 0; start < bytes.length; ) {
        const end = start + 1 + bytes.readUInt32BE(start + 1);
        words.push(plain(decodeBackend(bytes, start, end)));
        start = end;
      }
    this.note(`${what}: ${[...words, "closed"].join(", ")}`);
  }

  /** Waits until the console shows this of the database `postgres`; see {@link shown}. */
  async state(expected: string): Promise<void> {
    this.#watcher ??= await this.connect("watcher", { user: "watcher", database: "pgbouncer" });
    const watcher = this.#watcher;
    await waitToSee(
      () => shown(watcher),
      (seen) => seen === expected,
      `SHOW POOLS says ${expected}`,
    );
    this.note(`(${expected})`);
  }

  /** Waits until PostgreSQL runs a statement with this text. */
  async untilRunning(text: string): Promise<void> {
    await waitToSee(
      () => running(this.lab, text),
      (found) => found > 0,
      `${text} runs`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const raw of this.#opened) raw.destroy();
    await Promise.resolve();
  }
}

/** Counts of SHOW POOLS that are not zero, then the states of SHOW DATABASES that are on. */
async function shown(watcher: Speaker): Promise<string> {
  const words: string[] = [];
  for (const row of await watcher.table("show pools")) {
    if (row["database"] !== "postgres") continue;
    for (const [name, value] of Object.entries(row))
      if (/^(cl|sv)_/.test(name) && value !== "0") words.push(`${name}=${value}`);
  }
  for (const row of await watcher.table("show databases")) {
    if (row["name"] !== "postgres") continue;
    if (row["paused"] === "1") words.push("paused");
    if (row["disabled"] === "1") words.push("disabled");
  }
  return words.join(" ");
}

/** A session whose answers are noted. */
class Speaker {
  readonly #run: Run;
  readonly #name: string;
  readonly raw: RawClient;
  readonly session: RawSession;

  constructor(run: Run, name: string, raw: RawClient, session: RawSession) {
    this.#run = run;
    this.#name = name;
    this.raw = raw;
    this.session = session;
  }

  /** Sends only. */
  send(...items: readonly (string | FrontendMessage)[]): void {
    this.raw.send(
      ...items.map(
        (item): FrontendMessage => (typeof item === "string" ? { kind: "Query", sql: item } : item),
      ),
    );
  }

  /** Notes what comes up to the next ReadyForQuery, or the close. */
  async hear(what = ""): Promise<void> {
    const words: string[] = [];
    for (;;) {
      const message = await this.raw.next(`an answer to ${what}`).catch((error: unknown) => {
        if (this.raw.isClosed) return undefined;
        throw error;
      });
      words.push(message === undefined ? "closed" : plain(message));
      if (message === undefined || message.kind === "ReadyForQuery" || message.kind === "CopyInResponse")
        break;
    }
    this.#run.note(`${this.#name}: ${what}: ${words.join(", ").replaceAll(this.#run.side, "SIDE")}`);
  }

  async say(...items: readonly (string | FrontendMessage)[]): Promise<void> {
    this.send(...items);
    await this.hear(items.map((item) => (typeof item === "string" ? item : item.kind)).join(" "));
  }

  /** The one value of a statement, not noted. */
  async value(sql: string): Promise<string> {
    return (await this.raw.rows(sql))[0]?.[0] ?? "";
  }

  /** Rows by column, not noted. */
  async table(sql: string): Promise<Record<string, string | null>[]> {
    const messages = await this.raw.query(sql);
    const names = messages.flatMap((message) =>
      message.kind === "RowDescription" ? message.columns.map((column) => column.name) : [],
    );
    return messages.flatMap((message) =>
      message.kind === "DataRow"
        ? [
            Object.fromEntries(
              message.values.map((value, index) => [names[index] ?? "", value?.toString() ?? null]),
            ),
          ]
        : [],
    );
  }

  /** Ends the server process that the next statement would run on. */
  async terminateBackend(pid: string): Promise<void> {
    await this.#run.lab.primary.query(`select pg_terminate_backend(${pid}, 5000)`);
  }

  cancel(): Promise<void> {
    return rawCancel(this.#run.address, this.session);
  }

  close(): Promise<void> {
    return this.raw.close();
  }
}

/** What is the same in every login, or is compared elsewhere. */
function isOfLogin({ kind }: BackendMessage): boolean {
  return kind !== "ParameterStatus" && kind !== "BackendKeyData";
}

/** One message in few words. */
function plain(message: BackendMessage): string {
  switch (message.kind) {
    case "ErrorResponse":
    case "NoticeResponse": {
      const { severity, code, message: text } = message.fields;
      return `${severity} ${code} ${text}`;
    }
    case "CommandComplete":
      return message.tag;
    case "ReadyForQuery":
      return `ready ${String.fromCharCode(message.status)}`;
    case "DataRow":
      return `row ${message.values.map((value) => value?.toString() ?? "null").join("|")}`;
    case "RowDescription":
      return `columns ${message.columns.map(({ name }) => name).join("|")}`;
    case "ParameterStatus":
      return `${message.name}=${message.value}`;
    default:
      return message.kind;
  }
}
