/**
 * The client half of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, without I/O. The steps:
 *
 *     initial()    → client-first-message, with the mechanism chosen
 *     challenge(…) → server-first-message in; asks for PBKDF2, or gives client-final-message at once
 *     derived(…)   → SaltedPassword in; client-final-message out
 *     verify(…)    → server-final-message in; throws unless the server knows the password too
 *
 * A server that calls the steps out of order is at fault, so the order is checked with PeerErrors. Rules
 * follow libpq's fe-auth-scram.c and fe-auth.c, with a limit on the rounds and a demand for canonical base64.
 */
import { timingSafeEqual } from "node:crypto";
import { assert } from "../base/assert.ts";
import { PeerError, protocolViolation } from "../base/errors.ts";
import type { ScramKeys } from "./scram.ts";
import {
  channelBindingType,
  decodeBase64,
  expectAttribute,
  hmac,
  isNonce,
  malformed,
  parseIterations,
  readAttributes,
  scramIterationsMax,
  scramKeyBytes,
  scramKeys,
  scramSha256,
  scramSha256Plus,
  sha256,
  xorKeys,
} from "./scram.ts";

export interface ScramClientOptions {
  /** What AuthenticationSASL offered. */
  readonly mechanisms: readonly string[];
  readonly channelBinding: "disable" | "prefer" | "require";
  /** True if the connection is encrypted. */
  readonly tls: boolean;
  /** tls-server-end-point data of the server's certificate; undefined if it has none (see channel-binding.ts). */
  readonly endPoint: Buffer | undefined;
  readonly credential: { readonly password: string } | ScramKeys;
  /** Fresh random text: printable ASCII without a comma, for example base64 of 18 random bytes. */
  readonly nonce: string;
}

/** What a server's challenge asks for: work to be done elsewhere, or a message to send. */
export type ScramChallenge =
  | { readonly kind: "derive"; readonly password: string; readonly salt: Buffer; readonly iterations: number }
  | { readonly kind: "send"; readonly data: Buffer };

type State = "start" | "challenge" | "derive" | "verify" | "verified" | "failed";

export class ScramClient {
  readonly #options: ScramClientOptions;
  #state: State = "start";
  #plus = false;
  /** gs2-header: what we say about channel binding, repeated in the final message. */
  #header = "";
  /** client-first-message-bare, then with ",server-first-message". */
  #transcript = "";
  #serverNonce = "";
  #authMessage = "";
  #keys: ScramKeys | undefined;

  constructor(options: ScramClientOptions) {
    assert(isNonce(options.nonce), "a SCRAM nonce is printable and has no comma");
    this.#options = options;
  }

  /** True once the server has proved that it knows the password. */
  get verified(): boolean {
    return this.#state === "verified";
  }

  /** True if the mechanism chosen is bound to the TLS channel. */
  get channelBound(): boolean {
    return this.#plus;
  }

  /** The keys of this exchange once it is verified: they stand for the password at the same server. */
  get keys(): ScramKeys | undefined {
    return this.verified ? this.#keys : undefined;
  }

