/**
 * What a connection and a cancel request have in common for those who poll: at most one attempt at a time,
 * the state that polling is in, and the text of what went wrong. Whatever is asked after `finish` is answered,
 * and nothing is done twice.
 */

import { timerMsMax } from "../conninfo/options.ts";
import type { Attempt } from "../handshake/attempt.ts";
import type { AttemptEnd, PollingStatus } from "../handshake/attempt-options.ts";
import type { ConnectionStatus } from "../handshake/status.ts";

/** libpq's number of each polling status (PostgresPollingStatusType). */
export const pollingStatusNumber: Readonly<Record<PollingStatus, number>> = {
  failed: 0,
  reading: 1,
  writing: 2,
  ok: 3,
};

/** How long `ready` waits at most. */
export interface ReadyOptions {
  /** Ends the wait, which rejects with the signal's reason. The connection is not touched. */
  readonly signal?: AbortSignal | undefined;
  /** Ends the wait at this time of `performance.now()`, in milliseconds. None if not given. */
  readonly endTimeMs?: number | undefined;
}

export abstract class Polled {
  /** @internal The attempt that polls drive, or that has ended last. */
  protected attempt: Attempt | undefined;
  /** @internal Why there is no attempt. */
  protected fault: unknown;
  #finished = false;

  /** @internal */
  get finished(): boolean {
    return this.#finished;
  }

  /** @internal */
  get connectionStatus(): ConnectionStatus {
    const { attempt } = this;
    // What a server that hung up has done to a session shows here, and nowhere else before it is used.
    const lost = attempt?.end?.kind === "session" && attempt.transport?.closed !== false;
    return attempt === undefined || lost ? "BAD" : attempt.status;
  }

  /** @internal */
  poll(): PollingStatus {
    const step = this.attempt?.poll();
    // It may have been finished in the middle, by whoever traces.
    return step === undefined || this.attempt === undefined ? "failed" : step;
  }

  /** @internal */
  get descriptor(): number {
    return this.attempt?.descriptor ?? -1;
  }

  /** @internal */
  get errorText(): string {
    if (this.#finished) return "connection is finished";
    const end = this.attempt?.end;
    if (end?.kind === "failed") return textOf(end.error);
    if (end?.kind === "session" && this.connectionStatus === "BAD") {
      return "server closed the connection unexpectedly";
    }
    return this.fault === undefined ? "" : textOf(this.fault);
  }

  /** @internal */
  async ready({ signal, endTimeMs }: ReadyOptions): Promise<boolean> {
    signal?.throwIfAborted();
    const { attempt } = this;
    if (attempt === undefined || attempt.ready) return true;
    const remainingMs = (endTimeMs ?? Number.POSITIVE_INFINITY) - performance.now();
    if (remainingMs <= 0) return false;
    return await new Promise<boolean>((resolve, reject) => {
      const end = (): void => {
        unwatch();
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      const abort = (): void => {
        end();
        reject(signal?.reason as Error);
      };
      const over = (): void => {
        end();
        resolve(false);
      };
      const unwatch = attempt.watch(() => {
        if (!attempt.ready) return;
        end();
        resolve(true);
      });
      const timer = remainingMs > timerMsMax ? undefined : setTimeout(over, remainingMs);
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** @internal Lets go of everything, for good. A session is said goodbye to (PQfinish, closePGconn). */
  finish(): void {
    this.#finished = true;
    this.close();
    this.fault = undefined;
  }

  /** @internal Lets go of the attempt; another one may follow. */
  protected close(): void {
    const { attempt } = this;
    this.attempt = undefined;
    attempt?.destroy();
  }

  [Symbol.dispose](): void {
    this.finish();
  }
}

/** What `run` has come to, in the words of polling. */
export function pollingStatusOf(end: AttemptEnd): "ok" | "failed" {
  return end.kind === "failed" ? "failed" : "ok";
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
