/**
 * When a client is not read from: what it sends would only pile up in this process. Pressure passes through
 * in both directions, as if the client were connected to its server directly.
 */
import type { Transport } from "../base/transport.ts";
import { atTurnEnd, type TurnEnding, turnNumber } from "../base/turn-writes.ts";
import { repliesPendingBytesMax, type Server } from "../pool/server.ts";
import { Frontend, TransactionStatus } from "../wire/constants.ts";
import { encodeFrontend } from "../wire/encode-frontend.ts";
import type { Framer } from "../wire/framer.ts";
import type { Output } from "./output.ts";

/**
 * Bytes to one server that may wait in this process before its client is not read from, if they wait to be encrypted. What waits for the
 * kernel to take it is enough by itself: the kernel has more to send than it will in a while, and to read on would only fill memory.
 */
const encryptedBytesMax = 256 * 1024;

/**
 * Requests that may be unanswered before their client is not read from. A server answers after some 1,600 of
 * them at the latest, when its own buffer is full (pqcomm.c PQ_SEND_BUFFER_SIZE), or when it reads a Flush.
 */
const requestsMax = 16_384;

/**
 * Texts of SQL of one client that are read in one turn of the event loop: never seen before, each takes a tenth of a millisecond
 * or two, and hundreds may come in one chunk. Others have their turn meanwhile.
 */
const textsPerTurnMax = 32;

const flushMessage = encodeFrontend({ kind: "Flush" });

/** Whose flow it is: {@link Session}. */
interface FlowClient {
  readonly transport: Transport;
  /** Goes on where it has stopped, if it can. */
  advance(): void;
}

export class Flow implements TurnEnding {
  /** The loop has stopped in front of bytes that wait for somebody to take what came before them. */
  stalled = false;
  readonly #client: FlowClient;
  readonly #framer: Framer;
  /** Whether texts are read at all. */
  readonly #readsTexts: boolean;
  /** Those of the turn with this number. */
  #texts = 0;
  #turn = 0;

  constructor(client: FlowClient, framer: Framer, readsTexts: boolean) {
    this.#client = client;
    this.#framer = framer;
    this.#readsTexts = readsTexts;
  }

  /** Whether the client has to stop: its server takes no more, or it takes no replies, or has asked for too much. */
  stalls(server: Server | undefined): boolean {
    this.stalled = this.#blocked(server);
    return this.stalled;
  }

  /** The chunk has been handed on, to this server if the client has one, and is needed no more if the server's socket has taken it. */
  release(chunk: Buffer, server: Server | undefined): void {
    if (server === undefined || server.transport.pendingBytes === 0)
      this.#client.transport.releaseChunk(chunk);
  }

  onTurnEnd(): void {
    this.#texts = 0;
    if (this.stalled) this.#client.advance();
  }

  /** The message at hand, of which this is the type, is about to be read: it may be a text. */
  countText(type: number): void {
    if (!this.#readsTexts || (type !== Frontend.query && type !== Frontend.parse)) return;
    if (this.#turn !== turnNumber()) {
      this.#turn = turnNumber();
      this.#texts = 0;
    }
    if (++this.#texts === textsPerTurnMax) atTurnEnd(this);
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
    if (this.#client.transport.pendingBytes > repliesPendingBytesMax || this.#texts >= textsPerTurnMax)
      return true;
    if (server === undefined) return false;
    return isFull(server.transport) || this.#asksTooMuch(server);
  }

  /** Not in the middle of a message, between whose parts nothing can be put. */
  #asksTooMuch(server: Server): boolean {
    return server.replies.length >= requestsMax && !this.#framer.streaming;
  }
}

function isFull(transport: Transport): boolean {
  const { pendingBytes } = transport;
  return pendingBytes > 0 && (pendingBytes > encryptedBytesMax || transport.tlsSocket === undefined);
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
