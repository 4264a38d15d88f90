/**
 * The console beside that of the PgBouncer that is installed: the same columns, welcome, tags, errors and counts. It
 * may be older than the one that is followed here, so its columns may be fewer, but none that it has is missing.
 */
import { execFileSync, spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ordinaryAccount } from "../../src/lab/account.ts";
import { ByteStream } from "../kit/byte-stream.ts";
import { useLab } from "../kit/lab.ts";
import { type OwnAddress, ownAddress } from "../kit/own-address.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { Client, type Pooled, query } from "./pooled.ts";

const place = useLab();
const program = "pgbouncer";
const version = installedVersion();
if (version === undefined) console.warn("pgbouncer is not installed: the console is not compared with it");

/** `PgBouncer 1.18.0`; undefined if there is none. */
function installedVersion(): string | undefined {
  try {
    return execFileSync(program, ["--version"], { encoding: "utf8" }).split("\n")[0];
  } catch {
    return undefined;
  }
}

class Peer implements AsyncDisposable {
  readonly #address: OwnAddress;
  readonly #folder: TempFolder;
  readonly #end: () => Promise<void>;

  constructor(address: OwnAddress, folder: TempFolder, end: () => Promise<void>) {
    this.#address = address;
    this.#folder = folder;
    this.#end = end;
  }

  static async start(): Promise<Peer> {
    const folder = await tempFolder();
    const address = await ownAddress();
    const { host, port: upstream } = place.lab.primary;
    await writeFile(path.join(folder.path, "users.txt"), '"postgres" ""\n"watcher" ""\n');
    const file = path.join(folder.path, "pgbouncer.ini");
    const settings = [
      `listen_addr = ${address.host}`,
      `listen_port = ${address.port}`,
      "unix_socket_dir =",
      "auth_type = trust",
    ];
    settings.push("pool_mode = transaction", "admin_users = postgres", "stats_users = watcher");
    settings.push("server_tls_sslmode = disable", `auth_file = ${path.join(folder.path, "users.txt")}`);
    const databases = ["[databases]", `postgres = host=${host} port=${upstream}`];
    await writeFile(file, [...databases, "[pgbouncer]", ...settings, ""].join("\n"));
    const account = await ordinaryAccount(folder.path);
    const as = account === undefined ? {} : { uid: account.uid, gid: account.gid };
    const child = spawn(program, [file], { cwd: folder.path, stdio: "ignore", ...as });
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    await waitUntil(async () => {
      const stream = await ByteStream.connect(address).catch(() => undefined);
      stream?.destroy();
      return stream !== undefined;
    }, "pgbouncer listens");
    return new Peer(address, folder, async () => {
      child.kill("SIGKILL");
      await gone;
    });
  }

