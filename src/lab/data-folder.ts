/**
 * The data folder of one instance: how it is made (initdb, or a copy of another that stands still), the
 * files of configuration that the lab writes, and what can be read from its files without a connection.
 */
import { chown, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { readPostmasterFile } from "../backup/data-folder.ts";
import { isAlive, processesIn } from "../backup/processes.ts";
import type { Account } from "./account.ts";
import type { Binaries } from "./binaries.ts";
import { labError } from "./errors.ts";
import { killTree, run, untilGone } from "./processes.ts";

/** Settings of PostgreSQL by name, values as one would write them in postgresql.conf, without quotes. */
export type PostgresSettings = Readonly<Record<string, string>>;

/** The superuser of every lab. */
export const superuser = "postgres";

const settingsFile = "lab.conf";
export const standbySignal = "standby.signal";

/**
 * Names a data folder that {@link initialize} has made: labs copy it instead of running initdb, which takes several
 * times as long. A test run with many labs sets it. All copies have one system identifier.
 */
export const templateVariable = "PGSLUICE_LAB_TEMPLATE";

/** Makes a new cluster. Text is UTF-8, sorted by code point: the same on every system. */
export async function initialize(
  dataFolder: string,
  binaries: Binaries,
  account: Account | undefined,
  options: readonly string[],
): Promise<void> {
  const template = process.env[templateVariable];
  if (template !== undefined && options.length === 0 && (await fits(template, binaries, account))) {
    await copyStopped(template, dataFolder, account);
    return;
  }
  const locale = ["--encoding=UTF8", "--locale=C"];
  if (binaries.version >= 17) locale.push("--locale-provider=builtin", "--builtin-locale=C.UTF-8");
  const fixed = [`--pgdata=${dataFolder}`, `--username=${superuser}`, "--auth=trust", "--no-sync"];
  const folder = path.dirname(dataFolder);
  try {
    await run(binaries.initdb, [...fixed, "--no-instructions", ...locale, ...options], { account, folder });
  } catch (error) {
    await rm(dataFolder, { recursive: true, force: true });
    throw labError("lab.start_failed", "initdb failed", { detail: (error as Error).message, cause: error });
  }
}

/** Whether a template is of this version, and belongs to whoever is to run the copy. */
async function fits(template: string, binaries: Binaries, account: Account | undefined): Promise<boolean> {
  const version = await readFile(path.join(template, "PG_VERSION"), "utf8").catch(() => "");
  if (Number(version) !== binaries.version) return false;
  return (await stat(template)).uid === (account?.uid ?? process.getuid?.());
}

/**
 * Copies a data folder whose server does not run. The copy is as good as a base backup: as a standby it
 * recovers from the same checkpoint, then streams.
 */
export async function copyStopped(
  source: string,
  target: string,
  account: Account | undefined,
): Promise<void> {
  await rm(target, { recursive: true, force: true });
  await run("cp", ["-R", "-p", source, target], { account, folder: path.dirname(target) });
  await dropOwn(target);
}

/** Removes from a copy what belongs to the original alone (as pg_basebackup leaves it out). */
export async function dropOwn(dataFolder: string): Promise<void> {
  for (const name of [
    "postmaster.pid",
    "postmaster.opts",
    standbySignal,
    "promote",
    "postgresql.auto.conf.tmp",
  ]) {
    await rm(path.join(dataFolder, name), { force: true });
  }
  for (const name of ["pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_stat_tmp", "pg_subtrans"]) {
    const folder = path.join(dataFolder, name);
    for (const entry of await readdir(folder)) await rm(path.join(folder, entry), { recursive: true });
  }
}

/** Writes a file that PostgreSQL can read: its owner is the user that runs it. */
export async function writeOwned(file: string, text: string, account: Account | undefined): Promise<void> {
  await writeFile(file, text, { mode: 0o600 });
  if (account !== undefined) await chown(file, account.uid, account.gid);
}

export async function makeOwnedFolder(folder: string, account: Account | undefined): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if (account !== undefined) await chown(folder, account.uid, account.gid);
}

/**
 * Writes the lab's settings into a file of their own, included from postgresql.conf, so that ALTER SYSTEM
 * still wins over them.
 */
