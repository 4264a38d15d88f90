/**
 * Where log lines go: standard error and, if there is one, the log file, and the system's log; as JSON for programs, as text for people,
 * or as PgBouncer writes them. Standard output is left to the results of commands. Every line is written at once.
 */
import { type Logger, pino, stdTimeFunctions } from "pino";
import type { Settings } from "../config/schema.ts";
import { LogFile } from "./log-file.ts";
import { type LogLine, linePrefix, PgbouncerLines } from "./pgbouncer-lines.ts";
import { Syslog } from "./syslog.ts";

export interface LogOptions {
  /** Nothing goes to standard error. */
  readonly quiet?: boolean;
  /** Without one, everything goes to standard error alone. */
  readonly file?: LogFile;
  /** Without one, nothing goes to the system's log. */
  readonly syslog?: Syslog;
  /** Which one of several processes it is, from 1; every line says so. */
  readonly worker?: number;
}

/** A logger as `log_level` and `log_format` want it. */
export function createLogger(
  settings: Pick<Settings, "log_level" | "log_format">,
  { quiet = false, file = new LogFile(), syslog = new Syslog(), worker }: LogOptions = {},
): Logger {
  const format = formatterOf(settings.log_format);
  // Whoever read it may leave; the pooler stays.
  process.stderr.on("error", ignore);
  const write = (json: string): void => {
    for (const { level, prefix, text } of format(json)) {
      const line = `${prefix}${text}`;
      if (!quiet) process.stderr.write(line);
      file.write(line);
      syslog.write(level, text);
    }
  };
  return pino(
    {
      level: settings.log_level,
      base: { pid: process.pid, ...(worker === undefined ? {} : { worker }) },
      timestamp: stdTimeFunctions.isoTime,
    },
    { write },
  );
}

const ignore = (): void => undefined;

/** From one line of pino's JSON to what is written. */
function formatterOf(format: Settings["log_format"]): (json: string) => readonly LogLine[] {
  switch (format) {
    case "json":
      return (json) => [{ level: levelOf(json), prefix: "", text: json }];
    case "text":
      return (json) => [formatLine(json)];
    case "pgbouncer": {
      const lines = new PgbouncerLines();
      return (json) => lines.format(json);
    }
  }
}

/** Of one line of pino's JSON, in which it stands first. */
function levelOf(json: string): number {
  return Number(/^\{"level":(\d+)/.exec(json)?.[1] ?? 30);
}

/** One line of text, `2026-01-31 12:00:00.000 UTC [pid] LOG message (key=value, …)`, for one line of pino's JSON. */
export function formatLine(line: string): LogLine {
  const { level, time, pid, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const facts = Object.entries(rest).map(([key, value]) => `${key}=${textOf(value)}`);
  if (isError(err)) facts.push(err.message);
  const suffix = facts.length === 0 ? "" : ` (${facts.join(", ")})`;
  const stack = isError(err) && Number(level) >= 50 ? `\n${err.stack ?? ""}` : "";
  return {
    level: Number(level),
    prefix: linePrefix(time, pid, Number(level)),
    text: `${textOf(msg ?? "")}${suffix}${stack}\n`,
  };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function isError(value: unknown): value is { message: string; stack?: string } {
  return typeof value === "object" && value !== null && "message" in value;
}
