/**
 * The server half of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, without I/O: `first` takes the client's first
 * message and gives the challenge, `final` checks the proof and gives our signature. Both throw at the first
 * rule broken; the exchange is then over. Rules follow PostgreSQL's auth-scram.c.
 *
 * A `doomed` exchange (no such user, or no usable secret) computes all that a real one does and fails at its
 * end with the same error as a wrong password.
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
  readAttributes,
  scramKeyBytes,
  scramSha256,
  scramSha256Plus,
  sha256,
  xorKeys,
} from "./scram.ts";
import type { ScramSecret } from "./secret.ts";

export interface ScramServerOptions {
  readonly secret: ScramSecret;
  readonly doomed: boolean;
  /** True if the connection is encrypted. */
  readonly tls: boolean;
  /** tls-server-end-point data of our own certificate; undefined if it has none (see channel-binding.ts). */
  readonly endPoint: Buffer | undefined;
  /** Fresh random text: printable ASCII without a comma; appended to the client's. */
  readonly nonce: string;
}

export class ScramServer {
  readonly #options: ScramServerOptions;
  #state: "start" | "challenged" | "ended" = "start";
  #plus = false;
  /** gs2-header as the client sent it. */
  #header = "";
  #nonce = "";
  /** client-first-message-bare "," server-first-message. */
  #transcript = "";

  constructor(options: ScramServerOptions) {
    assert(isNonce(options.nonce), "a SCRAM nonce is printable and has no comma");
    this.#options = options;
  }