export async function writeSettings(
  dataFolder: string,
  settings: PostgresSettings,
  account: Account | undefined,
): Promise<void> {
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${quote(value)}`);
  await writeOwned(path.join(dataFolder, settingsFile), `${lines.join("\n")}\n`, account);
  const mainFile = path.join(dataFolder, "postgresql.conf");
  const text = await readFile(mainFile, "utf8");
  const include = `include '${settingsFile}'`;
  if (!text.includes(include)) await writeOwned(mainFile, `${text}\n${include}\n`, account);
}

/** Writes pg_hba.conf. The superuser always gets in by the Unix socket, which is how the lab administers. */
export async function writeHostBasedAuthentication(
  dataFolder: string,
  lines: readonly string[],
  account: Account | undefined,
): Promise<void> {
  const own = [`local all ${superuser} trust`, `local replication ${superuser} trust`];
  await writeOwned(path.join(dataFolder, "pg_hba.conf"), `${[...own, ...lines].join("\n")}\n`, account);
}

/** A value in postgresql.conf (guc-file.l): quotes are doubled, backslashes too. */
function quote(value: string): string {
  return `'${value.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}

/**
 * Ends what an earlier server left running in the folder, and removes a postmaster.pid whose number belongs
 * to another program now: PostgreSQL would take that for a living server and refuse to start.
 */
export async function endLeftovers(dataFolder: string): Promise<void> {
  const file = await readPostmasterFile(dataFolder);
  const pids = await processesIn(dataFolder, file?.pid);
  if (file !== undefined && pids.includes(file.pid)) await killTree(file.pid);
  for (const pid of pids) {
    if (isAlive(pid)) await killTree(pid);
  }
  await untilGone(pids, 10_000);
  if (file === undefined) return;
  await removeSharedMemory(file.sharedMemory);
  await rm(path.join(dataFolder, "postmaster.pid"), { force: true });
}

/** PostgreSQL holds a few bytes of System V shared memory as a lock; a server that was killed leaves them. */
async function removeSharedMemory(identifier: string | undefined): Promise<void> {
  if (identifier === undefined) return;
  // Nothing depends on it: the next server in the same folder removes it too.
  await run("ipcrm", ["-m", identifier]).catch(() => "");
}

/** pg_control.h, enum DBState. */
export const inProduction = 6;

export interface ControlFile {
  readonly state: number;
  readonly timeline: number;
  /** Where recovery would begin: the name of that WAL file without its timeline. */
  readonly redoSegment: string;
}

/** The state of the cluster, from global/pg_control (pg_control.h, ControlFileData and CheckPoint). */
export async function readControlFile(dataFolder: string): Promise<ControlFile> {
  const bytes = await readFile(path.join(dataFolder, "global", "pg_control"));
  const littleEndian = os.endianness() === "LE";
  const int32 = (offset: number): number =>
    littleEndian ? bytes.readUInt32LE(offset) : bytes.readUInt32BE(offset);
  const redo = littleEndian ? bytes.readBigUInt64LE(40) : bytes.readBigUInt64BE(40);
  const walFolder = path.join(dataFolder, "pg_wal");
  let timeline = int32(48);
  let segmentBytes = 16n * 1024n * 1024n;
  for (const name of await readdir(walFolder)) {
    // A timeline is begun by its history file, before the first checkpoint on it.
    const history = /^([0-9A-F]{8})\.history$/.exec(name)?.[1];
    if (history !== undefined) timeline = Math.max(timeline, Number.parseInt(history, 16));
    if (/^[0-9A-F]{24}$/.test(name)) segmentBytes = BigInt((await stat(path.join(walFolder, name))).size);
  }
  return { state: int32(16), timeline, redoSegment: segmentName(redo, segmentBytes) };
}

/** xlog_internal.h, XLogFileName: the number of the segment in two halves of eight digits. */
function segmentName(position: bigint, segmentBytes: bigint): string {
  const perHigh = 0x1_0000_0000n / segmentBytes;
  const segment = position / segmentBytes;
  const digits = (part: bigint): string => part.toString(16).toUpperCase().padStart(8, "0");
  return digits(segment / perHigh) + digits(segment % perHigh);
}
