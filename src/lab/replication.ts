/**
 * What of replication needs a connection: waiting until a standby has caught up, and a base backup of a server
 * that runs, taken by our own client because the embedded package has no pg_basebackup.
 */
import { mkdir, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { TarUnpacker } from "../backup/tar.ts";
import { connectOptions } from "../client/conninfo/options.ts";
import { connectReplication } from "../client/replication/connection.ts";
import type { Account } from "./account.ts";
import { dropOwn, superuser } from "./data-folder.ts";
import { labError } from "./errors.ts";
import type { LabNode } from "./node.ts";
import { run } from "./processes.ts";

const pollMs = 10;

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
 * Replaces `target` by a base backup of the running `source` that starts as a standby, over its Unix socket,
 * where pg_hba.conf always allows it. The write-ahead log is not in it: the standby streams it. Rejects with
 * `lab.start_failed` or as the client does; what is in `target` then does not start.
 */
export async function baseBackup(
  source: LabNode,
  target: string,
  account: Account | undefined,
): Promise<void> {
  const hosts = [{ host: source.socketFolder, port: source.port }];
  const options = connectOptions({ hosts, user: superuser, sslmode: "disable" });
  await using connection = await connectReplication(options, { mode: "physical" });
  await using backup = await connection.baseBackup({ label: "lab", checkpoint: "fast", wait: false });
  if (backup.tablespaces.length > 1) {
    throw labError("lab.start_failed", `${source.name} has tablespaces: its copy would use the same folders`);
  }
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { mode: 0o700 });
  await using archive = new TarUnpacker(target);
  for await (const event of backup) {
    if (event.kind === "data") await archive.write(event.data);
  }
  await archive.end();
  await dropOwn(target);
  if (account !== undefined) await run("chown", ["-R", `${account.uid}:${account.gid}`, target]);
}
