/**
 * Replication connections through the pooler: each has a server of its own from its beginning to its end, in every
 * pool mode, which counts towards the pool's size and is never used again. The programs that make such connections are
 * run against a server of their own version, because they refuse newer ones.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lab } from "../../src/lab/index.ts";
import type { LabNode } from "../../src/lab/node.ts";
import { useLab } from "../kit/lab.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { waitUntil, within } from "../kit/wait.ts";
import { openConsole, startPooled, table } from "./console-client.ts";
import { Client, type Pooled, query } from "./pooled.ts";

const settings = { wal_level: "logical", max_wal_senders: "12" };
const place = useLab({ settings });
let folder: TempFolder;
let pooled: Pooled;
beforeAll(async () => {
  folder = await tempFolder();
  pooled = await startPooled(place.lab, { settings: { pool_mode: "transaction", default_pool_size: 4 } });
});
afterAll(async () => {
  await pooled[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const programs = ["pg_basebackup", "pg_receivewal", "pg_recvlogical"];
/** A PostgreSQL that brings its programs, which the embedded one does not. */
const binFolder = findBinFolder();
if (binFolder === undefined)
  process.stderr.write(`${programs.join(", ")} missing: not run through the pooler\n`);

function findBinFolder(): string | undefined {
  const root = "/usr/lib/postgresql";
  const folders = existsSync(root) ? readdirSync(root).map((version) => path.join(root, version, "bin")) : [];
  return folders.find((bin) =>
    ["postgres", "initdb", ...programs].every((name) => existsSync(path.join(bin, name))),
  );
}

/** A program under way, its output, and its end. */
interface Running {
  output(): string;
  stop(): void;
  readonly end: Promise<number | null>;
}

