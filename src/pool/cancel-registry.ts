/**
 * Who a cancel key belongs to. Every client gets a process id and a secret of its own; the secret is made here and unknown
 * to any server, and so is the process id, unless the client has a home (session/auto/homes.ts). A cancel request is looked up by the process id and compared with the secret in constant
 * time. The process id is a positive 32-bit integer, because drivers read it as a signed one.
 *
 * With peers the key says whose it is, in PgBouncer's layout (objects.c accept_cancel_request), so that a process
 * that does not know it can hand it on to the one that does, whichever program that is:
 *
 *     byte   0       1        2        3       4 5 6     7
 *            0rrrrrrr low      high     rrrrrrrr rrr…r    rrrrrrhh      r: random, h: hops that are left, 3 at first
 *            process id: the peer's id in the middle     secret
 *
 * Where several workers share the sockets, the first byte of the secret, divided by their number, leaves the number of the
 * worker whose client it is; with two workers that is one bit of the random ones.
 *
 * That leaves 45 random bits. PgBouncer drops requests whose key is not of 8 bytes, so with peers clients of
 * protocol 3.2 get one of 8 bytes as well.
 */
import { randomBytes, randomInt, timingSafeEqual } from "node:crypto";
import { assert } from "../base/assert.ts";
import { NumberMap } from "../base/number-map.ts";

/** Whom a cancel request stops. */
export interface CancelTarget {
  /** Resolves when the request has been carried out or found to be without effect. */
  cancel(): Promise<void>;
}

export interface CancelKey {
  readonly pid: number;
  readonly secret: Buffer;
}

/** Largest process id: a signed 32-bit integer. */
const pidMax = 0x7fff_ffff;
/** No process of a server has an id as large as what is made up here (Linux, threads.h PID_MAX_LIMIT). */
const realPidMax = 0x40_0000;
/** Secret of protocol 3.0, and of 3.2 as PostgreSQL 18 sends it. */
const secretBytes30 = 4;
const secretBytes32 = 32;
const randomBytesAtOnce = 1024;
/** Where a peer's key has its hops, in the secret, and which bits of that byte they are (bouncer.h CANCELLATION_TTL_MASK). */
const hopByte = 3;
const hopBits = 0x03;

/** One client; those whose process ids are the same hang together. */
interface Entry {
  readonly secret: Buffer;
  readonly target: CancelTarget;
  /** The key went out with hops in it, of which some are used up when it comes back by way of peers. */
  readonly peered: boolean;
  next: Entry | undefined;
}

export class CancelRegistry {
  /** Among peers, the id of this process; 0: it has none. Keys that were given before keep what they say. */
  peerId = 0;
  readonly #slot: number;
  readonly #slots: number;
  readonly #targets = new NumberMap<Entry>();
  #size = 0;
  /** Random bytes that are nobody's secret yet. */
  #random: Buffer = Buffer.alloc(0);

  /** The keys of the worker `slot`, from 0, of so many. */
  constructor({ slot, count }: { readonly slot: number; readonly count: number } = { slot: 0, count: 1 }) {
    this.#slot = slot;
    this.#slots = count;
  }

  get size(): number {
    return this.#size;
  }

  /**
   * A new key for `target`. `longSecret`: the client speaks protocol 3.2. `serverPid`: the process id that it had better
   * be, which is possible unless the key has to say whose it is.
   */
  register(target: CancelTarget, longSecret: boolean, serverPid?: number): CancelKey {
    const peered = this.peerId !== 0;
    let secret = this.#randomSecret(longSecret && !peered ? secretBytes32 : secretBytes30);
    if (peered) withHops(secret, hopBits);
    let pid = this.#randomPid();
    if (serverPid !== undefined && !peered) {
      pid = serverPid;
      // Processes of several nodes may have the same id.
      while (this.#has(pid, secret)) secret = this.#randomSecret(secret.length);
    } else {
      // Among peers a process id has 15 random bits, too few for every client to have one of its own.
      while (peered ? this.#has(pid, secret) : this.#targets.get(pid) !== undefined) pid = this.#randomPid();
    }
    this.#targets.set(pid, { secret, target, peered, next: this.#targets.get(pid) });
    this.#size++;
    return { pid, secret };
  }

  unregister({ pid, secret }: CancelKey): void {
    let before: Entry | undefined;
    let entry = this.#targets.get(pid);
    for (; entry !== undefined && entry.secret !== secret; entry = entry.next) before = entry;
    assert(entry !== undefined, "a cancel key is taken back once");
    if (before !== undefined) before.next = entry.next;
    else if (entry.next !== undefined) this.#targets.set(pid, entry.next);
    else this.#targets.delete(pid);
    this.#size--;
  }

  /** The client that was given this key, if it is still here. A key that was never given matches nothing. */
  find(pid: number, secret: Buffer): CancelTarget | undefined {
    for (let entry = this.#targets.get(pid); entry !== undefined; entry = entry.next) {
      if (entry.secret.length !== secret.length) continue;
      const compared = entry.peered ? withHops(Buffer.from(secret), hopBits) : secret;
      if (timingSafeEqual(entry.secret, compared)) return entry.target;
    }
    return undefined;
  }

  /** Never all zeros: what was never filled in matches nobody. Many share what they lie in, as a buffer of its own costs 300 bytes a client. */
  #randomSecret(bytes: number): Buffer {
    for (;;) {
      if (this.#random.length < bytes) this.#random = randomBytes(randomBytesAtOnce);
      const secret = this.#random.subarray(0, bytes);
      this.#random = this.#random.subarray(bytes);
      const own = slotOfKey(secret, this.#slots) === this.#slot;
      if (own && secret.some((byte) => byte !== 0)) return secret;
    }
  }

  #randomPid(): number {
    if (this.peerId === 0) return randomInt(realPidMax, pidMax) + 1;
    const [first, last] = randomBytes(2) as unknown as [number, number];
    const middle = ((this.peerId & 0xff) << 16) | (this.peerId & 0xff00);
    return ((first & 0x7f) << 24) | middle | last;
  }

  #has(pid: number, secret: Buffer): boolean {
    for (let entry = this.#targets.get(pid); entry !== undefined; entry = entry.next) {
      if (entry.secret.equals(secret)) return true;
    }
    return false;
  }
}

/** The worker that a key is of, if one of `count` workers has given it. */
export function slotOfKey(secret: Buffer, count: number): number {
  return (secret[0] ?? 0) % count;
}

/** The peer that a key is of, if it is one among peers: any key can be read so. */
export function peerOfKey(pid: number): number {
  return ((pid >>> 16) & 0xff) | (pid & 0xff00);
}

/** How often the key may still be handed on. */
export function hopsOfKey(secret: Buffer): number {
  return (secret[hopByte] ?? 0) & hopBits;
}

/** The secret to hand on, with `hops` left. */
export function secretWithHops(secret: Buffer, hops: number): Buffer {
  return withHops(Buffer.from(secret), hops);
}

function withHops(secret: Buffer, hops: number): Buffer {
  secret[hopByte] = ((secret[hopByte] ?? 0) & ~hopBits) | hops;
  return secret;
}
