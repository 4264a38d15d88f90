/**
 * PROMOTE of the console. Where there is a primary, in this order: nobody gets a server of it any more, those who have
 * one finish, the standby has replayed all of it, the standby is promoted, and its clients go on there. What writes past
 * the pooler is not stopped. Nothing is changed if any of that cannot be done in half of `failover_timeout`: the clients who wait
 * meanwhile have the other half left.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { consoleError } from "../admin/command.ts";
import { Failure } from "../base/errors.ts";
import type { Nodes } from "./nodes.ts";

export interface Switchover {
  readonly nodes: Nodes;
  /** How long it may take until the standby is promoted. */
  readonly limitMs: number;
  /** Servers, open or being opened, of pools that follow the primary. */
  serverCount(): number;
  until(condition: () => boolean, signal: AbortSignal): Promise<void>;
}

const pollMs = 20;
/** PostgreSQL's own default for pg_promote(). */
const promoteSeconds = 60;

export async function promoteNode(switchover: Switchover, name: string, signal: AbortSignal): Promise<void> {
  const { nodes } = switchover;
  const { snapshot } = nodes;
  if (snapshot === undefined) throw consoleError("nodes are not watched: none has the role auto");
  if (nodes.switching) throw consoleError("the primary is being changed already");
  const target = snapshot.nodes.find((node) => node.name === name);
  if (target === undefined) throw consoleError(`there is no node "${name}"`);
  if (target.role !== "standby" || target.state !== "up") {
    const because = target.reason === "" ? "" : `: ${target.reason}`;
    throw consoleError(
      `node "${name}" is a ${target.role} and ${target.state}, not a standby that is up${because}`,
    );
  }
  nodes.beginSwitch();
  try {
    const limit = AbortSignal.timeout(switchover.limitMs);
    if (snapshot.primary !== undefined) await drain(switchover, snapshot.primary.name, name, limit, signal);
    await promote(nodes, name);
    nodes.suspect();
    await switchover.until(() => nodes.snapshot?.primary?.name === name, signal);
  } finally {
    nodes.endSwitch();
  }
}

/** Resolves when nothing is written to the old primary through here, and the new one has all of it. */
async function drain(
  switchover: Switchover,
  old: string,
  name: string,
  limit: AbortSignal,
  signal: AbortSignal,
): Promise<void> {
  const { nodes, limitMs } = switchover;
  const either = AbortSignal.any([limit, signal]);
  try {
    await switchover.until(() => switchover.serverCount() === 0, either);
  } catch (error) {
    if (!limit.aborted) throw error;
    const count = switchover.serverCount();
    throw consoleError(
      `${count} clients still had servers of node "${old}" after ${limitMs / 1000} s: nothing was changed`,
    );
  }
  const end = await nodes.query(old, "select pg_catalog.pg_current_wal_lsn()", limitMs);
  const question = `select pg_catalog.pg_last_wal_replay_lsn() >= '${end}'`;
  while ((await nodes.query(name, question, limitMs)) !== "t") {
    signal.throwIfAborted();
    if (limit.aborted) {
      throw consoleError(`node "${name}" did not catch up in ${limitMs / 1000} s: nothing was changed`);
    }
    await sleep(pollMs);
  }
}

async function promote(nodes: Nodes, name: string): Promise<void> {
  const sql = `select pg_catalog.pg_promote(true, ${promoteSeconds})`;
  let promoted: string | null | undefined;
  try {
    promoted = await nodes.query(name, sql, (promoteSeconds + 1) * 1000);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const grant = error instanceof Failure && error.sqlstate === "42501";
    const hint = grant ? ": grant health_check_user EXECUTE on pg_promote(boolean, integer)" : "";
    throw consoleError(`node "${name}" was not promoted: ${text}${hint}`);
  }
  if (promoted !== "t") throw consoleError(`node "${name}" was not promoted in ${promoteSeconds} s`);
}
