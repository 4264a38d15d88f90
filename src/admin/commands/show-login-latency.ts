/**
 * SHOW LOGIN_LATENCY: how long clients have waited from the accept until their startup packet was read, and until they were
 * logged in; a line for each bucket of the histograms.
 */
import { type LatencyHistogram, latencyBoundsUs } from "../../session/login-latency.ts";
import { type Command, showCommand } from "../command.ts";
import { columnsOf, type Row } from "../result.ts";

const columns = columnsOf(["text", "stage"], ["int8", "up_to_us", "clients", "total_us"]);

export const showLoginLatency: Command<undefined> = showCommand("LOGIN_LATENCY", columns, (context) => {
  const { startup, login } = context.loginLatency();
  return [...rowsOf("startup", startup), ...rowsOf("login", login)];
});

function rowsOf(stage: string, { counts, sumsUs }: LatencyHistogram): Row[] {
  return counts.map((count, index) => [stage, latencyBoundsUs[index] ?? null, count, sumsUs[index] ?? 0]);
}
