/**
 * What both halves of SCRAM-SHA-256 share (RFC 5802, RFC 7677): the key schedule, the grammar of its
 * messages, the limits.
 *
 *     SaltedPassword = PBKDF2(password, salt, iterations)
 *     ClientKey = HMAC(SaltedPassword, "Client Key")      StoredKey = SHA-256(ClientKey)
 *     ServerKey = HMAC(SaltedPassword, "Server Key")
 *     ClientProof = ClientKey XOR HMAC(StoredKey, AuthMessage)
 *     ServerSignature = HMAC(ServerKey, AuthMessage)
 *
 * AuthMessage joins the three messages exchanged so far as they were on the wire, so a byte changed on the
 * way makes one of the two sides refuse. Messages are therefore handled as latin1 strings: one character is
 * one byte, nothing is normalized, and what is signed is what was received.
 */
import { createHash, createHmac } from "node:crypto";
import type { ErrorSource, PeerError } from "../base/errors.ts";
import { protocolViolation } from "../base/errors.ts";

/** Mechanism names of RFC 7677, as in AuthenticationSASL. */
export const scramSha256 = "SCRAM-SHA-256";
export const scramSha256Plus = "SCRAM-SHA-256-PLUS";
/** Channel binding type of RFC 5929, the only one PostgreSQL knows. */
export const channelBindingType = "tls-server-end-point";

/** Length of every key and of the proof: the output of SHA-256 (scram-common.h SCRAM_SHA_256_KEY_LEN). */
export const scramKeyBytes = 32;
/** Length of the salts PostgreSQL makes (scram-common.h SCRAM_DEFAULT_SALT_LEN). */
export const scramSaltBytes = 16;
/** Random bytes of a nonce before base64 (scram-common.h SCRAM_RAW_NONCE_LEN). */
export const scramNonceBytes = 18;
/**
 * The most rounds of PBKDF2 done because the other side asked for them. RFC 5802 has no limit and neither has
 * libpq; PgBouncer 1.26 set this one because a hostile server could otherwise keep a processor busy for hours.
 */
export const scramIterationsMax = 1_000_000;

/** The two keys that stand for a password: what a client proves with, and what it checks the server with. */
export interface ScramKeys {
  readonly clientKey: Buffer;
  readonly serverKey: Buffer;
}

/** ClientKey and ServerKey of a salted password. */
export function scramKeys(saltedPassword: Buffer): ScramKeys {
  return { clientKey: hmac(saltedPassword, "Client Key"), serverKey: hmac(saltedPassword, "Server Key") };
}

/** HMAC-SHA-256 of a latin1 text. */
export function hmac(key: Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text, "latin1").digest();
}

/** SHA-256; StoredKey is that of ClientKey. */
export function sha256(data: Buffer): Buffer {
  return createHash("sha256").update(data).digest();
}

/** Byte by byte XOR of two keys. */
export function xorKeys(left: Buffer, right: Buffer): Buffer {
  const result = Buffer.alloc(scramKeyBytes);
  for (let i = 0; i < scramKeyBytes; i++) result[i] = left.readUInt8(i) ^ right.readUInt8(i);
  return result;
}

/** Decodes base64 in its one canonical spelling (RFC 4648, padded, no blanks, spare bits zero), else undefined. */
export function decodeBase64(text: string): Buffer | undefined {
  const data = Buffer.from(text, "base64");
  return data.toString("base64") === text ? data : undefined;
}

/** A number of rounds as RFC 5802 spells it (no sign, no leading zero), within `max`; else undefined. */
export function parseIterations(text: string, max: number): number | undefined {
  if (!/^[1-9][0-9]{0,9}$/.test(text)) return undefined;
  const iterations = Number(text);
  return iterations <= max ? iterations : undefined;
}

/** True for what RFC 5802 lets a nonce hold: printable ASCII without a comma, at least one character. */
export function isNonce(text: string): boolean {
  return /^[\x21-\x2b\x2d-\x7e]+$/.test(text);
}

/** One `x=value` of a SCRAM message. */
export interface Attribute {
  readonly name: string;
  readonly value: string;
}

/**
 * The attributes of a SCRAM message, in order. Each has a letter for a name, and no name comes twice: PostgreSQL
 * lets a repeated one pass as an extension, but then two readers may disagree on which of the two counts.
 *
 * @throws PeerError `peer.scram_malformed`, 08P01
 */
export function readAttributes(text: string, source: ErrorSource): Attribute[] {
  if (text.length === 0) throw malformed("The message is empty.", source);
  if (text.includes("\0")) throw malformed("The message holds a zero byte.", source);
  const seen = new Set<string>();
  return text.split(",").map((part) => {
    if (!/^[A-Za-z]=/.test(part)) throw malformed("Attribute expected, but found something else.", source);
    const name = part.slice(0, 1);
    if (seen.has(name)) throw malformed(`Attribute "${name}" comes twice.`, source);
    seen.add(name);
    return { name, value: part.slice(2) };
  });
}

/**
 * The value of the attribute at a position where only `name` may stand. Their order is fixed by RFC 5802.
 *
 * @throws PeerError `peer.scram_malformed`, 08P01
 */
export function expectAttribute(
  attribute: Attribute | undefined,
  name: string,
  message: string,
  source: ErrorSource,
): string {
  if (attribute?.name !== name) throw malformed(`Attribute "${name}" expected in ${message}.`, source);
  return attribute.value;
}

/** The failure for a message that breaks the grammar; `detail` never quotes the message. */
export function malformed(detail: string, source: ErrorSource): PeerError {
  return protocolViolation("malformed SCRAM message", { code: "peer.scram_malformed", source, detail });
}
