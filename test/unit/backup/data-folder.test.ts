/** What a folder is taken for that is to become a data directory, and what makes a copy a standby. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { clearFolder, inspectDataFolder, markCopy, moveAside } from "../../../src/backup/data-folder.ts";
import { writeStandbySettings } from "../../../src/backup/standby.ts";
import { parseConninfo } from "../../../src/client/conninfo/conninfo.ts";
import { connectOptions } from "../../../src/client/conninfo/options.ts";

let around = "";
let folder = "";
beforeEach(async () => {
  around = await mkdtemp(path.join(os.tmpdir(), "pgsluice-data-"));
  folder = path.join(around, "data");
});
afterEach(async () => {
  await rm(around, { recursive: true, force: true });
});

const put = (name: string, text = ""): Promise<void> => writeFile(path.join(folder, name), text);

test("nothing, an empty folder, something else, a cluster", async () => {
  expect(await inspectDataFolder(folder)).toEqual({ kind: "absent" });
  await mkdir(folder);
  expect(await inspectDataFolder(folder)).toEqual({ kind: "empty" });
  await put("letters.txt");
  expect(await inspectDataFolder(folder)).toEqual({ kind: "foreign", example: "letters.txt" });
  await put("PG_VERSION", "18\n");
  expect(await inspectDataFolder(folder)).toEqual({ kind: "cluster", version: "18", systemId: undefined });
  // A number that is nobody's, or belongs to a program that is not at work there.
  for (const pid of [2 ** 22 + 1, process.ppid]) {
    await put("postmaster.pid", `${pid}\n`);
    expect(await inspectDataFolder(folder)).toMatchObject({ kind: "cluster" });
  }
  await put("folder", "");
  await expect(inspectDataFolder(path.join(folder, "folder"))).rejects.toMatchObject({
    code: "backup.folder_unusable",
  });
});

test("an unfinished copy is known, unless a server was started in it or somebody is at it", async () => {
  await markCopy(folder, ["/srv/space"]);
  await expect(markCopy(folder, [])).rejects.toMatchObject({ code: "backup.folder_in_use" });
  await put("PG_VERSION", "18\n");
  expect(await inspectDataFolder(folder)).toEqual({ kind: "unfinished", tablespaces: ["/srv/space"] });
  await put("pgsluice_copy.json", JSON.stringify({ pid: process.ppid, tablespaces: [] }));
  expect(await inspectDataFolder(folder)).toEqual({ kind: "copying", pid: process.ppid });
  await put("pgsluice_copy.json", '{"pid":');
  expect(await inspectDataFolder(folder)).toEqual({ kind: "unfinished", tablespaces: [] });
  await put("postmaster.opts");
  expect(await inspectDataFolder(folder)).toMatchObject({ kind: "cluster" });
  await clearFolder(folder);
  expect(await readdir(folder)).toEqual([]);
});

test("moved aside it has the time in its name", async () => {
  await mkdir(folder);
  await put("PG_VERSION", "18\n");
  const moved = await moveAside(folder, new Date("2026-01-02T03:04:05.678Z"));
  expect(moved).toBe(`${folder}.before-20260102T030405Z`);
  expect(await readdir(around)).toEqual(["data.before-20260102T030405Z"]);
  await expect(moveAside(folder, new Date())).rejects.toMatchObject({ code: "backup.folder_unusable" });
});

test("the settings of a standby win over those that were copied, and say everything as it is", async () => {
  await mkdir(folder);
  await put("postgresql.auto.conf", "primary_slot_name = 'of_the_primary'\n");
  await put("recovery.signal");
  const password = "it's a \\ secret";
  const source = connectOptions({
    hosts: [{ host: "db.example.com", port: 5433, address: "10.0.0.1" }],
    user: "re builder",
    password,
    sslmode: "verify-full",
    sslrootcert: "/etc/ca.pem",
  });
  await writeStandbySettings(folder, { source, applicationName: "node b", slot: undefined });
  const text = await readFile(path.join(folder, "postgresql.auto.conf"), "utf8");
  const lines = text.trim().split("\n");
  expect([lines[0], lines[2]]).toEqual(["primary_slot_name = 'of_the_primary'", "primary_slot_name = ''"]);
  const value = /^primary_conninfo = '(.*)'$/.exec(lines[1] ?? "")?.[1] ?? "";
  const conninfo = value.replaceAll("''", "'").replaceAll("\\\\", "\\");
  expect(Object.fromEntries(parseConninfo(conninfo))).toEqual({
    host: "db.example.com",
    hostaddr: "10.0.0.1",
    port: "5433",
    user: "re builder",
    password,
    sslmode: "verify-full",
    sslrootcert: "/etc/ca.pem",
    application_name: "node b",
  });
  expect((await readdir(folder)).sort()).toEqual(["postgresql.auto.conf", "standby.signal"]);
});
