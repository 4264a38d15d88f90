/**
 * The other processes of a fleet, and the cancel requests on their way to them. A request whose key says that it is
 * of a peer is handed on as it came, with one hop less; one that has no hops left, or names nobody, is dropped. So
 * it ends after three hops, whatever the peers think of each other.
 *
 * Each request has a connection of its own to its peer, in clear as PgBouncer's (a cancel key is worth nothing to who
 * can already hold up the traffic between peers), and is done when the peer has closed that. Per peer there are at
 * most `pool_size` of them at once; the others wait in order. Nobody waits longer than `cancel_wait_timeout`.
 */
import { Deque } from "../base/deque.ts";
import type { Logger } from "../base/log.ts";
import { Transport } from "../base/transport.ts";
import { encodeCancelRequest } from "../wire/startup.ts";
import { type CancelTarget, hopsOfKey, peerOfKey, secretWithHops } from "./cancel-registry.ts";

export interface PeerSettings {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  /** Connections at once; 0: as many as there are requests. */
  readonly poolSize: number;
}

export interface PeerView extends PeerSettings {
  /** Requests that wait for a connection or for its opening. */
  readonly waiting: number;
  /** Connections that are being opened. */
  readonly connecting: number;
  /** Requests that were sent and whose peer has not closed yet. */
  readonly sent: number;
  /** A request was handed on since the start. */
  readonly used: boolean;
}

/** Of one peer: who sends more wants only to fill our memory. */
const waitingMax = 1000;
/** Where no limit is set, so that none is under way for ever. */
const timeoutMsMax = 60_000;
/** A peer says nothing that matters. */
const readBufferBytes = 256;

export class Peers {
  #ownId = 0;
  #timeoutMs = timeoutMsMax;
  readonly #peers = new Map<number, Peer>();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** `ownId` 0: nothing is handed on. What is under way to a peer that is gone is given up. */
  configure(ownId: number, peers: readonly PeerSettings[], cancelWaitTimeoutMs: number): void {
    this.#ownId = ownId;
    this.#timeoutMs = cancelWaitTimeoutMs > 0 ? cancelWaitTimeoutMs : timeoutMsMax;
    const ids = new Set(peers.map(({ id }) => id));
    for (const [id, peer] of this.#peers) {
      if (ids.has(id)) continue;
      peer.abandon("could not find peer to forward request to");
      this.#peers.delete(id);
    }
    for (const settings of peers) {
      const known = this.#peers.get(settings.id);
      if (known === undefined) this.#peers.set(settings.id, new Peer(settings, this.#logger));
      else known.settings = settings;
    }
  }

  /** Hands a request with this key on, if it is of a peer and may be. Not for keys that this process has given. */
  targetOf(pid: number, secret: Buffer): CancelTarget | undefined {
    const id = peerOfKey(pid);
    if (this.#ownId === 0 || id === this.#ownId) return undefined;
    const hops = hopsOfKey(secret);
    const peer = this.#peers.get(id);
    if (hops === 0 || peer === undefined) {
      const reason =
        hops === 0
          ? "failed to forward cancel request because its TTL was exhausted"
          : "could not find peer to forward request to";
      this.#logger.info({ peer: id, reason }, "cancel request not forwarded");
      return undefined;
    }
    const packet = encodeCancelRequest(pid, secretWithHops(secret, hops - 1));
    return { cancel: () => peer.forward(packet, this.#timeoutMs) };
  }

  views(): PeerView[] {
    return [...this.#peers.values()].map((peer) => peer.view).sort((a, b) => a.id - b.id);
  }

  /** Resolves when no request is under way any more; after `limitMs` the rest is given up. */
  async end(limitMs: number): Promise<void> {
    const peers = [...this.#peers.values()];
    const timer = setTimeout(() => {
      for (const peer of peers) peer.abandon("pooler is shutting down");
    }, limitMs);
    await Promise.all(peers.map((peer) => peer.done()));
    clearTimeout(timer);
  }
}

class Peer {
  settings: PeerSettings;
  readonly #logger: Logger;
  readonly #waiting = new Deque<Forward>();
  readonly #open = new Set<Forward>();
  #used = false;

  constructor(settings: PeerSettings, logger: Logger) {
    this.settings = settings;
    this.#logger = logger;
  }

  get view(): PeerView {
    const sent = [...this.#open].filter((forward) => forward.sent).length;
    const connecting = this.#open.size - sent;
    return {
      ...this.settings,
      waiting: this.#waiting.length + connecting,
      connecting,
      sent,
      used: this.#used,
    };
  }

  /** Resolves when the peer has taken the request, or it was given up; never rejects. */
  async forward(packet: Buffer, timeoutMs: number): Promise<void> {
    this.#used = true;
    if (this.#waiting.length >= waitingMax) {
      this.#logger.warn({ peer: this.settings.id, reason: "too many wait" }, "cancel request not forwarded");
      return;
    }
    const forward = new Forward(packet, timeoutMs);
    this.#waiting.push(forward);
    this.#next();
    const failure = await forward.done;
    this.#waiting.remove(forward);
    this.#open.delete(forward);
    if (failure !== undefined) {
      const { id, host, port } = this.settings;
      this.#logger.warn({ peer: id, host, port, reason: failure }, "cancel request not forwarded");
    }
    this.#next();
  }

  async done(): Promise<void> {
    await Promise.all([...this.#waiting, ...this.#open].map((forward) => forward.done));
  }

  abandon(reason: string): void {
    for (const forward of [...this.#waiting, ...this.#open]) forward.giveUp(reason);
  }

  #next(): void {
    const { poolSize, host, port } = this.settings;
    while (poolSize === 0 || this.#open.size < poolSize) {
      const forward = this.#waiting.shift();
      if (forward === undefined) return;
      if (forward.over) continue;
      this.#open.add(forward);
      forward.begin(host, port);
    }
  }
}

/** One request on its way. */
class Forward {
  /** Why it did not arrive; undefined if it did. */
  readonly done: Promise<string | undefined>;
  sent = false;
  over = false;
  readonly #packet: Buffer;
  readonly #timer: NodeJS.Timeout;
  #resolve: (failure: string | undefined) => void = () => undefined;
  #transport: Transport | undefined;

  constructor(packet: Buffer, timeoutMs: number) {
    this.#packet = packet;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#timer = setTimeout(() => this.giveUp("cancel_wait_timeout"), timeoutMs);
  }

  begin(host: string, port: number): void {
    const transport = Transport.connect({ host, port }, readBufferBytes, () => {
      this.sent = true;
      // Our side stays open: a peer that is PgBouncer forgets the requests of who has left.
      transport.write(this.#packet);
    });
    this.#transport = transport;
    transport.listener = {
      onData: () => undefined,
      onDrain: () => undefined,
      onClose: (error) => this.#finish(error?.message ?? (this.sent ? undefined : "connect failed")),
    };
  }

  giveUp(reason: string): void {
    this.#finish(reason);
    this.#transport?.destroy();
  }

  #finish(failure: string | undefined): void {
    this.over = true;
    clearTimeout(this.#timer);
    this.#resolve(failure);
  }
}