function run(pooled: Pooled, program: string, ...args: string[]): Running {
  const { host, port } = pooled.pooler.address;
  const target = ["-h", host, "-p", String(port), "-U", "postgres", "--no-password"];
  const child = spawn(path.join(binFolder ?? "", program), [...target, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  return {
    output: () => output,
    stop: () => child.kill("SIGINT"),
    end: new Promise((resolve) => child.once("close", (code) => resolve(code))),
  };
}

async function ask(node: LabNode, sql: string, database?: string): Promise<string | null> {
  return (await node.query(sql, database)).rows[0]?.[0] ?? null;
}

/** Connections of the pooler at PostgreSQL that replicate. */
async function senders(node: LabNode): Promise<number> {
  return Number(await ask(node, "select count(*) from pg_stat_replication"));
}

describe.skipIf(binFolder === undefined)("PostgreSQL's programs", () => {
  const other = useLab({ settings, binFolder });
  let own: Pooled;
  beforeAll(async () => {
    own = await startPooled(other.lab, { settings: { pool_mode: "transaction", default_pool_size: 4 } });
  });
  afterAll(async () => own[Symbol.asyncDispose]());

  test("pg_basebackup copies the cluster", async () => {
    const target = path.join(folder.path, "backup");
    const backup = run(own, "pg_basebackup", "-D", target, "-X", "fetch", "-c", "fast");
    const code = await within(backup.end, "the backup ends", 60_000);
    expect(code, backup.output()).toBe(0);
    expect(readdirSync(target)).toEqual(
      expect.arrayContaining(["PG_VERSION", "backup_label", "global", "pg_wal"]),
    );
    expect(statSync(path.join(target, "backup_manifest")).size).toBeGreaterThan(1000);
  });

  test("pg_basebackup with its log streams beside it: two connections at once", async () => {
    const target = path.join(folder.path, "streamed");
    const backup = run(own, "pg_basebackup", "-D", target, "-X", "stream", "-c", "fast");
    const code = await within(backup.end, "the backup ends", 60_000);
    expect(code, backup.output()).toBe(0);
    expect(readdirSync(path.join(target, "pg_wal")).some((name) => /^[0-9A-F]{24}$/.test(name))).toBe(true);
  });

  test("pg_receivewal streams the log, and ends when it is told to", async () => {
    const archive = folder.path;
    const receiver = run(own, "pg_receivewal", "-D", archive, "--no-loop");
    await waitUntil(async () => (await senders(other.lab.primary)) === 1, "it streams", 30_000);
    using console = await openConsole(own);
    const kinds = async (what: string): Promise<(string | null | undefined)[]> =>
      (await table(console, what)).map((row) => row["replication"]).filter((kind) => kind !== "none");
    for (const what of ["show clients", "show servers"])
      await waitUntil(async () => (await kinds(what)).join() === "physical", `${what} has it`);
    await other.lab.primary.query("create table if not exists filler as select 1");
    await other.lab.primary.query("select pg_switch_wal()");
    await waitUntil(
      () => readdirSync(archive).some((name) => /^[0-9A-F]{24}$/.test(name)),
      "a whole segment has come",
      30_000,
    );
    receiver.stop();
    expect(await within(receiver.end, "it ends", 30_000), receiver.output()).toBe(0);
    await waitUntil(async () => (await senders(other.lab.primary)) === 0, "its server is gone");
    expect(own.closeReasons).toContain("server is not reused");
  });

  test("pg_recvlogical makes a slot, streams what is committed, and drops it", async () => {
    await other.lab.primary.query("create table decoded (n int primary key)");
    const slot = ["-d", "postgres", "--slot", "through"];
    const made = run(own, "pg_recvlogical", ...slot, "--create-slot", "--plugin", "pgoutput");
    expect(await within(made.end, "the slot is made", 30_000), made.output()).toBe(0);
    await other.lab.primary.query("create publication decoded for table decoded");
    const file = path.join(folder.path, "decoded");
    const options = ["-o", "proto_version=1", "-o", "publication_names=decoded"];
    const receiver = run(
      own,
      "pg_recvlogical",
      ...slot,
      "--start",
      "-f",
      file,
      "--no-loop",
      "-F",
      "1",
      "-s",
      "1",
      ...options,
    );
    await waitUntil(async () => (await senders(other.lab.primary)) === 1, "it streams", 30_000);
    await other.lab.primary.query("insert into decoded select generate_series(1, 100)");
    await waitUntil(
      () => existsSync(file) && statSync(file).size > 1000,
      "what was committed has come",
      30_000,
    );
    receiver.stop();
    expect(await within(receiver.end, "it ends", 30_000), receiver.output()).toBe(0);
    const dropped = run(own, "pg_recvlogical", ...slot, "--drop-slot");
    expect(await within(dropped.end, "the slot is gone", 30_000), dropped.output()).toBe(0);
    expect(await ask(other.lab.primary, "select count(*) from pg_replication_slots")).toBe("0");
  });
});

test("a subscription of another cluster copies its tables through the pooler and follows them", async () => {
  const other = await Lab.start({ settings: { wal_level: "logical" } });
  try {
    const { primary } = place.lab;
    await primary.query("create table followed (n int primary key, text text)");
    await primary.query("insert into followed select n, md5(n::text) from generate_series(1, 500) n");
    await primary.query("create publication followed for table followed");
    await other.primary.query("create table followed (n int primary key, text text)");
    const { host, port } = pooled.pooler.address;
    const conninfo = `host=${host} port=${port} user=postgres dbname=postgres sslmode=disable`;
    await other.primary.query(`create subscription followed connection '${conninfo}' publication followed`);
    const sum = "select count(*) || md5(string_agg(n || text, ',' order by n)) from followed";
    const same = async (): Promise<boolean> => (await ask(primary, sum)) === (await ask(other.primary, sum));
    await waitUntil(same, "the table is copied", 30_000);
    using client = await pooled.connect();
    await client.run("insert into followed select n, 'later' from generate_series(501, 600) n");
    await client.run("update followed set text = 'changed' where n <= 100");
    await client.run("delete from followed where n between 200 and 250");
    await waitUntil(same, "changes have followed", 30_000);
    using console = await openConsole(pooled);
    // The one that copied may not have left yet.
    await waitUntil(async () => {
      const rows = await table(console, "show clients");
      return rows.length === 3 && rows.filter((row) => row["replication"] === "logical").length === 1;
    }, "one connection follows");
    await other.primary.query("drop subscription followed");
    await waitUntil(async () => (await senders(place.lab.primary)) === 0, "nobody follows any more");
    expect(await ask(primary, "select count(*) from pg_replication_slots")).toBe("0");
  } finally {
    await other.stop();
  }
});

describe("a replication connection", () => {
  const physical = { parameters: [["replication", "true"]] } as const;
  const logical = { parameters: [["replication", "database"]] } as const;

  for (const mode of ["session", "transaction", "statement"]) {
    test(`keeps its server from one command to the next (pool_mode ${mode})`, async () => {
      await using own = await startPooled(place.lab, { settings: { pool_mode: mode } });
      using client = await own.connect(logical);
      expect((await client.run("IDENTIFY_SYSTEM")).rows).toHaveLength(1);
      await client.run("CREATE_REPLICATION_SLOT held TEMPORARY LOGICAL pgoutput");
      // Of this server only: another one would not have it.
      expect(
        await client.value("select count(*) from pg_replication_slots where active_pid = pg_backend_pid()"),
      ).toBe("1");
      await client.close();
      await own.untilServers(0);
      expect(new Set(own.closeReasons)).toEqual(new Set(["server is not reused"]));
    });
  }

  test("counts towards the pool's size: the idle server of another client gives way, one in use does not", async () => {
    await using own = await startPooled(place.lab, {
      settings: { default_pool_size: 1, query_wait_timeout: 20 },
    });
    using ordinary = await own.connect();
    expect(await ordinary.value("select 1")).toBe("1");
    using replicating = await own.connect(physical);
    expect((await replicating.run("IDENTIFY_SYSTEM")).rows).toHaveLength(1);
    expect(own.closeReasons).toContain("evicted for pool_size");
    ordinary.send(query("select 'served'"));
    await own.untilWaiting(1);
    await replicating.close();
    expect((await ordinary.outcome()).rows).toEqual([["served"]]);
  });

  test("has to prove who it is like any other, and is cancelled like any other", async () => {
    const users = { postgres: { password: "right" } };
    await using own = await startPooled(place.lab, { settings: { auth_type: "scram-sha-256" }, users });
    await expect(Client.connect(own.place, { ...logical, password: "wrong" })).rejects.toThrow(/28P01/);
    using client = await own.connect({ ...logical, password: "right" });
    client.send(query("select pg_sleep(60), 'walsender'"));
    await waitUntil(
      async () =>
        (await ask(
          place.lab.primary,
          "select count(*) from pg_stat_activity where query like '%walsender%' and backend_type = 'walsender'",
        )) === "1",
      "it runs",
    );
    await client.cancel();
    expect((await client.outcome()).error?.code).toBe("57014");
  });
});
