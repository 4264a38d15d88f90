/**
 * Whether a server takes connections (PQping). No right password is needed: whoever answers with a request
 * for one, or with any error but "cannot connect now", is up (fe-connect.c, internal_ping).
 */
import { randomBytes } from "node:crypto";
import { ConnectError } from "../errors.ts";
import { Attempt } from "../handshake/attempt.ts";
import { Handshake } from "../handshake/handshake.ts";
import type { ConnectionStatus } from "../handshake/status.ts";
import type { WaitOptions } from "./conn.ts";
import type { Surroundings } from "./connect.ts";
import {
  type ParameterList,
  type SettingsOutcome,
  settingsFromParameters,
  settingsFromString,
} from "./settings.ts";

/** libpq's number of each answer (PGPing). */
export const pingResultNumber = { OK: 0, REJECT: 1, NO_RESPONSE: 2, NO_ATTEMPT: 3 } as const;
/**
 * OK: it takes connections · REJECT: it is up, but starting, stopping or recovering · NO_RESPONSE: it was not
 * reached · NO_ATTEMPT: nothing was tried, because the parameters are wrong.
 */
export type PingResult = keyof typeof pingResultNumber;

const cannotConnectNow = "57P03";

/** Statuses that only an authentication request leads to. */
const behindAuthentication: ReadonlySet<ConnectionStatus> = new Set([
  "AUTH_OK",
  "CHECK_TARGET",
  "CHECK_WRITABLE",
  "CHECK_STANDBY",
  "CONSUME",
]);

/**
 * Asks by a conninfo string (PQping). connect_timeout counts, for each address; `wait.timeoutMs` for the
 * whole. Rejects only with the reason of the signal.
 */
export function ping(
  conninfo: string,
  wait: WaitOptions = {},
  surroundings: Surroundings = {},
): Promise<PingResult> {
  return pingBy(settingsFromString(conninfo, surroundings.sources ?? {}), wait, surroundings);
}

/** The same by keywords and values (PQpingParams). */
export function pingParams(
  parameters: ParameterList,
  expandDbname = false,
  wait: WaitOptions = {},
  surroundings: Surroundings = {},
): Promise<PingResult> {
  const outcome = settingsFromParameters(parameters, expandDbname, surroundings.sources ?? {});
  return pingBy(outcome, wait, surroundings);
}

async function pingBy(
  { settings }: SettingsOutcome,
  wait: WaitOptions,
  { resolve }: Surroundings,
): Promise<PingResult> {
  if (settings === undefined) return "NO_ATTEMPT";
  wait.signal?.throwIfAborted();
  const { options } = settings;
  const machine = new Handshake(options, { random: randomBytes });
  const attempt = new Attempt(machine, options, { ...wait, resolve, kept: true });
  const end = await attempt.run();
  attempt.destroy();
  if (end.kind !== "failed") return "OK";
  wait.signal?.throwIfAborted();
  return end.error instanceof ConnectError ? judge(end.error, machine.passwordNeeded) : "NO_ATTEMPT";
}

/** What came of the place that was tried last. */
function judge(error: ConnectError, passwordNeeded: boolean): PingResult {
  const last = error.attempts.at(-1);
  if (last === undefined || last.phase === "NEEDED") return "NO_RESPONSE";
  // A request that we could not meet, or did not like, is an answer as well.
  const asked = passwordNeeded || last.code === "client.login_failed" || behindAuthentication.has(last.phase);
  if (asked) return "OK";
  if (last.serverError === undefined) return "NO_RESPONSE";
  return last.serverError.code === cannotConnectNow ? "REJECT" : "OK";
}