  /** What to offer in AuthenticationSASL: -PLUS first, if there is a channel to bind to. */
  get mechanisms(): string[] {
    return scramMechanisms(this.#options.tls, this.#options.endPoint);
  }

  /**
   * Takes the mechanism and the client-first-message; gives the server-first-message.
   *
   * @throws PeerError 08P01 if the mechanism was not offered or the message is malformed; 0A000 for an
   *   authorization identity or a mandatory extension; `peer.channel_binding_negotiation`, 28000, if the
   *   client could bind to the channel but did not see our offer.
   */
  first(mechanism: string, data: Buffer): Buffer {
    assert(this.#state === "start", "a SCRAM exchange has one first message");
    this.#state = "ended";
    if (!this.mechanisms.includes(mechanism)) {
      throw protocolViolation("client selected an invalid SASL authentication mechanism", {
        code: "peer.sasl_mechanism",
      });
    }
    this.#plus = mechanism === scramSha256Plus;
    const { header, flag, bare } = readGs2Header(data.toString("latin1"));
    this.#checkFlag(flag);
    const { secret, nonce } = this.#options;
    this.#header = header;
    this.#nonce = readClientNonce(bare) + nonce;
    const serverFirst = `r=${this.#nonce},s=${secret.salt.toString("base64")},i=${secret.iterations}`;
    this.#transcript = `${bare},${serverFirst}`;
    this.#state = "challenged";
    return Buffer.from(serverFirst, "latin1");
  }

  /**
   * Takes the client-final-message; gives the server-final-message and the client's keys, with which we can log
   * in for it at any server that holds the same secret.
   *
   * @throws PeerError 08P01 if the message is malformed or its nonce is not the one agreed on;
   *   `peer.channel_binding_failed`, 28000, if the client is bound to another channel;
   *   `peer.authentication_failed`, 28P01, if the proof is wrong or the exchange was doomed.
   */
  final(data: Buffer): { data: Buffer } & ScramKeys {
    assert(this.#state === "challenged", "a SCRAM exchange has one final message, after the first");
    this.#state = "ended";
    const { binding, nonce, proof, withoutProof } = readClientFinal(data.toString("latin1"));
    this.#checkBinding(binding);
    if (nonce !== this.#nonce) {
      throw protocolViolation("invalid SCRAM response", {
        code: "peer.scram_nonce_mismatch",
        detail: "Nonce does not match.",
      });
    }
    const { secret, doomed } = this.#options;
    const authMessage = `${this.#transcript},${withoutProof}`;
    const clientKey = xorKeys(proof, hmac(secret.storedKey, authMessage));
    const signature = hmac(secret.serverKey, authMessage);
    const proved = timingSafeEqual(sha256(clientKey), secret.storedKey);
    if (!proved || doomed) throw saslFailed();
    return {
      data: Buffer.from(`v=${signature.toString("base64")}`, "latin1"),
      clientKey,
      serverKey: secret.serverKey,
    };
  }

  #checkFlag(flag: string): void {
    const bound = flag.startsWith("p");
    if (bound !== this.#plus) {
      throw malformed(
        bound
          ? "The client selected SCRAM-SHA-256 without channel binding, but sent channel binding data."
          : "The client selected SCRAM-SHA-256-PLUS, but sent no channel binding data.",
        "client",
      );
    }
    if (bound && flag !== `p=${channelBindingType}`) {
      throw protocolViolation("unsupported SCRAM channel-binding type", { code: "peer.scram_malformed" });
    }
    if (flag === "y" && this.mechanisms.includes(scramSha256Plus)) {
      throw new PeerError("SCRAM channel binding negotiation error", {
        code: "peer.channel_binding_negotiation",
        sqlstate: "28000",
        source: "client",
        detail:
          "The client supports SCRAM channel binding but thinks the server does not. However, this server does support channel binding.",
      });
    }
  }

  #checkBinding(binding: string): void {
    const expected: Buffer[] = [Buffer.from(this.#header, "latin1")];
    if (this.#plus && this.#options.endPoint !== undefined) expected.push(this.#options.endPoint);
    if (binding === Buffer.concat(expected).toString("base64")) return;
    if (!this.#plus) {
      throw protocolViolation("unexpected SCRAM channel-binding attribute in client-final-message", {
        code: "peer.scram_malformed",
      });
    }
    throw new PeerError("SCRAM channel binding check failed", {
      code: "peer.channel_binding_failed",
      sqlstate: "28000",
      source: "client",
    });
  }
}

/** The mechanisms to offer on a connection: -PLUS first, if it is encrypted and the certificate has a hash. */
export function scramMechanisms(tls: boolean, endPoint: Buffer | undefined): string[] {
  return tls && endPoint !== undefined ? [scramSha256Plus, scramSha256] : [scramSha256];
}

/** The one answer to a wrong password, an unknown user and an unusable secret: SQLSTATE 28P01, PgBouncer's text. */
function saslFailed(): PeerError {
  return new PeerError("SASL authentication failed", {
    code: "peer.authentication_failed",
    sqlstate: "28P01",
    source: "client",
  });
}

/** gs2-header = flag "," [authzid] ","; the rest is client-first-message-bare. */
function readGs2Header(text: string): { header: string; flag: string; bare: string } {
  const match = /^([ny]|p=[A-Za-z0-9.-]+),([^,]*),/.exec(text);
  if (match === null) throw malformed("Unexpected channel-binding flag.", "client");
  const [header, flag = "", authorizationIdentity = ""] = match;
  if (authorizationIdentity.startsWith("a=")) {
    throw unsupported("client uses authorization identity, but it is not supported");
  }
  if (authorizationIdentity !== "")
    throw malformed("Unexpected attribute in client-first-message.", "client");
  return { header, flag, bare: text.slice(header.length) };
}

/** The user name is read and not used: the one of the startup message counts (docs 54.3.1). */
function readClientNonce(bare: string): string {
  const [first, second] = readAttributes(bare, "client");
  if (first?.name === "m") throw unsupported("client requires an unsupported SCRAM extension");
  expectAttribute(first, "n", "client-first-message", "client");
  const nonce = expectAttribute(second, "r", "client-first-message", "client");
  if (!isNonce(nonce)) throw malformed("Non-printable characters in SCRAM nonce.", "client");
  return nonce;
}

interface ClientFinal {
  readonly binding: string;
  readonly nonce: string;
  readonly proof: Buffer;
  /** What the proof is over: all of the message before it. */
  readonly withoutProof: string;
}

/** Optional extensions may stand between the nonce and the proof, which is last. */
function readClientFinal(text: string): ClientFinal {
  const attributes = readAttributes(text, "client");
  const binding = expectAttribute(attributes[0], "c", "client-final-message", "client");
  const nonce = expectAttribute(attributes[1], "r", "client-final-message", "client");
  const proofText = expectAttribute(attributes.at(-1), "p", "client-final-message", "client");
  const proof = decodeBase64(proofText);
  if (proof?.length !== scramKeyBytes) throw malformed("Malformed proof in client-final-message.", "client");
  return { binding, nonce, proof, withoutProof: text.slice(0, -(proofText.length + ",p=".length)) };
}

function unsupported(message: string): PeerError {
  return protocolViolation(message, { code: "peer.scram_unsupported", sqlstate: "0A000" });
}
