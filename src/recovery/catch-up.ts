/** Waits until a standby that has been started has caught up with what it follows. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ConnectOptions } from "../client/conninfo/options.ts";
import { SimpleClient } from "../client/simple.ts";
import { recoveryError } from "./errors.ts";

export interface CatchUp {
  readonly node: string;
  readonly standby: ConnectOptions;
  readonly source: ConnectOptions;
  /** Of the cluster that was copied. */
  readonly systemId: string;
  /** Without any progress. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const pollMs = 100;
const attemptMsMax = 5_000;
/** On a standby, which others may follow, what it has replayed; positions as numbers of bytes. */
const positionQuery = `SELECT pg_catalog.pg_is_in_recovery(), (CASE WHEN pg_catalog.pg_is_in_recovery()
  THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_flush_lsn() END) - '0/0'::pg_catalog.pg_lsn,
  (SELECT system_identifier FROM pg_catalog.pg_control_system())`;

/** Rejects with `recovery.not_caught_up`, or as connecting to the source does. */
export async function untilCaughtUp(options: CatchUp): Promise<void> {
  const { node, systemId, timeoutMs, signal } = options;
  let deadline = performance.now() + timeoutMs;
  let goal: bigint | undefined;
  let last = -1n;
  let trouble = "";
  for (;;) {
    try {
      const found = await ask(options.standby, signal);
      if (found.systemId !== systemId) throw foreign(node, found.systemId, systemId);
      if (!found.inRecovery) throw noStandby(node);
      trouble = `it has replayed up to ${found.position} of ${goal ?? "?"} bytes`;
      // What the source has written until the standby answered cannot have come with the copy alone.
      goal ??= (await ask(options.source, signal)).position;
      if (found.position >= goal) return;
      if (found.position > last) deadline = performance.now() + timeoutMs;
      last = found.position;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Decided) throw error.failure;
      trouble = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() > deadline) {
      throw recoveryError(
        "recovery.not_caught_up",
        `node "${node}" made no progress for ${timeoutMs / 1000} s (recovery_timeout)`,
        {
          detail: trouble,
          hint: "Its own log says why. When it runs and follows, the same command with --no-copy goes on from there.",
        },
      );
    }
    await sleep(pollMs, undefined, { signal });
  }
}

async function ask(
  options: ConnectOptions,
  signal: AbortSignal,
): Promise<{ inRecovery: boolean; position: bigint; systemId: string }> {
  const connectTimeoutMs = Math.min(options.connectTimeoutMs ?? attemptMsMax, attemptMsMax);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(connectTimeoutMs)]);
  await using client = await SimpleClient.connect({ ...options, connectTimeoutMs }, { signal: limit });
  // A server that is frozen answers nothing.
  const { transport } = client.connection;
  limit.addEventListener("abort", () => transport.destroy(), { once: true });
  const [row = []] = (await client.query(positionQuery)).rows;
  return { inRecovery: row[0] === "t", position: BigInt(row[1] ?? 0), systemId: row[2] ?? "" };
}

/** A verdict that waiting does not change. */
class Decided extends Error {
  readonly failure: Error;

  constructor(failure: Error) {
    super(failure.message);
    this.failure = failure;
  }
}

function foreign(node: string, found: string, systemId: string): Decided {
  return new Decided(
    recoveryError(
      "recovery.not_caught_up",
      `what answers for node "${node}" is another database cluster: ${found}, not ${systemId}`,
      { hint: "Either its host and port lead elsewhere, or recovery_start_command starts something else." },
    ),
  );
}

function noStandby(node: string): Decided {
  return new Decided(
    recoveryError("recovery.not_caught_up", `what answers for node "${node}" is no standby`, {
      hint: "Either its host and port lead elsewhere, or recovery_start_command starts something else.",
    }),
  );
}
