/**
 * When a server is read from: not while its client takes no more, and in the middle of a long reply not at once for every
 * piece.
 *
 * PostgreSQL sends 8 kB at a time (pqcomm.c PQ_SEND_BUFFER_SIZE). Whoever reads as soon as something is there is woken for each of them,
 * and wakes the client for each of them: 130,000 reads and writes for a gigabyte, where all three share a few processors. So where a long reply comes
 * in small pieces, the server rests after each read that has emptied its socket, and the next read finds in one piece what has come meanwhile.
 * PostgreSQL goes on: what it sends in a moment fits into the sockets' buffers. The end of the reply is
 * late by such a moment at most, which is little beside the time that so long a reply has taken.
 *
 *     reading ──(so much has come, in small pieces)──▶ resting after each read
 *        ▲                                                │
 *        └──(a rest has gathered next to nothing, or so much that PostgreSQL may have had to wait)
 */
import type { Transport } from "../base/transport.ts";

/** Bytes that one read from a server may bring. One that brings less has emptied the socket. */
export const serverReadBytes: number = 64 * 1024;
/** So much of a reply is looked at before a server rests, or does so again. It takes some ten milliseconds. */
const seenBytes = 1024 * 1024;
/** Small pieces: hardly more than one of PostgreSQL's buffers, in a read or after a rest. */
const pieceBytesMax = 12 * 1024;
/** With more after a rest the buffers of the sockets may have been full. */
const gatheredBytesMax = 256 * 1024;
/** Rests in a row that have not paid, before there are none for a while. */
const vainRestsMax = 3;
/** The shortest that timers know. */
const restMs = 1;

export class ReplyReading {
  readonly #transport: Transport;
  /** Rests gather something: TLS hands on one record after the other, whatever has come. */
  readonly #gathers: boolean;
  #rests = false;
  #resting = false;
  /** Since it has begun to look, or since the last rest. */
  #bytes = 0;
  #reads = 0;
  /** In a row. */
  #vainRests = 0;
  /** The client takes no more. */
  #stopped = false;

  constructor(transport: Transport) {
    this.#transport = transport;
    this.#gathers = transport.tlsSocket === undefined;
  }

  /** The client takes no more. */
  stop(): void {
    this.#stopped = true;
    this.#transport.pause();
  }

  /** The client takes bytes again, or is gone. */
  resume(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    if (!this.#resting) this.#transport.resume();
  }

  /** What has come is not the middle of a reply. */
  onOther(): void {
    this.#rests = false;
    this.#bytes = 0;
    this.#reads = 0;
  }

  /** Rows have come, and more is to follow. */
  onRows(bytes: number): void {
    this.#bytes += bytes;
    this.#reads++;
    // With a full buffer there is more to be read at once; a client that takes no more gives rest enough.
    if (bytes >= serverReadBytes || this.#stopped) return;
    if (this.#rests) this.#judgeRest();
    else if (this.#bytes < seenBytes) return;
    else this.#rests = this.#gathers && this.#bytes <= this.#reads * pieceBytesMax;
    this.#bytes = 0;
    this.#reads = 0;
    if (this.#rests) this.#rest();
  }

  /** One rest says little: whoever shares the processor may have had it meanwhile. */
  #judgeRest(): void {
    const pays = this.#bytes > pieceBytesMax && this.#bytes <= gatheredBytesMax;
    this.#vainRests = pays ? 0 : this.#vainRests + 1;
    if (this.#vainRests < vainRestsMax) return;
    this.#vainRests = 0;
    this.#rests = false;
  }

  #rest(): void {
    this.#resting = true;
    this.#transport.pause();
    setTimeout(endRest, restMs, this);
  }

  onRestEnd(): void {
    this.#resting = false;
    if (!this.#stopped) this.#transport.resume();
  }
}

function endRest(reading: ReplyReading): void {
  reading.onRestEnd();
}
