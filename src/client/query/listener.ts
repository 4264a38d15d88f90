/**
 * LISTEN: the notifications of a channel as an asynchronous sequence. What comes before it is taken waits in
 * memory, up to a bound; a listener that nobody reads fails rather than grow without end or lose one silently.
 */
import { Deque } from "../../base/deque.ts";
import { type Failure, OperationError } from "../../base/errors.ts";

export interface Notification {
  readonly channel: string;
  readonly payload: string;
  /** Process of the session that sent it. */
  readonly pid: number;
}

/** Notifications that may wait in one listener. */
const waitingMax = 65_536;

export class Listener implements AsyncIterableIterator<Notification> {
  readonly channel: string;
  readonly #stop: (listener: Listener) => Promise<void>;
  readonly #waiting = new Deque<Notification>();
  #takers: { resolve: (result: IteratorResult<Notification>) => void; reject: (error: unknown) => void }[] =
    [];
  #stopped = false;
  #failure: Failure | undefined;

  /** @internal */
  constructor(channel: string, stop: (listener: Listener) => Promise<void>) {
    this.channel = channel;
    this.#stop = stop;
  }

  /** The next notification. Rejects if the session is lost, or if too many have been waiting. */
  next(): Promise<IteratorResult<Notification>> {
    const first = this.#waiting.shift();
    if (first !== undefined) return Promise.resolve({ done: false, value: first });
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#stopped) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#takers.push({ resolve, reject });
    });
  }

  /** UNLISTEN, unless another listener has the same channel. */
  async return(): Promise<IteratorResult<Notification>> {
    if (!this.#stopped) {
      this.#stopped = true;
      this.#waiting.clear();
      for (const taker of this.#takers) taker.resolve({ done: true, value: undefined });
      this.#takers = [];
      await this.#stop(this);
    }
    return { done: true, value: undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** @internal */
  deliver(notification: Notification): void {
    if (this.#stopped || this.#failure !== undefined) return;
    const taker = this.#takers.shift();
    if (taker !== undefined) return taker.resolve({ done: false, value: notification });
    if (this.#waiting.length >= waitingMax) return this.fail(overflow(this.channel));
    this.#waiting.push(notification);
  }

  /** @internal There is a new session. */
  revive(): void {
    this.#failure = undefined;
  }

  /** @internal What has come is still handed out; then this. */
  fail(failure: Failure): void {
    this.#failure ??= failure;
    for (const taker of this.#takers) taker.reject(failure);
    this.#takers = [];
  }
}

/** Every listener of one session, by channel. */
export class Listeners {
  readonly #channels = new Map<string, Set<Listener>>();

  /** Returns whether it is the first of its channel. */
  add(listener: Listener): boolean {
    const present = this.#channels.get(listener.channel);
    if (present !== undefined) {
      present.add(listener);
      return false;
    }
    this.#channels.set(listener.channel, new Set([listener]));
    return true;
  }

  /** Returns whether it was the last of its channel. */
  remove(listener: Listener): boolean {
    const present = this.#channels.get(listener.channel);
    if (present?.delete(listener) !== true || present.size > 0) return false;
    return this.#channels.delete(listener.channel);
  }

  get channels(): string[] {
    return [...this.#channels.keys()];
  }

  deliver(notification: Notification): void {
    for (const listener of this.#channels.get(notification.channel) ?? []) listener.deliver(notification);
  }

  revive(): void {
    for (const listeners of this.#channels.values()) {
      for (const listener of listeners) listener.revive();
    }
  }

  fail(failure: Failure): void {
    for (const listeners of this.#channels.values()) {
      for (const listener of listeners) listener.fail(failure);
    }
  }
}

function overflow(channel: string): OperationError {
  return new OperationError(`nobody takes the notifications of channel "${channel}": ${waitingMax} wait`, {
    code: "client.notifications_overflow",
    sqlstate: "53000",
    source: "internal",
  });
}
