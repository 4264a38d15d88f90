/**
 * Lines to the system's log (`syslog`, `syslog_facility`, `syslog_ident`). Node has no Unix datagram sockets, which
 * /dev/log is, so that util-linux's `logger` stands in between: a process of its own that reads lines from a pipe.
 *
 * What it has not taken yet is bounded; beyond that lines are lost, and counted. If it ends, the next line starts
 * another one, but not more often than once a second.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import type { Writable } from "node:stream";
import { OperationError } from "../base/errors.ts";
import type { Settings } from "../config/schema.ts";

export type SyslogSettings = Pick<Settings, "syslog" | "syslog_facility" | "syslog_ident">;

/** RFC 5424, table 1. */
const facilities = {
  user: 1,
  daemon: 3,
  auth: 4,
  authpriv: 10,
  local0: 16,
  local1: 17,
  local2: 18,
  local3: 19,
  local4: 20,
  local5: 21,
  local6: 22,
  local7: 23,
} as const satisfies Record<Settings["syslog_facility"], number>;

/** PgBouncer's severities (libusual, logging.c) for pino's levels: critical, error, warning, informational, debug. */
const severities: readonly (readonly [level: number, severity: number])[] = [
  [60, 2],
  [50, 3],
  [40, 4],
  [30, 6],
];
const debugging = 7;

/** What `logger` may be behind by. */
const waitingBytesMax = 1024 * 1024;
/** Lines are cut there; `logger` would cut at 1 KiB. */
const lineBytesMax = 8192;
const restartMs = 1000;

export class Syslog {
  #settings: SyslogSettings = { syslog: false, syslog_facility: "daemon", syslog_ident: "" };
  #child: ChildProcess | undefined;
  #startedAtMs = Number.NEGATIVE_INFINITY;
  #lost = 0;

  /**
   * Goes on with these settings. Throws OperationError `cli.syslog` if there is no `logger` that can do it, and then
   * goes on with the settings that it had.
   */
  open(settings: SyslogSettings): void {
    const { syslog, syslog_facility: facility, syslog_ident: ident } = settings;
    const before = this.#settings;
    if (syslog === before.syslog && facility === before.syslog_facility && ident === before.syslog_ident)
      return;
    if (syslog) findLogger();
    this.#settings = settings;
    this.#child?.stdin?.end();
    this.#child = undefined;
    this.#startedAtMs = Number.NEGATIVE_INFINITY;
  }

  /** One line, or several, without time and level: they are the system's matter. */
  write(level: number, text: string): void {
    if (!this.#settings.syslog) return;
    const pipe = this.#pipe();
    if (pipe === undefined || pipe.writableLength > waitingBytesMax) {
      this.#lost++;
      return;
    }
    if (this.#lost > 0) {
      pipe.write(this.#encode(40, `${this.#lost} lines were lost on the way to syslog`));
      this.#lost = 0;
    }
    pipe.write(this.#encode(level, text));
  }

  #encode(level: number, text: string): string {
    const [, severity = debugging] = severities.find(([from]) => level >= from) ?? [];
    const priority = facilities[this.#settings.syslog_facility] * 8 + severity;
    const lines = text.split("\n").filter((line) => line !== "");
    return lines.map((line) => `<${priority}>${line}\n`).join("");
  }

  #pipe(): Writable | undefined {
    if (this.#child !== undefined) return this.#child.stdin ?? undefined;
    const nowMs = performance.now();
    if (nowMs - this.#startedAtMs < restartMs) return undefined;
    this.#startedAtMs = nowMs;
    const child = spawn(
      "logger",
      [
        ...["--prio-prefix", "--size", String(lineBytesMax), "--id=" + String(process.pid)],
        ...["--tag", this.#settings.syslog_ident],
      ],
      // In a session of its own: Ctrl-C is for us, and our last lines come after it.
      { stdio: ["pipe", "ignore", "ignore"], detached: true },
    );
    const forget = (): void => {
      if (this.#child === child) this.#child = undefined;
    };
    child.once("error", forget);
    child.once("exit", forget);
    child.stdin.on("error", forget);
    // It ends with the pipe, and holds nobody up. Bun's pipe holds nobody up anyway.
    child.unref();
    (child.stdin as unknown as { unref?(): void }).unref?.();
    this.#child = child;
    return child.stdin;
  }
}

function findLogger(): void {
  const { stdout, error } = spawnSync("logger", ["--version"], { encoding: "utf8" });
  if (error === undefined && stdout.includes("util-linux")) return;
  throw new OperationError("syslog needs the program logger of util-linux, and there is none", {
    code: "cli.syslog",
    sqlstate: "F0000",
    source: "internal",
    hint: "Install util-linux (on Debian bsdutils), or use logfile, or let systemd keep what is written to standard error.",
  });
}
