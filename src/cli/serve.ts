/**
 * A pooler that runs until a signal ends it: what `pgsluice start` and `pgsluice FILE` have in common.
 *
 * In order: the configuration and all files that it names are read; the user is changed, the pid file written and
 * the log file opened; then it listens. So whatever is opened or written belongs to the user that it runs as.
 */
import { fileURLToPath } from "node:url";
import type { Logger } from "pino";
import { Failure } from "../base/errors.ts";
import { type ConfigChanges, compareConfigs, withoutRestartChanges } from "../config/changes.ts";
import type { LoadedConfig } from "../config/file.ts";
import type { Config } from "../config/schema.ts";
import { exposedFiles, type SecretFile } from "../config/secrets.ts";
import { Pooler } from "../server/app.ts";
import { takeInheritedSockets } from "../server/inherited.ts";
import { workerCount } from "../server/workers/count.ts";
import { Workers } from "../server/workers/workers.ts";
import { adviseCollector } from "./collector.ts";
import { Logs } from "./logs.ts";
import { claimPidFile } from "./pid-file.ts";
import { explainListenError } from "./ports.ts";
import { becomeUser } from "./privileges.ts";
import { keepProcessTitle } from "./process-title.ts";
import { ServiceManager } from "./service-manager.ts";
import { servePgbouncerUntilSignalled, serveUntilSignalled } from "./signals.ts";

export interface ServeOptions {
  /** Reads and checks the configuration, at the start and at every reload. */
  readonly read: () => Promise<LoadedConfig>;
  /** Of this program. */
  readonly version: string;
  /** Whose map of signals is obeyed. */
  readonly signals: "postgres" | "pgbouncer";
  /** Nothing goes to standard error. */
  readonly quiet?: boolean;
  /** Clients can connect. */
  readonly onReady?: () => void;
}

/** A pooler of one process, or of several. */
type Running = Pooler | Workers;

/** Resolves when a signal has ended the pooler. Rejects if the start fails, or if it ends because it cannot go on. */
export async function serve(options: ServeOptions): Promise<void> {
  adviseCollector();
  const { read, version, signals, quiet = false, onReady } = options;
  const { config, notices, secretFiles } = await read();
  const logs = new Logs(config.pgsluice, { quiet });
  const { logger } = logs;
  const manager = new ServiceManager(process.env, logger);
  let stopped: Promise<void> = Promise.resolve();
  const parts = {
    logger,
    sockets: takeInheritedSockets(process.env, process.pid),
    beforeListening: () => {
      // From now on others can find us, by the pid file or the log: a signal must neither be lost nor kill.
      const obey = signals === "pgbouncer" ? obeyPgbouncerSignals : obeySignals;
      stopped = obey(starting, reloader, logger);
      becomeUser(config.pgsluice.user);
      claimPidFile(config.pgsluice.pidfile);
      logs.open();
    },
    onReload: () => reloader.reload(),
    onConfigured: (inForce: Config) => reloader.follow(inForce),
    onShutdown: () => manager.stopping(),
  };
  const count = workerCount(config.pgsluice);
  const start = async (): Promise<Running> =>
    count === 1
      ? Pooler.start(config, parts)
      : Workers.start(config, { ...parts, count, file: workerFile(), quiet });
  // Not at once: what is called meanwhile refers to it.
  const starting: Promise<Running> = Promise.resolve()
    .then(start)
    .catch((error: unknown) => {
      throw explainListenError(error, config.pgsluice);
    });
  const reloader = new Reloader(starting, config, read, logs, manager);
  const pooler = await starting;
  const endTitle = keepProcessTitle(pooler);
  logger.info({ program: `pgsluice ${version} (Node.js ${process.version})` }, "process up");
  warn(logger, config, notices);
  warnOfExposedSecrets(logger, secretFiles);
  onReady?.();
  manager.ready(`listening on ${pooler.address.host}:${pooler.address.port}`);
  await stopped;
  endTitle();
  await manager.done;
  if (pooler.failure !== undefined) throw pooler.failure;
}

/** What a worker runs: beside this file, from the sources or from the build. */
function workerFile(): string {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  return fileURLToPath(new URL(`./worker.${extension}`, import.meta.url));
}

