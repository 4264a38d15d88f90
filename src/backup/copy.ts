/**
 * A base backup as a data directory: the archives of BASE_BACKUP unpacked where PostgreSQL expects them, as pg_basebackup's
 * plain format has it, with the write-ahead log that makes it consistent and the manifest. Ends with everything on the disk.
 */
import { lchown, mkdir, open, readdir, statfs, writeFile } from "node:fs/promises";
import path from "node:path";
import type { BackupPosition, BackupTablespace, BaseBackup } from "../client/replication/base-backup.ts";
import type { ReplicationConnection } from "../client/replication/connection.ts";
import { markCopy, namesIn } from "./data-folder.ts";
import { backupError } from "./errors.ts";
import { TarUnpacker } from "./tar.ts";

export interface CopyOptions {
  /** Absent or empty. It is marked as an unfinished copy, and stays so: see {@link unmarkCopy}. */
  readonly folder: string;
  readonly checkpoint: "fast" | "spread";
  readonly kilobytesPerSecondMax: number | undefined;
  /** Folders for tablespaces, by where they are on the server; others go where they are there. */
  readonly tablespaces: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: bigint, total: bigint) => void;
}

export interface Copied {
  readonly start: BackupPosition;
  readonly bytes: bigint;
  /** The folders of its tablespaces. */
  readonly tablespaces: readonly string[];
}

const label = "pgsluice recover";
const manifestFile = "backup_manifest";

/**
 * Rejects with `backup.…`, as the client does, or as writing does. What has come until then stays, marked as unfinished.
 */
export async function copyCluster(connection: ReplicationConnection, options: CopyOptions): Promise<Copied> {
  await using backup = await connection.baseBackup({
    label,
    checkpoint: options.checkpoint,
    wal: true,
    wait: false,
    manifest: true,
    progress: true,
    kilobytesPerSecondMax: options.kilobytesPerSecondMax,
    signal: options.signal,
  });
  const places = placesOf(backup.tablespaces, options.tablespaces);
  for (const place of places.values()) await checkTablespace(place);
  await markCopy(options.folder, [...places.values()]);
  for (const place of places.values()) await mkdir(place, { recursive: true, mode: 0o700 });
  const total = backup.tablespaces.reduce((sum, { bytes }) => sum + (bytes ?? 0n), 0n);
  if (places.size === 0) await checkRoom(options.folder, total);
  const bytes = await receive(backup, options, places, total);
  return { start: backup.start, bytes, tablespaces: [...places.values()] };
}

/** Where each tablespace goes, by where it is on the server. */
function placesOf(
  tablespaces: readonly BackupTablespace[],
  mapping: ReadonlyMap<string, string>,
): Map<string, string> {
  const places = new Map<string, string>();
  for (const { location } of tablespaces) {
    if (location !== undefined) places.set(location, mapping.get(location) ?? location);
  }
  return places;
}

async function checkTablespace(place: string): Promise<void> {
  const names = await namesIn(place);
  if (names === undefined || names.length === 0) return;
  throw backupError("backup.folder_not_empty", `the folder of a tablespace, ${place}, is not empty`, {
    hint: "It is never cleared from here, because it may be somebody's: empty it, or give another with --tablespace-mapping.",
  });
}

async function checkRoom(folder: string, bytes: bigint): Promise<void> {
  const { bavail, bsize } = await statfs(folder, { bigint: true });
  const free = bavail * bsize;
  if (free >= bytes) return;
  throw backupError("backup.disk_full", `the copy takes about ${bytes} bytes, and ${folder} has ${free}`);
}

/** Resolves with the number of bytes. */
async function receive(
  backup: BaseBackup,
  { folder, onProgress }: CopyOptions,
  places: ReadonlyMap<string, string>,
  total: bigint,
): Promise<bigint> {
  const manifest: Buffer[] = [];
  let archive: TarUnpacker | undefined;
  let inManifest = false;
  let bytes = 0n;
  const finish = async (): Promise<void> => {
    await archive?.end();
    archive = undefined;
  };
  try {
    for await (const event of backup) {
      switch (event.kind) {
        case "archive": {
          await finish();
          const target = event.location === undefined ? folder : places.get(event.location);
          if (target === undefined)
            throw backupError("backup.bad_archive", `nobody told of ${event.location}`);
          archive = new TarUnpacker(target, (location) => places.get(location));
          break;
        }
        case "manifest":
          await finish();
          inManifest = true;
          break;
        case "progress":
          onProgress(event.bytes, total);
          break;
        case "data":
          bytes += BigInt(event.data.length);
          if (inManifest) manifest.push(event.data);
          else await archive?.write(event.data);
          break;
        default:
          event satisfies never;
      }
    }
    await finish();
  } finally {
    await archive?.[Symbol.asyncDispose]();
  }
  await writeFile(path.join(folder, manifestFile), Buffer.concat(manifest), { mode: 0o600 });
  return bytes;
}

/** So many files wait for the disk at once. */
const syncsMax = 8;

/** Brings a folder with all that is in it to the disk; `owner`: whose it becomes. */
export async function settleFolder(
  folder: string,
  owner: { readonly uid: number; readonly gid: number } | undefined,
): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  let next = 0;
  const work = async (): Promise<void> => {
    for (let entry = entries[next++]; entry !== undefined; entry = entries[next++]) {
      const file = path.join(entry.parentPath, entry.name);
      if (owner !== undefined) await lchown(file, owner.uid, owner.gid);
      if (!entry.isSymbolicLink()) await sync(file);
    }
  };
  await Promise.all(Array.from({ length: syncsMax }, work));
  if (owner !== undefined) await lchown(folder, owner.uid, owner.gid);
  await sync(folder);
  await sync(path.dirname(folder));
}

async function sync(file: string): Promise<void> {
  await using handle = await open(file, "r");
  await handle.sync();
}
