/**
 * Tickets by which clients resume TLS sessions (RFC 5077; RFC 8446, 4.6.1): whoever shows one need not be shown the
 * certificate again, which saves its signature, the dearest part of a handshake. All state is in the ticket, encrypted with keys
 * that are derived here, so a ticket of one worker is good at another.
 *
 *     keys = HKDF(a secret that all workers share, the certificate, the number of the period)
 *
 * A reload keeps them, another certificate changes them, and so does time (RFC 9325, 3.4). The secret is in no file: a restart
 * makes another one, and clients do a full handshake then, which OpenSSL begins by itself wherever a ticket is not good.
 *
 * Nobody who is asked for a certificate gets a ticket: it would have to be shown, and its revocation looked at, each time.
 */
import { hkdfSync } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import type { ClientTls } from "../session/context.ts";

/** As long are keys used. Tickets of the last moments of a period are good for those only. */
const periodMs = 24 * 3600 * 1000;
/** What Node wants: name, HMAC and AES keys of 16 bytes each. */
const keyBytes = 48;

export class SessionTickets {
  readonly #secret: Buffer;
  readonly #clock: Clock;
  #given: ClientTls | undefined;
  #period = 0;
  #resumable: ClientTls | undefined;

  constructor(secret: Buffer, clock: Clock) {
    this.#secret = secret;
    this.#clock = clock;
  }

  /** The same TLS, with tickets of the keys that hold now, where there may be any. */
  of(tls: ClientTls | undefined): ClientTls | undefined {
    const resumption = tls?.resumption;
    if (tls === undefined || resumption === undefined) return tls;
    const period = Math.floor(this.#clock.wall() / periodMs);
    if (tls !== this.#given || period !== this.#period) {
      const info = `pgsluice TLS session tickets ${period}`;
      const keys = Buffer.from(hkdfSync("sha256", this.#secret, resumption.certificate, info, keyBytes));
      this.#given = tls;
      this.#period = period;
      this.#resumable = { ...tls, context: resumption.contextWith(keys) };
    }
    return this.#resumable;
  }
}
