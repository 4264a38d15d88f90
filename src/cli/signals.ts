/**
 * What signals do to a running pooler (the map of PostgreSQL's postmaster):
 *
 *     TERM  smart: no new clients, wait until the present ones have left
 *     INT   fast: tell every client that the pooler is going, then close
 *     QUIT  immediate: close everything as it is
 *     HUP   reload the configuration
 *     USR1  PAUSE and USR2 RESUME of the console, as in PgBouncer
 *
 * A shutdown may only become more urgent: a further INT during a fast one makes it immediate.
 */
import type { ShutdownMode } from "../server/app.ts";

/** What a signal may be asked to do; without `reload` a HUP is a fast shutdown, as for a program on a terminal. */
export interface SignalActions {
  readonly shutdown: (mode: ShutdownMode) => Promise<void>;
  readonly reload?: () => Promise<void>;
  readonly pause?: () => void;
  readonly resume?: () => void;
  /** Resolves when a shutdown that no signal asked for is done. */
  readonly ended?: Promise<void>;
}

const urgency: Readonly<Record<ShutdownMode, number>> = { smart: 0, fast: 1, immediate: 2 };

/**
 * npm hands a Ctrl-C on to a process that has already had it from the terminal; a second one by hand takes
 * longer than this.
 */
const echoMs = 400;

/**
 * Obeys signals until a shutdown is done. Resolves when the last shutdown has finished; rejects if one
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
