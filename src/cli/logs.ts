/** Where the log of one process goes: standard error, the log file and the system's log, as the settings in force want it. */
import type { Logger } from "pino";
import { Failure } from "../base/errors.ts";
import type { Settings } from "../config/schema.ts";
import { LogFile } from "./log-file.ts";
import { createLogger } from "./logger.ts";
import { Syslog } from "./syslog.ts";

export class Logs {
  readonly logger: Logger;
  readonly #file = new LogFile();
  readonly #syslog = new Syslog();
  #settings: Settings;

  /** Nothing is opened yet. `worker`: which one of several processes it is, from 1. */
  constructor(settings: Settings, options: { readonly quiet: boolean; readonly worker?: number }) {
    this.#settings = settings;
    this.logger = createLogger(settings, { ...options, file: this.#file, syslog: this.#syslog });
  }

  /** Throws OperationError `cli.logfile` or `cli.syslog` for what cannot be opened. */
  open(): void {
    this.#file.open(this.#settings.logfile);
    this.#syslog.open(this.#settings);
  }

  /** The file may have been moved away. */
  reopen(): void {
    this.#openFile(this.#settings.logfile);
  }

  /** Other settings are in force. */
  follow(settings: Settings): void {
    if (settings.logfile !== this.#settings.logfile) this.#openFile(settings.logfile);
    this.#openSyslog(settings);
    this.logger.level = settings.log_level;
    this.#settings = settings;
  }

  #openFile(path: string): void {
    try {
      this.#file.open(path);
    } catch (error) {
      this.logger.error({ reason: reasonOf(error) }, "the log goes on in the old file");
    }
  }

  #openSyslog(settings: Settings): void {
    try {
      this.#syslog.open(settings);
    } catch (error) {
      this.logger.error({ reason: reasonOf(error) }, "syslog stays as it was");
    }
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Failure ? error.message : String(error);
}
