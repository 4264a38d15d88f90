/**
 * What signals do to a running pooler. PostgreSQL's map (postmaster.c), and PgBouncer's (main.c) where its command
 * line was used:
 *
 *     TERM  smart: no new clients, wait until the present ones have left   SHUTDOWN WAIT_FOR_CLIENTS
 *     INT   fast: tell every client that the pooler is going, then close   SHUTDOWN WAIT_FOR_SERVERS
 *     QUIT  immediate: close everything as it is                           SHUTDOWN
 *     HUP   reload the configuration
 *     USR1  PAUSE and USR2 RESUME of the console, as in PgBouncer
 *
 * A shutdown may only become more urgent: in PostgreSQL's map, a further INT during a fast one makes it immediate; in
 * PgBouncer's, any further TERM or INT does.
 */
import type { ShutdownMode, ShutdownWait } from "../server/app.ts";

/** What a signal may be asked to do; without `reload` a HUP is a fast shutdown, as for a program on a terminal. */
export interface SignalActions {
  readonly shutdown: (mode: ShutdownMode) => Promise<void>;
  readonly reload?: () => Promise<void>;
  readonly pause?: () => void;
  readonly resume?: () => void;
  /** Resolves when a shutdown that no signal asked for is done. */
  readonly ended?: Promise<void>;
}

/** What a signal may be asked to do by PgBouncer's map; `shutdown` returns at once. */
export interface PgbouncerSignalActions {
  readonly shutdown: (signal: NodeJS.Signals, wait: ShutdownWait) => void;
  readonly reload: () => Promise<void>;
  readonly pause: () => void;
  readonly resume: () => void;
  /** Resolves when a shutdown is done, whoever asked for it. */
  readonly ended: Promise<void>;
}

const urgency: Readonly<Record<ShutdownMode, number>> = { smart: 0, fast: 1, immediate: 2 };

/**
 * npm hands a Ctrl-C on to a process that has already had it from the terminal; a second one by hand takes
 * longer than this.
 */
const echoMs = 400;

/** Obeys signals by PgBouncer's map until a shutdown is done. Resolves when it has finished. */
export async function servePgbouncerUntilSignalled(actions: PgbouncerSignalActions): Promise<void> {
  let stopping: NodeJS.Signals | undefined;
  let lastAtMs = Number.NEGATIVE_INFINITY;
  const stop = (signal: NodeJS.Signals, wait: ShutdownWait): void => {
    const nowMs = performance.now();
    const echo = signal === stopping && nowMs - lastAtMs < echoMs;
    lastAtMs = nowMs;
    if (echo) return;
    const again = stopping !== undefined;
    stopping ??= signal;
    actions.shutdown(signal, again ? "none" : wait);
  };
  const handlers: Partial<Record<NodeJS.Signals, () => void>> = {
    SIGTERM: () => stop("SIGTERM", "clients"),
    SIGINT: () => stop("SIGINT", "servers"),
    SIGQUIT: () => actions.shutdown("SIGQUIT", "none"),
    SIGHUP: () => void actions.reload(),
    SIGUSR1: () => actions.pause(),
    SIGUSR2: () => actions.resume(),
  };
  for (const [signal, handler] of Object.entries(handlers)) process.on(signal, handler);
  await actions.ended;
  for (const [signal, handler] of Object.entries(handlers)) process.off(signal, handler);
}

/**
 * Obeys signals by PostgreSQL's map until a shutdown is done. Resolves when the last shutdown has finished; rejects if one
 * fails.
 */
export function serveUntilSignalled(actions: SignalActions): Promise<void> {
  return new Promise((resolve, reject) => {
    let shutdown: ShutdownMode | undefined;
    let lastAtMs = Number.NEGATIVE_INFINITY;

    const stop = (wanted: ShutdownMode): void => {
      const nowMs = performance.now();
      const echo = nowMs - lastAtMs < echoMs;
      if (shutdown !== undefined) {
        const again = wanted === "fast" && shutdown === "fast" && !echo;
        const mode = again ? "immediate" : wanted;
        if (urgency[mode] <= urgency[shutdown]) return;
        wanted = mode;
      }
      lastAtMs = nowMs;
      shutdown = wanted;
      actions.shutdown(wanted).then(finish, (error: unknown) => {
        detach();
        reject(error instanceof Error ? error : new Error(String(error)));
      });
    };

    const handlers: Partial<Record<NodeJS.Signals, () => void>> = {
      SIGTERM: () => stop("smart"),
      SIGINT: () => stop("fast"),
      SIGQUIT: () => stop("immediate"),
      SIGHUP: () => {
        if (actions.reload === undefined) stop("fast");
        else void actions.reload();
      },
      // Without a handler these would end the process.
      SIGUSR1: () => actions.pause?.(),
      SIGUSR2: () => actions.resume?.(),
    };
    const detach = (): void => {
      for (const [signal, handler] of Object.entries(handlers)) process.off(signal, handler);
    };
    const finish = (): void => {
      detach();
      resolve();
    };
    for (const [signal, handler] of Object.entries(handlers)) process.on(signal, handler);
    void actions.ended?.then(() => {
      // One that was asked for by a signal finishes by itself.
      if (shutdown === undefined) finish();
    });
  });
}
