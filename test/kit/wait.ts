/** Waiting for conditions: a test never sleeps for a fixed time and hopes. */
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";

const pollMs = 5;
/** What takes milliseconds may take seconds on a busy machine. */
export const waitMs = 20_000;

/** Resolves when `condition` holds; rejects with `what`, which completes "did not come about: …", after `timeoutMs`. */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs: number = waitMs,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`did not come about in ${timeoutMs} ms: ${what}`);
    await sleep(pollMs);
  }
}

/** As {@link waitUntil}, for what is looked at: resolves with the first that is as wanted; else the error tells the last. */
export async function waitToSee<T>(
  look: () => T | Promise<T>,
  wanted: (seen: T) => boolean,
  what: string,
  timeoutMs: number = waitMs,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const seen = await look();
    if (wanted(seen)) return seen;
    if (performance.now() > deadline) {
      const last = inspect(seen, { depth: 5, breakLength: 120 });
      throw new Error(`did not come about in ${timeoutMs} ms: ${what}; seen last: ${last}`);
    }
    await sleep(pollMs);
  }
}

/** The promise's result, or an error that says what was waited for. */
export async function within<T>(promise: Promise<T>, what: string, timeoutMs: number = waitMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`did not come about in ${timeoutMs} ms: ${what}`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
