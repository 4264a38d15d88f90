/** The lab itself: clusters, standbys, failover, and that nothing of it stays behind. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, readdir, readlink, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import pg from "pg";
import postgres from "postgres";
import { describe, expect, test } from "vitest";
import { isAlive } from "../../src/backup/processes.ts";
import { ServerError } from "../../src/client/index.ts";
import { Lab } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { rawClient } from "../kit/raw-client.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";

const ownerFile = fileURLToPath(new URL("lab-owner.ts", import.meta.url));

describe("a primary and a standby", () => {
  const place = useLab({ standbys: 1 });

  test("take the drivers' connections", async () => {
    const client = new pg.Client(place.lab.primary.url());
    await client.connect();
    expect((await client.query("SELECT 1 + 1 AS two")).rows).toEqual([{ two: 2 }]);
    await client.end();
    const sql = postgres(place.lab.primary.url());
    expect([...(await sql`SELECT 1 + 1 AS two`)]).toEqual([{ two: 2 }]);
    await sql.end();
  });

  test.skipIf(!existsSync("/usr/bin/psql"))("take psql", async () => {
    const { stdout } = await promisify(execFile)("/usr/bin/psql", [
      place.lab.primary.url(),
      "-Atc",
      "SHOW server_version",
    ]);
    expect(stdout).toMatch(/^18/);
  });

  test("replicate", async () => {
    const { lab } = place;
    const [standby] = lab.standbys;
    await lab.primary.query("CREATE TABLE told AS SELECT generate_series(1, 1000)");
    await lab.untilReplayed();
    expect((await standby?.query("SELECT count(*) FROM told"))?.rows).toEqual([["1000"]]);
    await expect(standby?.query("CREATE TABLE refused ()")).rejects.toThrow(/read-only/);
  });

  test("answer a raw client message by message", async () => {
    using raw = await rawClient(place.lab.primary.port);
    const session = await raw.startup({ parameters: [["application_name", "raw"]] });
    expect(session.parameters.get("application_name")).toBe("raw");
    expect(session.key).toHaveLength(4);
    expect(await raw.rows("SELECT 7, NULL")).toEqual([["7", null]]);
    raw.send({ kind: "Query", sql: "SELECT 1/0" });
    expect((await raw.expect("ErrorResponse")).fields.code).toBe("22012");
    await raw.expect("ReadyForQuery");
    await raw.close();
  });

  test("can be held still", async () => {
    const { primary } = place.lab;
    await primary.pause();
    using raw = await rawClient(primary.port);
    raw.sendStartup();
    await expect(raw.next("an answer", 300)).rejects.toThrow(/did not come about/);
    await primary.resume();
    await raw.until("ReadyForQuery");
  });
});

test("after a failover the old primary rejoins, and standbys can be added", async () => {
  await using lab = await Lab.start({ standbys: 1 });
  const [first, second] = lab.nodes as [Lab["primary"], Lab["primary"]];
  await first.query("CREATE TABLE kept AS SELECT 1 AS one");
  await lab.untilReplayed();
  await first.kill();
  expect(first.isRunning).toBe(false);
  expect(first.pid).toBeUndefined();
  await second.promote();
  expect(lab.primary).toBe(second);
  await second.query("INSERT INTO kept VALUES (2)");
  await lab.rejoin(first);
  expect(first.role).toBe("standby");
  const third = await lab.addStandby();
  await second.query("INSERT INTO kept VALUES (3)");
  await lab.untilReplayed();
  for (const node of [first, third]) {
    expect((await node.query("SELECT count(*) FROM kept")).rows).toEqual([["3"]]);
  }
  await third.stop();
  await first.promote();
  await third.follow(first);
  await expect(second.follow(first)).rejects.toThrow(/stop it first/);
});

test("a node comes back on its port after every kind of stop", async () => {
  await using lab = await Lab.start();
  const { primary } = lab;
  const { port } = primary;
  await primary.query("CREATE TABLE kept AS SELECT 1");
  for (const mode of ["smart", "fast", "immediate"] as const) {
    await primary.restart(mode);
    expect(primary.port).toBe(port);
  }
  await primary.kill();
  await primary.start();
  expect((await primary.query("SELECT count(*) FROM kept")).rows).toEqual([["1"]]);
  await using client = await primary.connect();
  await expect(primary.stop("smart", { timeoutMs: 200 })).rejects.toThrow(/did not stop/);
  await client.close();
  await waitUntil(() => !primary.isRunning, "a smart stop ends with its last client");
});

test("a bad setting is told with the server's words, and leaves nothing behind", async () => {
  await using temp = await tempFolder();
  using _restored = temporaryFilesIn(temp.path);
  const failure = Lab.start({ settings: { shared_buffers: "many" } });
  await expect(failure).rejects.toMatchObject({
    code: "lab.start_failed",
    detail: expect.stringContaining("shared_buffers"),
  });
  expect(await readdir(temp.path)).toEqual([]);
});

test("lines of pg_hba.conf and ALTER SYSTEM count", async () => {
  await using lab = await Lab.start({ auth: ["host all all 127.0.0.1/32 scram-sha-256"] });
  const { primary } = lab;
  await primary.query("CREATE ROLE app LOGIN PASSWORD 'right'");
  const database = "postgres";
  using raw = await rawClient(primary.port);
  await raw.startup({ user: "app", database, password: "right" });
  using wrong = await rawClient(primary.port);
  await expect(wrong.startup({ user: "app", database, password: "wrong" })).rejects.toThrow(/28P01/);
  await primary.query("ALTER SYSTEM SET work_mem = '5MB'");
  await primary.restart();
  expect((await primary.query("SHOW work_mem")).rows).toEqual([["5MB"]]);
  await expect(primary.query("SELECT nothing")).rejects.toBeInstanceOf(ServerError);
});

describe("a folder", () => {
  test("is found again quickly, also after a failover", async () => {
    await using temp = await tempFolder();
    const folder = path.join(temp.path, "lab");
    {
      await using lab = await Lab.start({ folder, standbys: 1 });
      await lab.primary.query("CREATE TABLE kept AS SELECT 1");
      await lab.untilReplayed();
      await expect(Lab.start({ folder })).rejects.toMatchObject({ code: "lab.folder_in_use" });
      await lab.primary.kill();
      await lab.nodes[1]?.promote();
      await lab.nodes[1]?.query("INSERT INTO kept VALUES (2)");
    }
    await using lab = await Lab.start({ folder, standbys: 1 });
    expect(lab.primary.name).toBe("node2");
    for (const node of lab.nodes) {
      expect((await node.query("SELECT count(*) FROM kept")).rows).toEqual([["2"]]);
    }
  });

  test("with something else in it is refused", async () => {
    await using temp = await tempFolder();
    await writeFile(path.join(temp.path, "thesis.txt"), "");
    await expect(Lab.start({ folder: temp.path })).rejects.toMatchObject({ code: "lab.folder_foreign" });
    await mkdir(path.join(temp.path, "empty"));
    await using lab = await Lab.start({ folder: path.join(temp.path, "empty"), durable: false });
    expect((await lab.primary.query("SHOW fsync")).rows).toEqual([["off"]]);
  });

  test.runIf(process.getuid?.() === 0)("that only root can enter keeps its data elsewhere", async () => {
    await using temp = await tempFolder();
    await chmod(temp.path, 0o700);
    const folder = path.join(temp.path, "lab");
    const told: string[] = [];
    {
      await using lab = await Lab.start({ folder, onProgress: (text) => told.push(text) });
      await lab.primary.query("CREATE TABLE kept AS SELECT 1");
    }
    const substitute = await readlink(path.join(folder, "data"));
    expect(told.join("\n")).toContain(substitute);
    {
      await using lab = await Lab.start({ folder });
      expect((await lab.primary.query("SELECT count(*) FROM kept")).rows).toEqual([["1"]]);
    }
    expect((await stat(temp.path)).mode & 0o777).toBe(0o700);
    await rm(folder, { recursive: true });
    await using _other = await Lab.start();
    expect(existsSync(substitute)).toBe(false);
  });

  test("whose process was killed is taken over", async () => {
    await using temp = await tempFolder();
    const folder = path.join(temp.path, "lab");
    const owner = await startOwner(folder);
    owner.process.kill("SIGKILL");
    // At once, while what it started may still be ending.
    await using lab = await Lab.start({ folder, standbys: 1 });
    expect(lab.nodes.map(({ role }) => role)).toEqual(["primary", "standby"]);
    expect(owner.pids.filter(isAlive)).toEqual([]);
  });
});

test("a temporary lab ends with its process, however that ends, and is removed", async () => {
  const owner = await startOwner(undefined);
  expect(owner.pids.every(isAlive)).toBe(true);
  owner.process.kill("SIGKILL");
  await waitUntil(() => !owner.pids.some(isAlive), "the servers end");
  await waitUntil(() => !existsSync(owner.folder), "the folder is removed");
});

interface Owner {
  readonly process: ReturnType<typeof spawn>;
  readonly folder: string;
  readonly pids: readonly number[];
}

async function startOwner(folder: string | undefined): Promise<Owner> {
  const args = ["--import", "tsx", ownerFile, ...(folder === undefined ? [] : [folder])];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit").then(() => Promise.reject(new Error("the owner of the lab ended")));
  const [line] = (await Promise.race([once(createInterface(child.stdout), "line"), ended])) as [string];
  ended.catch(() => undefined);
  return { process: child, ...(JSON.parse(line) as { folder: string; pids: number[] }) };
}

/** Makes `folder` the system's temporary folder until disposed of. */
function temporaryFilesIn(folder: string): Disposable {
  const before = process.env["TMPDIR"];
  process.env["TMPDIR"] = folder;
  return {
    [Symbol.dispose]: () => {
      if (before === undefined) delete process.env["TMPDIR"];
      else process.env["TMPDIR"] = before;
    },
  };
}
