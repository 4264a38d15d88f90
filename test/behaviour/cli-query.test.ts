/** `pgsluice query`: what it prints, beside psql where there is one, and what signals do to it. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { program } from "../kit/program.ts";
import { waitUntil, within } from "../kit/wait.ts";
import { Pooled, running, untilRunning } from "./pooled.ts";

const place = useLab();
const root = fileURLToPath(new URL("../../", import.meta.url));
/** A start of the program takes a second of a busy machine. */
const patienceMs = 40_000;
const hasPsql = spawnSync("psql", ["--version"]).status === 0;
if (!hasPsql) console.warn("psql is not installed: what the query command prints is not compared with it");

beforeAll(async () => {
  await place.lab.primary.query("create table pairs (a int primary key, b text)");
  await place.lab.primary.query(
    "create function broken() returns int language plpgsql as 'begin return (select nosuch); end'",
  );
});

interface Address {
  readonly host: string;
  readonly port: number;
}

function conninfo({ host, port }: Address): string {
  return `host=${host} port=${port} user=postgres dbname=postgres sslmode=disable`;
}

interface Printed {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that runs, and what it has printed so far. */
class Running implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly end: Promise<Printed>;
  stdout = "";
  stderr = "";

  constructor(program: string, args: readonly string[], further: Readonly<Record<string, string>> = {}) {
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("PG"));
    this.child = spawn(program, args, {
      cwd: root,
      env: { ...Object.fromEntries(kept), LC_ALL: "C.UTF-8", ...further },
    });
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    this.child.stdin?.on("error", () => undefined);
    const closed = once(this.child, "close") as Promise<[number | null]>;
    this.end = closed.then(([code]) => ({ code, stdout: this.stdout, stderr: this.stderr }));
  }

  [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL");
    return this.end.then(() => undefined);
  }
}

function start(args: readonly string[], further: Readonly<Record<string, string>> = {}): Running {
  return new Running(process.execPath, [...program, "query", ...args], further);
}

/** Runs the command to its end. `input` is what it reads from standard input. */
async function query(args: readonly string[], input = ""): Promise<Printed> {
  await using program = start(args);
  program.child.stdin?.end(input);
  return await program.end;
}

async function psql(flags: readonly string[], sql: string): Promise<Printed> {
  await using program = new Running("psql", ["-X", ...flags, "-c", sql, conninfo(place.lab.primary)]);
  program.child.stdin?.end();
  return await program.end;
}

function direct(): string {
  return conninfo(place.lab.primary);
}

const statements = [
  "select 1, 'x' as b, null as c, '' as d",
  "create temp table t (a int, b text)",
  `insert into t values (1, 'a"b'), (-20, E'two\\nlines'), (300, null), (4, '\\.'), (5, ' x,y|') returning *`,
  "update t set a = a where a > 1",
  'delete from t where a = 4 returning b as "a long name", a',
  "select from t",
  "create temp table u as select * from t",
  "select a from t where false",
  "do $$ begin raise notice 'noted: %', 1 using detail = 'd', hint = 'h'; raise warning 'w'; end $$",
  "select true b, 1.50 n, 1::int8 i, 1.5::float8 f, '2'::oid o, '3'::xid x, '9.95'::money m, '{1,2}'::int[] a, 'x'::char c",
].join(";\n");

describe.skipIf(!hasPsql)("beside psql", () => {
  for (const flags of [[], ["-t"], ["-A"], ["-A", "-t"], ["--csv"], ["--csv", "-t"]]) {
    test(`prints results and notices as psql ${flags.join(" ")}`, async () => {
      const expected = await psql(flags, statements);
      expect(expected.code).toBe(0);
      expect(await query([...flags, direct(), statements])).toEqual(expected);
    });
  }

  test("draws several lines, tabs, control characters and wide characters as psql does", async () => {
    const sql = `select E'a\\nbcd\\ne' as "x\nyy", 1 as n, E'\\tq\\x1bz\\r' as t, E'a\\n' as u;
      select E'a\\n' as last; select E'漢字 é e\\u0301 한' as wide, 7 as "名前", E'\\u0085' as control`;
    const expected = await psql([], sql);
    expect(await query([direct(), sql])).toEqual(expected);
  });

  const long = "'".padEnd(60, "x");
  const failing: readonly (readonly [what: string, sql: string])[] = [
    ["with the line and a caret", "select 1,\r\n\t'漢字', nosuch,\n 3"],
    ["with the end of a long line cut off", `select nosuch, ${long}'`],
    ["with both ends of a long line cut off", `select ${long}', nosuch, ${long}'`],
    ["with the detail", "insert into pairs values (1), (1)"],
    ["with the hint", "select lenght('x')"],
    ["with query and context of a function", "select broken()"],
  ];
  test.each(failing)("prints an error %s", async (_what, sql) => {
    const expected = await psql([], sql);
    expect(expected).toMatchObject({ code: 1, stdout: "", stderr: expect.stringMatching(/^ERROR: {2}/) });
    expect(await query([direct(), sql])).toEqual(expected);
  });

  test("prints the same through a pooler", async () => {
    await using pooled = await Pooled.start(place.lab);
    const expected = await psql([], statements);
    expect(await query([conninfo(pooled.pooler.address), statements])).toEqual(expected);
  });
});

