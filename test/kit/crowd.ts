/** Clients of one pooler that do the same, over and over, each in its own place, until they are told to stop. */
import type { Client, Pooled } from "../behaviour/pooled.ts";

export abstract class Crowd implements AsyncDisposable {
  protected readonly pooled: Pooled;
  protected readonly table: string;
  protected stopped = false;
  readonly #running: Promise<void>[] = [];

  constructor(pooled: Pooled, table: string) {
    this.pooled = pooled;
    this.table = table;
  }

  /** What one of them does while nobody has {@link stopped} them. */
  protected abstract work(client: Client, index: number): Promise<void>;

  async start(count: number): Promise<void> {
    const clients = await Promise.all(Array.from({ length: count }, () => this.pooled.connect()));
    for (const [index, client] of clients.entries()) this.#running.push(this.work(client, index));
    // Whoever waits for them hears of it.
    for (const running of this.#running) running.catch(() => undefined);
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
