/**
 * What the primary process and a worker say to each other, over the channel that Node puts between a process and its child: calls with an
 * answer, which can be given up, and words that want none. Both sides have a table of what they understand. When the channel is
 * gone every call that waits fails with {@link linkGone}.
 */
import type { SendHandle } from "node:child_process";
import { Failure, OperationError } from "../../base/errors.ts";

/** What one side understands: for each word what comes with it and what is answered. */
export type Protocol = Readonly<Record<string, { readonly ask: unknown; readonly answer: unknown }>>;

/** What came besides the words. */
export interface Attached {
  /** Aborts when the answer is not wanted any more. */
  readonly signal: AbortSignal;
  /** A connection; undefined if it was gone before it could be passed. */
  readonly handle: unknown;
}

export type Handlers<P extends Protocol> = {
  readonly [K in keyof P]: (ask: P[K]["ask"], attached: Attached) => P[K]["answer"] | Promise<P[K]["answer"]>;
};

/** Either end: a child process, or the process itself in a child. */
export interface Port {
  send?(
    message: object,
    handle: SendHandle | undefined,
    options: undefined,
    callback: (error: Error | null) => void,
  ): boolean;
  on(event: "message", listener: (message: unknown, handle: unknown) => void): unknown;
}

/** A failure as it travels. */
export interface PlainFailure {
  readonly message: string;
  readonly code: string;
  readonly sqlstate: string;
  readonly source: Failure["source"];
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
}

type Message =
  | { readonly kind: "ask"; readonly id: number; readonly name: string; readonly ask: unknown }
  | { readonly kind: "answer"; readonly id: number; readonly answer: unknown }
  | { readonly kind: "failure"; readonly id: number; readonly failure: PlainFailure }
  | { readonly kind: "abort"; readonly id: number; readonly failure: PlainFailure };

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Words without an answer have this id. */
const noAnswer = 0;

export class Link<Out extends Protocol, In extends Protocol> {
  readonly #port: Port;
  readonly #handlers: Handlers<In>;
  readonly #waiting = new Map<number, Waiting>();
  /** Calls of the other side that are being answered. */
  readonly #answering = new Map<number, AbortController>();
  #lastId = noAnswer;
  #gone = false;

  constructor(port: Port, handlers: Handlers<In>) {
    this.#port = port;
    this.#handlers = handlers;
    port.on("message", (message, handle) => this.#onMessage(message as Message, handle));
  }

  /** Says something that needs no answer. */
  tell<K extends keyof Out & string>(name: K, ask: Out[K]["ask"]): void {
    this.#send({ kind: "ask", id: noAnswer, name, ask });
  }

  /** Rejects with the failure of the other side, or OperationError `server.worker_gone`. */
  call<K extends keyof Out & string>(
    name: K,
    ask: Out[K]["ask"],
    { signal, handle }: { readonly signal?: AbortSignal; readonly handle?: object } = {},
  ): Promise<Out[K]["answer"]> {
    if (this.#gone) return Promise.reject(otherSideGone());
    const id = ++this.#lastId;
    const onAbort = (): void => {
      this.#send({ kind: "abort", id, failure: packFailure(signal?.reason) });
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    const answered = new Promise<Out[K]["answer"]>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
    this.#send({ kind: "ask", id, name, ask }, handle);
    return answered.finally(() => signal?.removeEventListener("abort", onAbort));
  }

  /** The other side is gone. */
  close(): void {
    this.#gone = true;
    for (const { reject } of this.#waiting.values()) reject(otherSideGone());
    this.#waiting.clear();
    for (const running of this.#answering.values()) running.abort(otherSideGone());
    this.#answering.clear();
  }

  #send(message: Message, handle?: object): void {
    if (this.#gone) return;
    // What cannot be sent any more is known from the end of the channel.
    this.#port.send?.(message, handle as SendHandle | undefined, undefined, ignore);
  }

  #onMessage(message: Message, handle: unknown): void {
    switch (message.kind) {
      case "ask":
        void this.#answer(message, handle);
        return;
      case "answer":
        this.#take(message.id)?.resolve(message.answer);
        return;
      case "failure":
        this.#take(message.id)?.reject(unpackFailure(message.failure));
        return;
      case "abort":
        this.#answering.get(message.id)?.abort(unpackFailure(message.failure));
    }
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  async #answer({ id, name, ask }: Extract<Message, { kind: "ask" }>, handle: unknown): Promise<void> {
    const running = new AbortController();
    if (id !== noAnswer) this.#answering.set(id, running);
    try {
      const handler = this.#handlers[name] as Handlers<Protocol>[string];
      const answer = await handler(ask, { signal: running.signal, handle });
      if (id !== noAnswer) this.#send({ kind: "answer", id, answer });
    } catch (error) {
      if (id !== noAnswer) this.#send({ kind: "failure", id, failure: packFailure(error) });
    }
    this.#answering.delete(id);
  }
}

const ignore = (): void => undefined;

export function packFailure(error: unknown): PlainFailure {
  if (error instanceof Failure) {
    const { message, code, sqlstate, source, detail, hint } = error;
    return { message, code, sqlstate, source, detail, hint };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { message, code: "server.worker", sqlstate: "XX000", source: "internal" };
}

export function unpackFailure({ message, code, sqlstate, source, detail, hint }: PlainFailure): Failure {
  return new OperationError(message, {
    code,
    sqlstate,
    source,
    ...(detail === undefined ? {} : { detail }),
    ...(hint === undefined ? {} : { hint }),
  });
}

/** The other process has ended. */
export function otherSideGone(): OperationError {
  return new OperationError("the process that was asked has ended", {
    code: "server.worker_gone",
    sqlstate: "57P01",
    source: "internal",
  });
}
