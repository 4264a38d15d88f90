/**
 * Reads that wait for a standby to have what they have to show (`read_your_writes_wait`). Meanwhile the nodes are asked one time
 * after the other, for all of them together: how far a standby is, is known from its answers alone.
 */

import type { WaitingRead } from "../session/context.ts";

interface Nodes {
  hasten(): void;
  onNews: () => void;
}

/** Pause between the answer of a node and the next question. */
const pauseMs = 5;

export class ReadWaits {
  readonly #nodes: Nodes;
  readonly #waiting = new Map<WaitingRead, NodeJS.Timeout>();
  #pause: NodeJS.Timeout | undefined;

  constructor(nodes: Nodes) {
    this.#nodes = nodes;
  }

  /** Returns how to wait no more. */
  add(read: WaitingRead, waitMs: number): () => void {
    const over = setTimeout(() => {
      this.#remove(read);
      read.giveUp();
    }, waitMs);
    this.#waiting.set(read, over);
    this.#nodes.onNews = () => this.#onNews();
    this.#nodes.hasten();
    return () => this.#remove(read);
  }

  #onNews(): void {
    for (const read of [...this.#waiting.keys()]) {
      if (this.#waiting.has(read) && read.retry()) this.#remove(read);
    }
    if (this.#waiting.size === 0 || this.#pause !== undefined) return;
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      if (this.#waiting.size > 0) this.#nodes.hasten();
    }, pauseMs);
  }

  #remove(read: WaitingRead): void {
    clearTimeout(this.#waiting.get(read));
    this.#waiting.delete(read);
  }
}