/** Resolves when a shutdown is done. What is asked for while the pooler starts is done when it has started. */
function obeySignals(starting: Promise<Running>, reloader: Reloader): Promise<void> {
  const ask = (action: (pooler: Running) => void): void => {
    starting.then(action, ignore);
  };
  const stopped = serveUntilSignalled({
    shutdown: async (mode) => (await starting).shutdown(mode),
    // What went wrong is in the log.
    reload: () => reloader.reload().catch(ignore),
    pause: () => ask((pooler) => pooler.pauseServers()),
    resume: () => ask((pooler) => pooler.resumeServers()),
    ended: starting.then((pooler) => pooler.ended, ignore),
  });
  // Of a failed start its own error tells.
  stopped.catch(ignore);
  return stopped;
}

/** As {@link obeySignals}, as PgBouncer does. */
function obeyPgbouncerSignals(starting: Promise<Running>, reloader: Reloader, logger: Logger): Promise<void> {
  const ask = (action: (pooler: Running) => void): void => {
    starting.then(action, ignore);
  };
  return servePgbouncerUntilSignalled({
    shutdown: (signal, wait) => {
      logger.info({ signal, wait }, "got signal, shutting down");
      ask((pooler) => pooler.beginShutdown(wait));
    },
    reload: () => reloader.reload().catch(ignore),
    pause: () => ask((pooler) => pooler.pauseServers()),
    resume: () => ask((pooler) => pooler.resumeServers()),
    ended: starting.then((pooler) => pooler.ended, ignore),
  });
}

const ignore = (): void => undefined;

function warn(logger: Logger, config: Config, notices: readonly string[]): void {
  if (process.getuid?.() === 0)
    logger.info({}, "running as root; an ordinary user is enough: see the setting user");
  if (notices.length > 0) logger.warn({ settings: notices }, "these settings have no effect here");
  if (nobodyCanLogIn(config)) logger.warn({}, "no user has a password: give auth_file or [users.NAME]");
}

function warnOfExposedSecrets(logger: Logger, files: readonly SecretFile[]): void {
  const exposed = exposedFiles(files);
  if (exposed.length > 0) logger.warn({ files: exposed }, "secrets are open to every user of this machine");
}

function nobodyCanLogIn(config: Config): boolean {
  const { auth_type: method, auth_file: file, auth_user: finder } = config.pgsluice;
  // These methods may do without secrets, or say so themselves.
  if (["trust", "reject", "cert", "hba"].includes(method) || file !== "" || finder !== "") return false;
  return Object.values(config.users).every((user) => user.password === undefined);
}

class Reloader {
  readonly #pooler: Promise<Running>;
  #last: Promise<void> = Promise.resolve();
  #config: Config;
  readonly #read: () => Promise<LoadedConfig>;
  readonly #logger: Logger;
  readonly #logs: Logs;
  readonly #manager: ServiceManager;

  constructor(
    pooler: Promise<Running>,
    config: Config,
    read: () => Promise<LoadedConfig>,
    logs: Logs,
    manager: ServiceManager,
  ) {
    this.#pooler = pooler;
    this.#config = config;
    this.#read = read;
    this.#logger = logs.logger;
    this.#logs = logs;
    this.#manager = manager;
  }

  /**
   * Puts the configuration in force as it is in the file now, or keeps the old one, logs why, and rejects. One after
   * the other.
   */
  reload(): Promise<void> {
    const reloaded = this.#last.then(() => this.#manager.reloading(() => this.#reload()));
    this.#last = reloaded.catch(ignore);
    return reloaded;
  }

  async #reload(): Promise<void> {
    const pooler = await this.#pooler;
    // Even if nothing else comes of it: the file may have been moved away.
    this.#logs.reopen();
    if (pooler instanceof Workers) pooler.reopenLogs();
    try {
      const { config: read, notices, secretFiles } = await this.#read();
      const before = this.#config;
      await pooler.reload(withoutRestartChanges(before, read));
      this.#logChanges(compareConfigs(before, read), notices);
      warnOfExposedSecrets(this.#logger, secretFiles);
    } catch (error) {
      // What is wrong with a file needs no stack trace; a mistake of ours does.
      const fields = error instanceof Failure ? { reason: error.message, hint: error.hint } : { err: error };
      this.#logger.error(fields, "reload failed; the old configuration stays in force");
      throw error;
    }
  }

  /** Takes note of what is in force now, after a reload or a SET of the console, and logs where and what it says. */
  follow(config: Config): void {
    this.#logs.follow(config.pgsluice);
    this.#config = config;
  }

  #logChanges({ changed, needRestart }: ConfigChanges, notices: readonly string[]): void {
    this.#logger.info({ changed }, "configuration reloaded");
    if (needRestart.length > 0)
      this.#logger.warn({ settings: needRestart }, "these settings take effect after a restart");
    if (notices.length > 0) this.#logger.warn({ settings: notices }, "these settings have no effect here");
  }
}
