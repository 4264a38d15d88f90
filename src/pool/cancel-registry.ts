/**
 * Who a cancel key belongs to. Every client gets a process id and a secret of its own, made here and unknown
 * to any server; a cancel request is looked up by the process id and compared with the secret in constant
 * time. The process id is a positive 32-bit integer, because drivers read it as a signed one.
 */
import { randomBytes, randomInt, timingSafeEqual } from "node:crypto";
import { assert } from "../base/assert.ts";

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
/** Secret of protocol 3.0, and of 3.2 as PostgreSQL 18 sends it. */
const secretBytes30 = 4;
const secretBytes32 = 32;

export class CancelRegistry {
  readonly #targets = new Map<number, { readonly secret: Buffer; readonly target: CancelTarget }>();

  get size(): number {
    return this.#targets.size;
  }

  /** A new key for `target`. `longSecret`: the client speaks protocol 3.2. */
  register(target: CancelTarget, longSecret: boolean): CancelKey {
    let pid = randomInt(1, pidMax);
    while (this.#targets.has(pid)) pid = randomInt(1, pidMax);
    const secret = randomSecret(longSecret ? secretBytes32 : secretBytes30);
    this.#targets.set(pid, { secret, target });
    return { pid, secret };
  }

  unregister(key: CancelKey): void {
    const known = this.#targets.delete(key.pid);
    assert(known, "a cancel key is taken back once");
  }

  /** The client that was given this key, if it is still here. A key that was never given matches nothing. */
  find(pid: number, secret: Buffer): CancelTarget | undefined {
    const entry = this.#targets.get(pid);
    if (entry === undefined || entry.secret.length !== secret.length) return undefined;
    return timingSafeEqual(entry.secret, secret) ? entry.target : undefined;
  }
}

/** Never all zeros: what was never filled in matches nobody. */
function randomSecret(bytes: number): Buffer {
  for (;;) {
    const secret = randomBytes(bytes);
    if (secret.some((byte) => byte !== 0)) return secret;
  }
}
