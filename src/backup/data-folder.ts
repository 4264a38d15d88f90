/**
 * A data directory of PostgreSQL, seen from outside: what is in it, whether a server runs there, and how it is put out of the
 * way. A copy that is not finished is marked by a file of our own, so that a later one may clear it away without being
 * told: nobody has ever used it.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { backupError } from "./errors.ts";
import { isAlive, nameOf, processesIn } from "./processes.ts";

/** What a folder holds that is to become a data directory. */
export type DataFolder =
  | { readonly kind: "absent" }
  | { readonly kind: "empty" }
  /** PostgreSQL runs in it. */
  | { readonly kind: "running"; readonly pid: number }
  /** Somebody is copying into it. */
  | { readonly kind: "copying"; readonly pid: number }
  /** A copy that was begun and never used, and its tablespaces' folders. */
  | { readonly kind: "unfinished"; readonly tablespaces: readonly string[] }
  | { readonly kind: "cluster"; readonly version: string; readonly systemId: string | undefined }
  | { readonly kind: "foreign"; readonly example: string };

const markFile = "pgsluice_copy.json";

interface Mark {
  /** Undefined: it was cut off while it was written. */
  readonly pid: number | undefined;
  readonly tablespaces: readonly string[];
}

/** Rejects with `backup.folder_unusable` if it cannot be looked into. */
export async function inspectDataFolder(folder: string): Promise<DataFolder> {
  const names = await namesIn(folder);
  if (names === undefined) return { kind: "absent" };
  const [example] = names;
  if (example === undefined) return { kind: "empty" };
  const postmaster = await readPostmasterFile(folder);
  const pids = await processesIn(folder, postmaster?.pid);
  const running = pids.find((pid) => isPostgres(pid, postmaster));
  if (running !== undefined) return { kind: "running", pid: running };
  const mark = await readMark(folder);
  if (mark !== undefined) {
    if (mark.pid !== undefined && mark.pid !== process.pid && isAlive(mark.pid))
      return { kind: "copying", pid: mark.pid };
    // A server that was started there, however, has made it its own.
    if (!names.includes("postmaster.opts")) return { kind: "unfinished", tablespaces: mark.tablespaces };
  }
  if (!names.includes("PG_VERSION")) return { kind: "foreign", example };
  const version = (await readFile(path.join(folder, "PG_VERSION"), "utf8")).trim();
  return { kind: "cluster", version, systemId: await systemIdOf(folder) };
}

/** Names in it; undefined if there is no such folder. */
export async function namesIn(folder: string): Promise<string[] | undefined> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw backupError("backup.folder_unusable", `${folder} cannot be read: ${(error as Error).message}`);
  }
}

/** Somebody's shell may stand in the folder, too. */
function isPostgres(pid: number, postmaster: PostmasterFile | undefined): boolean {
  if (pid === postmaster?.pid) return true;
  return pid !== process.pid && nameOf(pid).startsWith("postg");
}

/** Marks a folder as one that is being copied into. Rejects with `backup.folder_in_use` if another one does. */
export async function markCopy(folder: string, tablespaces: readonly string[]): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const mark: Mark = { pid: process.pid, tablespaces };
  try {
    await writeFile(path.join(folder, markFile), JSON.stringify(mark), { mode: 0o600, flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw backupError("backup.folder_in_use", `somebody else has begun to copy into ${folder}`);
  }
}

/** The copy is whole. */
export async function unmarkCopy(folder: string): Promise<void> {
  await rm(path.join(folder, markFile), { force: true });
}

async function readMark(folder: string): Promise<Mark | undefined> {
  try {
    const mark = JSON.parse(await readFile(path.join(folder, markFile), "utf8")) as Partial<Mark>;
    return { pid: mark.pid, tablespaces: mark.tablespaces ?? [] };
  } catch (error) {
    return error instanceof SyntaxError ? { pid: undefined, tablespaces: [] } : undefined;
  }
}

/** Takes away a copy that was never used, with what it has put into the folders of tablespaces. */
export async function clearUnfinished(folder: string, tablespaces: readonly string[]): Promise<void> {
  for (const tablespace of tablespaces) {
    const names = (await namesIn(tablespace)) ?? [];
    // The one folder that PostgreSQL makes in there: PG_18_202506291.
    for (const name of names.filter((name) => /^PG_\d+_\d+$/.test(name)))
      await rm(path.join(tablespace, name), { recursive: true, force: true });
  }
  await clearFolder(folder);
}

/** Empties a folder; it stays itself, since it may be a mount point. What marks an unfinished copy goes last. */
export async function clearFolder(folder: string): Promise<void> {
  const names = await readdir(folder);
  for (const name of names.filter((name) => name !== markFile))
    await rm(path.join(folder, name), { recursive: true, force: true });
  await unmarkCopy(folder);
}

/** Renames a folder, and returns its new name. Rejects with `backup.folder_unusable` if it has to stay where it is. */
export async function moveAside(folder: string, now: Date): Promise<string> {
  const stamp = now.toISOString().replace(/\..*/, "").replaceAll(/[-:]/g, "");
  const target = `${folder}.before-${stamp}Z`;
  try {
    await rename(folder, target);
  } catch (error) {
    throw backupError("backup.folder_unusable", `${folder} cannot be renamed: ${(error as Error).message}`, {
      hint: "It may be a mount point, or its parent folder may not be writable: move its contents away yourself.",
      cause: error,
    });
  }
  return target;
}

/** pg_control.h: its first eight bytes. */
async function systemIdOf(folder: string): Promise<string | undefined> {
  const bytes = await readFile(path.join(folder, "global", "pg_control")).catch(() => undefined);
  if (bytes === undefined || bytes.length < 8) return undefined;
  return String(os.endianness() === "LE" ? bytes.readBigUInt64LE(0) : bytes.readBigUInt64BE(0));
}

/** What postmaster.pid says (pidfile.h). */
export interface PostmasterFile {
  readonly pid: number;
  /** Tells one start from another. */
  readonly identity: string;
  /** System V identifier of its shared memory. */
  readonly sharedMemory: string | undefined;
  /** `starting`, `stopping`, `ready`, or `standby`: up, but not open for reading. */
  readonly status: string;
}

export async function readPostmasterFile(dataFolder: string): Promise<PostmasterFile | undefined> {
  const text = await readFile(path.join(dataFolder, "postmaster.pid"), "utf8").catch(() => "");
  const lines = text.split("\n");
  // A negative number is that of a single-user backend.
  const pid = Math.abs(Number.parseInt(lines[0] ?? "", 10));
  if (Number.isNaN(pid)) return undefined;
  const sharedMemory = /^\s*\d+\s+(\d+)/.exec(lines[6] ?? "")?.[1];
  return { pid, identity: lines.slice(0, 3).join("\n"), sharedMemory, status: (lines[7] ?? "").trim() };
}
