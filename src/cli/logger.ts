/**
 * Where log lines go: standard error, as JSON for programs or as text for people. Standard output is left to
 * the results of commands.
 */
import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from "pino";
import type { Settings } from "../config/schema.ts";

/** A logger as `log_level` and `log_format` want it. */
export function createLogger(settings: Pick<Settings, "log_level" | "log_format">): Logger {
  const stream =
    settings.log_format === "json" ? destination({ dest: 2, sync: true }) : textStream(process.stderr);
  return pino(
    { level: settings.log_level, base: { pid: process.pid }, timestamp: stdTimeFunctions.isoTime },
    stream,
  );
}

/** PgBouncer's words for pino's levels. */
const levelNames: Readonly<Record<number, string>> = {
  10: "NOISE",
  20: "DEBUG",
  30: "LOG",
  40: "WARNING",
  50: "ERROR",
  60: "FATAL",
};

/** Turns pino's JSON lines into `2026-01-31 12:00:00.000 UTC [pid] LOG message (key=value, …)`. */
function textStream(output: NodeJS.WritableStream): DestinationStream {
  return {
    write(line: string): void {
      output.write(formatLine(line));
    },
  };
}

/** One line of text for one line of pino's JSON. */
export function formatLine(line: string): string {
  const { level, time, pid, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const when = String(time).replace("T", " ").replace("Z", " UTC");
  const word = levelNames[Number(level)] ?? "LOG";
  const facts = Object.entries(rest).map(([key, value]) => `${key}=${textOf(value)}`);
  if (isError(err)) facts.push(err.message);
  const suffix = facts.length === 0 ? "" : ` (${facts.join(", ")})`;
  const stack = isError(err) && Number(level) >= 50 ? `\n${err.stack ?? ""}` : "";
  return `${when} [${String(pid)}] ${word} ${textOf(msg ?? "")}${suffix}${stack}\n`;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function isError(value: unknown): value is { message: string; stack?: string } {
  return typeof value === "object" && value !== null && "message" in value;
}
