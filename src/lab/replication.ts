/**
 * What of replication needs SQL: waiting until a standby has caught up, and a base backup of a server that
 * runs, made by PostgreSQL's low-level functions because the embedded package has no pg_basebackup.
 */
import { constants } from "node:fs";
import { copyFile, lstat, mkdir, readdir, rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Account } from "./account.ts";
import { dropOwn, writeOwned } from "./data-folder.ts";
import { labError } from "./errors.ts";
import type { LabNode } from "./node.ts";
import { run } from "./processes.ts";

const pollMs = 10;
const controlFile = path.join("global", "pg_control");

/**
 * Waits until `standby` streams and has replayed all that was committed on `primary` before the call. Rejects
 * with `lab.timeout`.
 */
export async function untilReplayed(primary: LabNode, standby: LabNode, timeoutMs = 30_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  const [[position] = []] = (await primary.query("SELECT pg_current_wal_flush_lsn()")).rows;
  await using client = await standby.connect();
  const question = `SELECT pg_last_wal_replay_lsn() >= '${position}'
    AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')`;
  while ((await client.query(question)).rows[0]?.[0] !== "t") {
    if (performance.now() > deadline) {
      throw labError("lab.timeout", `${standby.name} did not replay ${position} in ${timeoutMs} ms`, {
        detail: (await standby.log()).slice(-2000),
      });
    }
    await sleep(pollMs);
  }
}

/**
 * Replaces `target` by a copy of the running `source` that starts as a standby (manual, 25.3.3 "Making a Base
 * Backup Using the Low Level API"). The write-ahead log is not copied: the standby streams it.
 */
export async function baseBackup(
  source: LabNode,
  target: string,
  account: Account | undefined,
): Promise<void> {
  await using client = await source.connect();
  await client.query("SELECT pg_backup_start('lab', fast => true)");
  await rm(target, { recursive: true, force: true });
  await copyRunning(source.dataFolder, target, "");
  await copyFile(path.join(source.dataFolder, controlFile), path.join(target, controlFile));
  const { rows } = await client.query("SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)");
  await dropOwn(target);
  if (account !== undefined) await run("chown", ["-R", `${account.uid}:${account.gid}`, target]);
  await writeOwned(path.join(target, "backup_label"), rows[0]?.[0] ?? "", account);
}

/** Copies while files come and go: what vanishes is of no interest to a backup. */
async function copyRunning(source: string, target: string, inside: string): Promise<void> {
  await mkdir(path.join(target, inside), { recursive: true, mode: 0o700 });
  for (const entry of await readdir(path.join(source, inside), { withFileTypes: true })) {
    const name = path.join(inside, entry.name);
    if (entry.isDirectory()) {
      await copyRunning(source, target, name);
    } else if (entry.isSymbolicLink()) {
      throw labError("lab.start_failed", `${name} is a tablespace: a base backup of it is not possible`);
    } else if (inside !== "pg_wal" && name !== controlFile) {
      await copyUnlessGone(path.join(source, name), path.join(target, name));
    }
  }
}

async function copyUnlessGone(source: string, target: string): Promise<void> {
  try {
    if ((await lstat(source)).isFile()) await copyFile(source, target, constants.COPYFILE_FICLONE);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
