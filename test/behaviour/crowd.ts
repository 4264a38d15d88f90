/** Clients of one pooler that do the same, over and over, each in its own place, until they are told to stop. */

import { waitToSee } from "../kit/wait.ts";
import type { Client, Pooled } from "./pooled.ts";

export abstract class Crowd implements AsyncDisposable {
  protected readonly pooled: Pooled;
  protected readonly table: string;
  protected stopped = false;
  protected readonly patienceMs: number | undefined;
  readonly #running: Promise<void>[] = [];
  #failure: Error | undefined;

  /** `patienceMs`: how long one of them waits for an answer, if not as long as everywhere. */
  constructor(pooled: Pooled, table: string, patienceMs?: number) {
    this.pooled = pooled;
    this.table = table;
    this.patienceMs = patienceMs;
  }

  /** What one of them does while nobody has {@link stopped} them. */
  protected abstract work(client: Client, index: number): Promise<void>;

  async start(count: number): Promise<void> {
    const clients = await Promise.all(Array.from({ length: count }, () => this.connect()));
    for (const [index, client] of clients.entries()) this.#running.push(this.work(client, index));
    for (const running of this.#running) {
      running.catch((error: unknown) => {
        this.#failure ??= error instanceof Error ? error : new Error(String(error));
      });
    }
  }

  /** Resolves when `done` has grown by `count`; rejects as soon as one of them cannot go on. */
  protected async untilMore(
    done: () => number,
    count: number,
    what: string,
    timeoutMs?: number,
  ): Promise<void> {
    const goal = done() + count;
    const look = (): number => {
      if (this.#failure !== undefined) throw this.#failure;
      return goal - done();
    };
    await waitToSee(
      look,
      (missing) => missing <= 0,
      `${count} ${what} (seen: how many are missing)`,
      timeoutMs,
    );
  }

  protected connect(): Promise<Client> {
    return this.pooled.connect({ patienceMs: this.patienceMs });
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.#running);
    this.#running.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#running.length === 0) return;
    this.stopped = true;
    // The test has failed: some of them may wait for an answer that never comes.
    await this.pooled.pooler.shutdown("immediate");
    await Promise.allSettled(this.#running);
  }
}
