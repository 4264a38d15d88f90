/** Base backups by the client, against a real server: what comes, failures behind the data, and that they start. */
import { chown, mkdir, open as openFile, readdir, readlink, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { copyCluster } from "../../src/backup/copy.ts";
import { clearUnfinished, inspectDataFolder } from "../../src/backup/data-folder.ts";
import { TarUnpacker } from "../../src/backup/tar.ts";
import { connectReplication, type ReplicationConnection } from "../../src/client/replication/connection.ts";
import type { BackupEvent } from "../../src/client/replication/messages.ts";
import { Lab } from "../../src/lab/index.ts";
import { useLab } from "../kit/lab.ts";
import { tempFolder } from "../kit/temp-folder.ts";
import { ask, targetOf } from "./replication-lab.ts";

const place = useLab();
const opened: ReplicationConnection[] = [];

async function open(lab: Lab = place.lab): Promise<ReplicationConnection> {
  const connection = await connectReplication(targetOf(lab.primary), { mode: "physical" });
  opened.push(connection);
  return connection;
}

afterEach(async () => {
  for (const connection of opened.splice(0)) await connection.close();
});

describe("a base backup", () => {
  test("brings an archive, a manifest, progress, and where it begins and ends", async () => {
    const connection = await open();
    const backup = await connection.baseBackup({
      label: "it's a backup",
      checkpoint: "fast",
      manifest: true,
      manifestChecksums: "SHA256",
      progress: true,
    });
    expect(backup.start.timeline).toBe(1);
    expect(backup.tablespaces).toEqual([{ oid: undefined, location: undefined, bytes: expect.anything() }]);
    expect(backup.end).toBeUndefined();
    await using temp = await tempFolder();
    await using archive = new TarUnpacker(temp.path);
    const manifest: Buffer[] = [];
    const kinds = new Set<string>();
    let bytes = 0n;
    let inManifest = false;
    for await (const event of backup) {
      kinds.add(event.kind);
      if (event.kind === "archive")
        expect(event).toEqual({ ...event, name: "base.tar", location: undefined });
      if (event.kind === "manifest") inManifest = true;
      if (event.kind === "progress") bytes = event.bytes;
      if (event.kind !== "data") continue;
      if (inManifest) manifest.push(event.data);
      else await archive.write(event.data);
    }
    await archive.end();
    expect([...kinds].sort()).toEqual(["archive", "data", "manifest", "progress"]);
    expect(backup.end?.position).toBeGreaterThan(backup.start.position);
    expect(bytes).toBeGreaterThan((backup.tablespaces[0]?.bytes ?? 0n) / 2n);
    const told = JSON.parse(Buffer.concat(manifest).toString()) as {
      Files: { Path: string; Size: number }[];
    };
    expect(told.Files.length).toBeGreaterThan(500);
    // What the manifest names is what came.
    for (const file of told.Files) expect((await stat(path.join(temp.path, file.Path))).size).toBe(file.Size);
    expect(await readdir(path.join(temp.path, "pg_wal"))).toEqual(["archive_status", "summaries"]);
    expect((await connection.identifySystem()).timeline).toBe(1);
  });

  test("can hold the log that makes it whole, and be slow", async () => {
    const connection = await open();
    const names: string[] = [];
    const backup = await connection.baseBackup({
      checkpoint: "fast",
      wal: true,
      wait: false,
      verifyChecksums: false,
      tablespaceMap: true,
      kilobytesPerSecondMax: 1_048_576,
    });
    for await (const event of backup) {
      if (event.kind === "data" && event.data.length === 512) names.push(nameIn(event.data));
    }
    expect(names).toContain("backup_label");
    expect(names.some((name) => /^pg_wal\/[0-9A-F]{24}$/.test(name))).toBe(true);
    expect(names).not.toContain("postmaster.pid");
  });

  test("has an archive for each tablespace, which is copied to where it is told, and which a lab refuses to copy", async () => {
    await using lab = await Lab.start();
    const { primary } = lab;
    const folder = path.join(path.dirname(primary.dataFolder), "space");
    const { uid, gid } = await stat(primary.dataFolder);
    await mkdir(folder, { mode: 0o700 });
    if (process.getuid?.() === 0) await chown(folder, uid, gid);
    await primary.query(`CREATE TABLESPACE space LOCATION '${folder}'`);
    await primary.query("CREATE TABLE inside TABLESPACE space AS SELECT generate_series(1, 1000)");
    const oid = Number(await ask(primary, "SELECT oid FROM pg_tablespace WHERE spcname = 'space'"));
    const connection = await open(lab);
    const backup = await connection.baseBackup({ checkpoint: "fast" });
    expect(backup.tablespaces).toEqual([
      { oid, location: folder, bytes: undefined },
      { oid: undefined, location: undefined, bytes: undefined },
    ]);
    const archives: BackupEvent[] = [];
    for await (const event of backup) if (event.kind === "archive") archives.push(event);
    expect(archives).toEqual([
      { kind: "archive", name: `${oid}.tar`, location: folder },
      { kind: "archive", name: "base.tar", location: undefined },
    ]);
    await using temp = await tempFolder();
    const copy = {
      folder: path.join(temp.path, "data"),
      checkpoint: "fast",
      kilobytesPerSecondMax: undefined,
      signal: new AbortController().signal,
      onProgress: () => undefined,
    } as const;
    // Where the tablespace is on the server is somebody's, and not where the copy goes.
    await expect(copyCluster(connection, { ...copy, tablespaces: new Map() })).rejects.toMatchObject({
      code: "backup.folder_not_empty",
    });
    const elsewhere = path.join(temp.path, "space");
    await copyCluster(connection, { ...copy, tablespaces: new Map([[folder, elsewhere]]) });
    expect(await readlink(path.join(copy.folder, "pg_tblspc", String(oid)))).toBe(elsewhere);
    const file = (await ask(primary, "SELECT pg_relation_filepath('inside')")) ?? "";
    expect((await stat(path.join(copy.folder, file))).size).toBeGreaterThan(8192);
    const found = await inspectDataFolder(copy.folder);
    expect(found).toEqual({ kind: "unfinished", tablespaces: [elsewhere] });
    if (found.kind === "unfinished") await clearUnfinished(copy.folder, found.tablespaces);
    expect([await readdir(copy.folder), await readdir(elsewhere)]).toEqual([[], []]);
    await connection.close();
    await expect(lab.addStandby()).rejects.toMatchObject({
      code: "lab.start_failed",
      message: expect.stringContaining("tablespaces"),
    });
  });

  test("that finds a wrong checksum fails behind the last of its data", async () => {
    await using lab = await Lab.start();
    const { primary } = lab;
    await primary.query("CREATE TABLE damaged AS SELECT generate_series(1, 10000); CHECKPOINT");
    const file = path.join(
      primary.dataFolder,
      (await ask(primary, "SELECT pg_relation_filepath('damaged')")) ?? "",
    );
    await using handle = await openFile(file, "r+");
    await handle.write(Buffer.from("damage"), 0, 6, 4000);
    const connection = await open(lab);
    const backup = await connection.baseBackup({ checkpoint: "fast" });
    let last = 0;
    const taking = (async () => {
      for await (const event of backup) if (event.kind === "data") last += event.data.length;
    })();
    await expect(taking).rejects.toMatchObject({ code: "client.server_error", sqlstate: "XX001" });
    expect(last).toBeGreaterThan(20_000_000);
    expect(backup.end).toBeUndefined();
    expect((await connection.identifySystem()).timeline).toBe(1);
  });

  test("can be left early, and is aborted by a signal", async () => {
    const connection = await open();
    const slow = { checkpoint: "fast", kilobytesPerSecondMax: 32 } as const;
    for await (const event of await connection.baseBackup(slow)) if (event.kind === "data") break;
    expect((await connection.identifySystem()).timeline).toBe(1);
    {
      await using disposed = await connection.baseBackup(slow);
      expect(disposed.start.timeline).toBe(1);
    }
    const control = new AbortController();
    const backup = await connection.baseBackup({ ...slow, signal: control.signal });
    const taking = (async () => {
      for await (const event of backup) if (event.kind === "data") control.abort(new Error("enough"));
    })();
    await expect(taking).rejects.toThrow("enough");
    expect((await connection.identifySystem()).timeline).toBe(1);
  });

  test("is refused to one that is going on", async () => {
    const connection = await open();
    await using _backup = await connection.baseBackup({ checkpoint: "fast", kilobytesPerSecondMax: 32 });
    await expect(connection.baseBackup()).rejects.toMatchObject({ code: "client.replication_active" });
  });
});

test("a backup of a busy cluster becomes a standby that streams", async () => {
  await using lab = await Lab.start({ auth: ["host all all 127.0.0.1/32 reject"] });
  const { primary } = lab;
  await primary.query("CREATE TABLE busy (a int PRIMARY KEY, b text)");
  let stopped = false;
  let rows = 0;
  const writing = (async () => {
    await using client = await primary.connect();
    for (; !stopped; rows += 100) {
      await client.query(
        `INSERT INTO busy SELECT ${rows} + i, repeat('x', i) FROM generate_series(1, 100) i`,
      );
    }
  })();
  const standby = await lab.addStandby();
  stopped = true;
  await writing;
  await lab.untilReplayed();
  const sum = "SELECT count(*) || ' ' || sum(a::numeric * length(b)) FROM busy";
  expect(await ask(standby, sum)).toBe(await ask(primary, sum));
  expect(rows).toBeGreaterThan(0);
  const { mode } = await stat(standby.dataFolder);
  expect(mode & 0o777).toBe(0o700);
  expect(await ask(standby, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")).toBe(
    "1",
  );
  // Made anew from itself as it was left: nothing of the old data is in the way.
  await writeFile(path.join(standby.dataFolder, "left over"), "");
  await lab.rejoin(standby);
  expect(await readdir(standby.dataFolder)).not.toContain("left over");
});

function nameIn(header: Buffer): string {
  return header.toString("latin1", 0, Math.max(0, header.indexOf(0)));
}