  connect(database: string, user = "postgres"): Promise<Client> {
    return Client.connect(this.#address, { database, user });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    await this.#folder[Symbol.asyncDispose]();
  }
}

async function columns(console: Client, sql: string): Promise<string[]> {
  const { messages } = await console.run(sql);
  const description = messages.find((message) => message.kind === "RowDescription");
  return description?.columns.map(({ name, typeOid, typeSize }) => `${name} ${typeOid} ${typeSize}`) ?? [];
}

describe.skipIf(version === undefined)(`beside ${version}`, () => {
  let peer: Peer;
  let pooled: Pooled;
  let theirs: Client;
  let ours: Client;

  beforeAll(async () => {
    peer = await Peer.start();
    pooled = await startPooled(place.lab, { databases: { postgres: {} } });
    theirs = await peer.connect("pgbouncer");
    ours = await openConsole(pooled);
  });

  afterAll(async () => {
    theirs.destroy();
    ours.destroy();
    await pooled[Symbol.asyncDispose]();
    await peer[Symbol.asyncDispose]();
  });

  test.each([
    ...[
      "pools",
      "clients",
      "servers",
      "sockets",
      "active_sockets",
      "databases",
      "users",
      "stats",
      "stats_totals",
    ],
    ...["stats_averages", "totals", "lists", "config", "mem", "dns_hosts", "dns_zones", "version"],
  ])("SHOW %s: every column that it has, with its type and in its order", async (name) => {
    const expected = await columns(theirs, `show ${name}`);
    const actual = await columns(ours, `show ${name}`);
    expect(expected.length).toBeGreaterThan(0);
    // Renamed since.
    const renamed = expected.map((column) => column.replace(/^reserve_pool /, "reserve_pool_size "));
    expect(actual.filter((column) => renamed.includes(column))).toEqual(renamed);
  });

  test("the same lists and totals", async () => {
    for (const sql of ["show lists", "show totals"]) {
      const names = async (console: Client): Promise<unknown[]> =>
        (await console.run(sql)).rows.map(([name]) => name);
      const expected = await names(theirs);
      expect((await names(ours)).filter((name) => expected.includes(name))).toEqual(expected);
    }
  });

  test("the same welcome, but for the version", () => {
    const parameters = ({ session }: Client): [string, string][] =>
      [...session.parameters].filter(([name]) => name !== "server_version");
    expect(parameters(ours)).toEqual(parameters(theirs));
    const shape = /^\d+\.\d+\.\d+\/bouncer$/;
    expect(theirs.session.parameters.get("server_version")).toMatch(shape);
    expect(ours.session.parameters.get("server_version")).toMatch(shape);
  });

  test.each([
    ...["pause", "PAUSE", "resume", "resume", "pause postgres", "resume postgres", "resume postgres"],
    ...["resume nowhere", "pause pgbouncer", "kill pgbouncer", "reconnect pgbouncer", "disable pgbouncer"],
    ...["wait_close pgbouncer", "disable postgres", "enable postgres", "disable", "enable"],
    ...[
      "reconnect",
      "reconnect postgres",
      "wait_close",
      "wait_close postgres",
      "kill postgres",
      "resume postgres",
    ],
    ...["reload", "reload x", "shutdown x", "nonsense", "nonsense;", "show", "show nonsense", "select 1 + 1"],
    ...[
      "set",
      "set nonsense = 1",
      "set server_lifetime = 1200",
      "set server_lifetime to '3600'",
      "SET server_lifetime=3600",
    ],
    ...["show timezone", 'show "client_encoding" ;', "show help", "kill_client"],
    ...[
      `pause ${"x".repeat(64)}`,
      "pause 'postgres'",
      "show state x",
      "\n show\tlists\r\n;",
      'Show "St""ate"',
    ],
  ])("%j is answered alike", async (sql) => {
    const answer = async (console: Client): Promise<unknown> => {
      const { tags, error, status, messages } = await console.run(sql);
      const notices = messages.filter(({ kind }) => kind === "NoticeResponse").length;
      return {
        tags,
        error: error?.message,
        severity: error?.severity,
        status,
        notices,
      };
    };
    const expected = await answer(theirs);
    // It has no KILL_CLIENT yet; the newest one's words are known.
    if (sql === "kill_client")
      expect((await ours.run(sql)).error?.message).toBe("invalid client pointer supplied");
    else expect(await answer(ours)).toEqual(expected);
  });

  test("who may not come in is told so in the same words", async () => {
    const reason = (login: Promise<Client>): Promise<string> =>
      login.then(
        () => "let in",
        (error: unknown) => String(error).replace(/^.*\d\w{4}: /, ""),
      );
    // Only those with a secret can log in to PgBouncer at all.
    await table(ours, "show users");
    expect(await reason(openConsole(pooled, "stranger"))).toBe("not allowed");
    for (const sql of ["pause", "set pool_mode = session", "reload", "kill"]) {
      using their = await peer.connect("pgbouncer", "watcher");
      using own = await openConsole(pooled, "watcher");
      expect((await own.run(sql)).error?.message).toBe((await their.run(sql)).error?.message);
    }
  });

  test("the same counts for the same script", async () => {
    const counts = async (console: Client): Promise<Record<string, number>> => {
      const row =
        (await table(console, "show stats_totals")).find(({ database }) => database === "postgres") ?? {};
      return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, Number(value)]));
    };
    const grown = async (console: Client, client: Client): Promise<Record<string, number>> => {
      await client.run("select 1");
      const before = await counts(console);
      for (const sql of ["select 1", "begin", "select 2; select 3", "commit", "select 1/0", "show nothing"])
        await client.run(sql);
      await client.run("copy (select repeat('x', 500) from generate_series(1, 50)) to stdout");
      client.send(query("select 4"), query("select 5"), query("select 6"));
      for (let i = 0; i < 3; i++) await client.outcome();
      await client.run("create temporary table t (a text)");
      const copy = Buffer.from("one\ntwo\n");
      client.send(query("copy t from stdin"), { kind: "CopyData", data: copy }, { kind: "CopyDone" });
      await client.outcome();
      const after = await counts(console);
      return Object.fromEntries(
        Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)]),
      );
    };
    using one = await peer.connect("postgres");
    using two = await pooled.connect();
    const expected = await grown(theirs, one);
    const actual = await grown(ours, two);
    for (const name of ["xact_count", "query_count", "bytes_received", "bytes_sent"]) {
      expect([name, actual[name]]).toEqual([name, expected[name]]);
    }
  });
});
