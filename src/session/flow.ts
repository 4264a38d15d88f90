/**
 * When a client is not read from: what it sends would only pile up in this process. Pressure passes through
 * in both directions, as if the client were connected to its server directly.
 */
import type { Transport } from "../base/transport.ts";
import { repliesPendingBytesMax, type Server } from "../pool/server.ts";
import { Frontend, TransactionStatus } from "../wire/constants.ts";
import { encodeFrontend } from "../wire/encode-frontend.ts";
import type { Framer } from "../wire/framer.ts";
import type { Output } from "./output.ts";

/** Bytes to one server that may wait in this process before its client is not read from. */
const requestsPendingBytesMax = 256 * 1024;

/**
 * Requests that may be unanswered before their client is not read from. A server answers after some 1,600 of
 * them at the latest, when its own buffer is full (pqcomm.c PQ_SEND_BUFFER_SIZE), or when it reads a Flush.
 */
const requestsMax = 16_384;

const flushMessage = encodeFrontend({ kind: "Flush" });

export class Flow {
  /** The loop has stopped in front of bytes that wait for somebody to take what came before them. */
  stalled = false;
  readonly #client: Transport;
  readonly #framer: Framer;

  constructor(client: Transport, framer: Framer) {
    this.#client = client;
    this.#framer = framer;
  }

  /** Whether the client has to stop: its server takes no more, or it takes no replies, or has asked for too much. */
  stalls(server: Server | undefined): boolean {
    this.stalled = this.#blocked(server);
    return this.stalled;
  }

  /** Whether it has stopped and need not any more. */
  clears(server: Server | undefined): boolean {
    return this.stalled && !this.#blocked(server);
  }

  /** As {@link clears}, when replies come; late enough to make it worth while. */
  clearsByReplies(server: Server | undefined): boolean {
    return this.stalled && server !== undefined && server.replies.length <= requestsMax / 2;
  }

  /**
   * Whether a unit that begins has to wait: others want a server, and this one comes free once it has answered.
   * Else a client that always has something in flight would keep its server for ever.
   */
  givesWay(server: Server | undefined, othersWaiting: number): boolean {
    if (server === undefined || othersWaiting === 0 || !beginsUnit(this.#framer.type)) return false;
    const { replies } = server;
    return !replies.settled && replies.betweenUnits && replies.status === TransactionStatus.idle;
  }

  /** A server that keeps its replies until it is asked for them, while no question can follow, is asked. */
  askForReplies(server: Server, output: Output): void {
    if (!this.stalled || !this.#asksTooMuch(server)) return;
    output.append(flushMessage, 0, flushMessage.length, server.transport);
  }

  #blocked(server: Server | undefined): boolean {
    if (this.#client.pendingBytes > repliesPendingBytesMax) return true;
    if (server === undefined) return false;
    return server.transport.pendingBytes > requestsPendingBytesMax || this.#asksTooMuch(server);
  }

  /** Not in the middle of a message, between whose parts nothing can be put. */
  #asksTooMuch(server: Server): boolean {
    return server.replies.length >= requestsMax && !this.#framer.streaming;
  }
}

/** Not what goes on with COPY or ends a batch, which the server may be waiting for. */
export function beginsUnit(type: number): boolean {
  switch (type) {
    case Frontend.query:
    case Frontend.functionCall:
    case Frontend.parse:
    case Frontend.bind:
    case Frontend.describe:
    case Frontend.execute:
    case Frontend.close:
      return true;
    default:
      return false;
  }
}