  /**
   * The mechanism chosen and the client-first-message for SASLInitialResponse. The user name in it is empty:
   * PostgreSQL takes the one of the startup message.
   *
   * @throws PeerError 08P01 if the exchange already began, if no mechanism fits, or if -PLUS is offered
   *   without TLS; `peer.channel_binding_required`, 28000, if binding is required and cannot be had.
   */
  initial(): { mechanism: string; data: Buffer } {
    this.#expect("start", "duplicate SASL authentication request");
    this.#state = "failed";
    const mechanism = this.#chooseMechanism();
    this.#plus = mechanism === scramSha256Plus;
    this.#header = this.#gs2Header();
    this.#transcript = `n=,r=${this.#options.nonce}`;
    this.#state = "challenge";
    return { mechanism, data: Buffer.from(this.#header + this.#transcript, "latin1") };
  }

  /**
   * Takes the server-first-message (the data of AuthenticationSASLContinue).
   *
   * @throws PeerError 08P01 if it is malformed, if its nonce does not extend ours, or if it asks for fewer
   *   than 1 or more than 1,000,000 rounds.
   */
  challenge(serverFirst: Buffer): ScramChallenge {
    this.#expect("challenge", "unexpected SASL challenge");
    this.#state = "failed";
    const text = serverFirst.toString("latin1");
    const { nonce, salt, iterations } = readServerFirst(text);
    const ours = this.#options.nonce;
    if (!nonce.startsWith(ours) || nonce.length === ours.length || !isNonce(nonce)) {
      throw protocolViolation("invalid SCRAM response (nonce mismatch)", {
        code: "peer.scram_nonce_mismatch",
        source: "server",
      });
    }
    this.#serverNonce = nonce;
    this.#transcript += `,${text}`;
    this.#state = "derive";
    const { credential } = this.#options;
    if ("clientKey" in credential) return { kind: "send", data: this.#finalMessage(credential) };
    return { kind: "derive", password: credential.password, salt, iterations };
  }

  /** Takes SaltedPassword (32 bytes) for the last challenge; gives the client-final-message. */
  derived(saltedPassword: Buffer): Buffer {
    assert(this.#state === "derive", "a salted password was asked for");
    assert(saltedPassword.length === scramKeyBytes, "a salted password has 32 bytes");
    return this.#finalMessage(scramKeys(saltedPassword));
  }

  /**
   * Takes the server-final-message (the data of AuthenticationSASLFinal).
   *
   * @throws PeerError 08P01 if it is malformed or comes too early; `peer.scram_server_signature`, 28P01, if
   *   the server does not know the password; `peer.scram_server_error`, 28P01, if it names an error.
   */
  verify(serverFinal: Buffer): void {
    this.#expect("verify", "unexpected end of the SASL exchange");
    this.#state = "failed";
    const [first, ...rest] = readAttributes(serverFinal.toString("latin1"), "server");
    if (first?.name === "e") throw serverRefused(first.value);
    const signature = decodeBase64(expectAttribute(first, "v", "server-final-message", "server"));
    if (rest.length > 0) throw malformed("Garbage at the end of server-final-message.", "server");
    if (signature?.length !== scramKeyBytes) throw malformed("Invalid server signature.", "server");
    assert(this.#keys !== undefined, "the keys are known before the server is verified");
    if (!timingSafeEqual(signature, hmac(this.#keys.serverKey, this.#authMessage))) {
      throw new PeerError("incorrect server signature", {
        code: "peer.scram_server_signature",
        sqlstate: "28P01",
        source: "server",
      });
    }
    this.#state = "verified";
  }

  #expect(state: State, message: string): void {
    if (this.#state === state) return;
    this.#state = "failed";
    throw protocolViolation(message, { code: "peer.sasl_out_of_order", source: "server" });
  }

  #chooseMechanism(): string {
    const { mechanisms, channelBinding, tls, endPoint } = this.#options;
    const offersPlus = mechanisms.includes(scramSha256Plus);
    if (offersPlus && !tls) {
      throw protocolViolation("server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection", {
        code: "peer.sasl_mechanism",
        source: "server",
      });
    }
    if (offersPlus && channelBinding !== "disable" && endPoint !== undefined) return scramSha256Plus;
    if (channelBinding === "require") {
      const why = offersPlus
        ? "the server's certificate has no hash to bind to"
        : "server did not offer an authentication method that supports channel binding";
      throw new PeerError(`channel binding is required, but ${why}`, {
        code: "peer.channel_binding_required",
        sqlstate: "28000",
        source: "server",
      });
    }
    if (mechanisms.includes(scramSha256)) return scramSha256;
    throw protocolViolation("none of the server's SASL authentication mechanisms are supported", {
      code: "peer.sasl_mechanism",
      source: "server",
    });
  }

  /**
   * `p`: bound. `y`: we could bind, but you did not offer it; a server that did offer it then knows that
   * somebody in between took the offer away. `n`: we cannot or may not bind. A certificate without a hash
   * (Ed25519) is a case of "cannot": `y` would make an honest server that offers -PLUS refuse us.
   */
  #gs2Header(): string {
    const { channelBinding, tls, endPoint } = this.#options;
    if (this.#plus) return `p=${channelBindingType},,`;
    return tls && endPoint !== undefined && channelBinding !== "disable" ? "y,," : "n,,";
  }

  #finalMessage(keys: ScramKeys): Buffer {
    this.#keys = keys;
    const binding: Buffer[] = [Buffer.from(this.#header, "latin1")];
    if (this.#plus) {
      assert(this.#options.endPoint !== undefined, "a bound exchange has an end point");
      binding.push(this.#options.endPoint);
    }
    const withoutProof = `c=${Buffer.concat(binding).toString("base64")},r=${this.#serverNonce}`;
    this.#authMessage = `${this.#transcript},${withoutProof}`;
    const proof = xorKeys(keys.clientKey, hmac(sha256(keys.clientKey), this.#authMessage));
    this.#state = "verify";
    return Buffer.from(`${withoutProof},p=${proof.toString("base64")}`, "latin1");
  }
}

/** libpq takes no extensions in this message, and neither do we. */
function readServerFirst(text: string): { nonce: string; salt: Buffer; iterations: number } {
  const [first, second, third, ...rest] = readAttributes(text, "server");
  const nonce = expectAttribute(first, "r", "server-first-message", "server");
  const salt = decodeBase64(expectAttribute(second, "s", "server-first-message", "server"));
  if (salt === undefined || salt.length === 0) throw malformed("Invalid salt.", "server");
  const rounds = expectAttribute(third, "i", "server-first-message", "server");
  const iterations = parseIterations(rounds, scramIterationsMax);
  if (iterations === undefined) {
    throw malformed(`The iteration count must be between 1 and ${scramIterationsMax}.`, "server");
  }
  if (rest.length > 0) throw malformed("Garbage at the end of server-first-message.", "server");
  return { nonce, salt, iterations };
}

/** The server's own word for the failure is shown only if it looks like one of RFC 5802's. */
function serverRefused(word: string): PeerError {
  const shown = /^[a-z0-9-]{1,64}$/.test(word) ? word : "an unprintable error";
  return new PeerError(`error received from server in SCRAM exchange: ${shown}`, {
    code: "peer.scram_server_error",
    sqlstate: "28P01",
    source: "server",
  });
}
