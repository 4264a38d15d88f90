/** What plain streams have in common, whatever they are read and written by: their names, and how what waits is joined. */
import type { PeerAddress } from "./descriptors.ts";

/** Small chunks that wait are joined up to this. */
const joinedBytesMax = 64 * 1024;

/** A stream with addresses, as Node's sockets tell them. */
export abstract class NamedStream {
  #peer: PeerAddress | undefined;

  /** `peer`: if it is known already. */
  constructor(peer?: PeerAddress) {
    this.#peer = peer;
  }

  abstract get destroyed(): boolean;
  /** Of a stream that is open; without an address for a Unix socket, and for a peer that is gone. */
  protected abstract readPeerName(): PeerAddress;
  protected abstract readOwnName(): PeerAddress;

  get remoteAddress(): string | undefined {
    return this.#peerName.address;
  }

  get remotePort(): number | undefined {
    return this.#peerName.port;
  }

  get localAddress(): string | undefined {
    return this.#ownName.address;
  }

  get localPort(): number | undefined {
    return this.#ownName.port;
  }

  /** Kept from the first time on: a peer that is gone has none. */
  get #peerName(): PeerAddress {
    if (this.#peer !== undefined || this.destroyed) return this.#peer ?? {};
    const name = this.readPeerName();
    if (name.address !== undefined) this.#peer = name;
    return name;
  }

  get #ownName(): PeerAddress {
    return this.destroyed ? {} : this.readOwnName();
  }
}

/** Takes the first chunk that waits, made longer by those behind it while all are small. */
export function takeJoined(waiting: Buffer[]): Buffer {
  let count = 1;
  let bytes = waiting[0]?.length ?? 0;
  while (count < waiting.length && bytes + (waiting[count]?.length ?? 0) <= joinedBytesMax) {
    bytes += waiting[count++]?.length ?? 0;
  }
  const chunks = waiting.splice(0, count);
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, bytes);
}