describe("output", () => {
  test("is a table, and the tag of what returns no rows", async () => {
    const { code, stdout } = await query([direct(), "select 1 as one, 'x' as two; create temp table t ()"]);
    expect(stdout).toBe(" one | two \n-----+-----\n   1 | x\n(1 row)\n\nCREATE TABLE\n");
    expect(code).toBe(0);
  });

  test("as JSON is a line for each statement, and loses nothing", async () => {
    const sql = `select 1 as a, 9007199254740993 as b, 0.10 as c, 1e20::float8 as d, 'NaN'::float8 as e, true as f, null as g,
        E'"\\n' as h, E'{"n":\\n12345678901234567890}'::json as i, '{1,2}'::int[] as j;
      create temp table t (); select 1 as a union all select 2`;
    const { stdout } = await query(["--json", direct(), sql]);
    expect(stdout.split("\n")).toEqual([
      '[{"a":1,"b":"9007199254740993","c":"0.10","d":1e+20,"e":"NaN","f":true,"g":null,"h":"\\"\\n","i":{"n": 12345678901234567890},"j":"{1,2}"}]',
      "[]",
      '[{"a":1},{"a":2}]',
      "",
    ]);
  });

  test("that nobody reads any more ends it quietly", async () => {
    await using program = start([direct(), "select * from generate_series(1, 500000)"]);
    program.child.stdout?.once("data", () => program.child.stdout?.destroy());
    expect(await program.end).toMatchObject({ code: 0, stderr: "" });
    expect(program.stdout).toMatch(/^ generate_series \n/);
  });
});

describe("input", () => {
  test("is read from standard input in place of the SQL", async () => {
    const { host, port } = place.lab.primary;
    const url = `postgres://postgres@${host}:${port}/postgres?sslmode=disable`;
    for (const args of [[direct(), "-"], [url], [direct()]]) {
      expect((await query(["-At", ...args], "select 'ä';\nselect 2;\n")).stdout).toBe("ä\n2\n");
    }
    expect(await query([direct()], "")).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  test("is the only argument; the connection is described by the environment", async () => {
    const { host, port } = place.lab.primary;
    const environment = { PGHOST: host, PGPORT: String(port), PGUSER: "postgres", PGSSLMODE: "disable" };
    await using program = start(
      ["-At", "select current_user, current_setting('application_name')"],
      environment,
    );
    expect(await program.end).toEqual({ code: 0, stdout: "postgres|pgsluice\n", stderr: "" });
  });

  test("that is no SQL is refused, and no password is shown", async () => {
    const secret = "postgres://app:hunter2@127.0.0.1:1/app";
    const refused = [
      [["--nosuch"], 1, "error: unknown option '--nosuch'\n"],
      [["--json", "--csv", "select 1"], 1, "error: option '--json' cannot be used with option '--csv'\n"],
      [["select 1", secret], 1, "error: the connection comes before the SQL\n"],
      [[direct(), "copy pairs from stdin"], 1, "pgsluice: error: COPY from or to this program is not"],
      [[`${secret}?nosuch=1`, "select 1"], 2, 'pgsluice: error: invalid URI query parameter: "nosuch"\n'],
      [[secret, "select 1"], 2, 'pgsluice: error: connection to server at "127.0.0.1", port 1 failed: '],
      [[`${direct()} user=nobody password=hunter2`, "-"], 2, 'FATAL:  role "nobody" does not exist\n'],
    ] as const;
    for (const [args, code, text] of refused) {
      const printed = await query(args, "select 1");
      expect(printed, text).toMatchObject({ code, stdout: "", stderr: expect.stringContaining(text) });
      expect(printed.stderr).not.toContain("hunter2");
    }
  });
});

describe("a session that ends", () => {
  test("is an error of its own", async () => {
    const printed = await query([direct(), "select pg_terminate_backend(pg_backend_pid())"]);
    expect(printed).toEqual({
      code: 2,
      stdout: "",
      stderr: "FATAL:  terminating connection due to administrator command\n",
    });
  });
});

describe("Ctrl-C", () => {
  const canceled = "ERROR:  canceling statement due to user request\n";

  for (const way of ["directly", "through a pooler"]) {
    test(`acceptance 86, 87, 88: ends the statement with 57014 (${way})`, async () => {
      await using pooled = await Pooled.start(place.lab);
      const target = conninfo(way === "directly" ? place.lab.primary : pooled.pooler.address);
      await using program = start([target, "select pg_sleep(60), 'cancel me'"]);
      await untilRunning(place.lab, "cancel me");
      program.child.kill("SIGINT");
      expect(await program.end).toEqual({ code: 1, stdout: "", stderr: `Cancel request sent\n${canceled}` });
      expect(await running(place.lab, "cancel me")).toBe(0);
    });

    test(`acceptance 88: is a request, and the result is what the statement makes of it (${way})`, async () => {
      await using pooled = await Pooled.start(place.lab);
      const target = conninfo(way === "directly" ? place.lab.primary : pooled.pooler.address);
      const sql = "do $$ begin perform pg_sleep(60), 'caught'; exception when query_canceled then end $$";
      await using program = start([target, `${sql}; select 1 as one`, "-At"]);
      await untilRunning(place.lab, "caught");
      program.child.kill("SIGINT");
      expect(await program.end).toEqual({ code: 0, stdout: "DO\n1\n", stderr: "Cancel request sent\n" });
    });
  }

  test("acceptance 87: says why the request could not be sent; a second one leaves at once", async () => {
    const { host, port } = place.lab.primary;
    // Takes one connection and no other.
    const relay = net.createServer((client) => {
      relay.close();
      const server = net.connect(port, host);
      client.pipe(server).pipe(client);
      client.on("error", () => server.destroy());
      server.on("error", () => client.destroy());
    });
    const relayed = await listening(relay);
    await using program = start([conninfo(relayed), "select pg_sleep(60), 'out of reach'"]);
    await untilRunning(place.lab, "out of reach");
    program.child.kill("SIGINT");
    await waitUntil(() => program.stderr.includes("\n"), "it has said something", patienceMs);
    expect(program.stderr).toMatch(/^Could not send cancel request: connection to server .*ECONNREFUSED/);
    expect(await signalled(program, "SIGINT")).toMatchObject({ code: 130, stdout: "" });
    expect(program.stderr.trimEnd().split("\n")).toHaveLength(1);
    await place.lab.primary.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where query like '%out of reach%' and pid <> pg_backend_pid()",
    );
  });

  test("ends an attempt to connect", async () => {
    const accepted: net.Socket[] = [];
    const silent = net.createServer((socket) => accepted.push(socket));
    await using program = start([conninfo(await listening(silent)), "select 1"]);
    await waitUntil(() => accepted.length > 0, "it connects", patienceMs);
    program.child.kill("SIGINT");
    expect(await program.end).toEqual({ code: 130, stdout: "", stderr: "" });
    silent.close();
  });
});

test("TERM ends it, and what it runs", async () => {
  await using program = start([direct(), "select pg_sleep(60), 'terminate me'"]);
  await untilRunning(place.lab, "terminate me");
  program.child.kill("SIGTERM");
  expect(await program.end).toEqual({ code: 143, stdout: "", stderr: "" });
  await untilRunning(place.lab, "terminate me", 0);
});

async function listening(server: net.Server): Promise<Address> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { host: "127.0.0.1", port: (server.address() as net.AddressInfo).port };
}

/** Sends the signal again and again, as somebody impatient does, until the program has ended. */
async function signalled(program: Running, signal: NodeJS.Signals): Promise<Printed> {
  await waitUntil(() => {
    program.child.kill(signal);
    return program.child.exitCode !== null;
  }, `${signal} ends the program`);
  return await within(program.end, "its output is over");
}
