/**
 * The first packets of a connection, which have a length but no type: StartupMessage, SSLRequest,
 * GSSENCRequest, CancelRequest (docs 54.7), and what is left of protocol 2. Several may follow each other:
 * a request for encryption, then the startup itself.
 *
 * The rules are those of PostgreSQL's backend_startup.c (ProcessStartupPacket): the length is checked before
 * anything is kept, names and values are NUL-terminated and the terminator of the list is the last byte.
 */
import { assert } from "../base/assert.ts";
import { type PeerError, protocolViolation } from "../base/errors.ts";
import {
  Backend,
  cancelKeyBytesMax,
  cancelKeyBytesMin,
  cancelRequestCode,
  gssencRequestCode,
  sslRequestCode,
  startupBytesMax,
  startupBytesMin,
} from "./constants.ts";
import { Reader } from "./reader.ts";
import { decodeText, encodeText } from "./text.ts";
import { Writer } from "./writer.ts";

/** What one packet asks for. */
export type StartupRequest =
  | {
      /** A session of protocol 3; any minor. Parameters as sent: in order, duplicates kept (the last one counts). */
      readonly kind: "startup";
      readonly major: 3;
      readonly minor: number;
      readonly parameters: [name: string, value: string][];
    }
  | { readonly kind: "ssl" }
  | { readonly kind: "gssenc" }
  | {
      readonly kind: "cancel";
      /** Signed 32 bits, as in BackendKeyData. */
      readonly pid: number;
      /** A copy: 4 to 256 bytes. A secret. */
      readonly key: Buffer;
    }
  /** Protocol 2, obsolete since PostgreSQL 14; answered with {@link encodeV2Error}. */
  | { readonly kind: "v2"; readonly user: string; readonly database: string }
  /** Any other major version, or an unknown request. Major below 3: answered with {@link encodeV2Error}. */
  | { readonly kind: "unsupported"; readonly major: number; readonly minor: number };

const lengthBytes = 4;
const nothing: Buffer = Buffer.alloc(0);
/** A packet that is not whole grows its buffer from here, doubling: a claimed length alone allocates nothing. */
const keepBytesStart = 512;
/** First byte of a TLS record that carries a handshake (RFC 8446, 5.1). No packet of ours can begin with it. */
const tlsHandshakeRecord = 0x16;

/**
 * Collects the packets before a session begins. `next` is called until it answers undefined, then `feed`
 * again; chunks are not kept, so they may be reused after that. After a PeerError it stays broken.
 */
export class StartupFramer {
  /** What was fed, and how far it has been read. */
  #chunk: Buffer = nothing;
  #position = 0;
  /** The beginning of a packet that is not whole yet. */
  #kept: Buffer = nothing;
  #keptLength = 0;
  #packets = 0;
  #broken: PeerError | undefined;

  /** Hands in the next bytes. What was fed before must have been read until `next` answered undefined. */
  feed(chunk: Buffer): void {
    assert(
      this.#position === this.#chunk.length || this.#broken !== undefined,
      "a framer is fed only when it has been read to the end",
    );
    this.#chunk = chunk;
    this.#position = 0;
  }

  /**
   * True if the connection begins with a TLS handshake instead of a packet (sslnegotiation=direct). Look
   * before the first `next`, which would take it for a length out of range; the bytes are in `takeRest`.
   */
  get firstByteIsTls(): boolean {
    return (
      this.#packets === 0 && this.#keptLength === 0 && this.#chunk[this.#position] === tlsHandshakeRecord
    );
  }

  /** Bytes kept of a packet that is not whole yet. */
  get keptBytes(): number {
    return this.#kept.length;
  }

  /**
   * The next packet, or undefined if it has not all come.
   *
   * @throws PeerError 08P01, source `client`: `peer.startup_length` for a length out of range,
   *   `peer.malformed_startup` for contents that do not add up.
   */
  next(): StartupRequest | undefined {
    if (this.#broken !== undefined) throw this.#broken;
    try {
      return this.#nextPacket();
    } catch (error) {
      this.#broken = error as PeerError; // the parsers throw nothing else
      throw error;
    }
  }

  /** What has been fed and belongs to no packet that `next` answered; the framer forgets it. */
  takeRest(): Buffer {
    const rest = this.#chunk.subarray(this.#position);
    const whole =
      this.#keptLength === 0 ? rest : Buffer.concat([this.#kept.subarray(0, this.#keptLength), rest]);
    this.#chunk = nothing;
    this.#position = 0;
    this.#forgetKept();
    return whole;
  }

  #nextPacket(): StartupRequest | undefined {
    if (this.#keptLength > 0) return this.#nextFromKept();
    const available = this.#chunk.length - this.#position;
    if (available >= lengthBytes) {
      const total = checkedTotal(this.#chunk.readUInt32BE(this.#position));
      if (total <= available) {
        const start = this.#position;
        this.#position += total;
        this.#packets += 1;
        return parse(this.#chunk, start + lengthBytes, start + total);
      }
    }
    this.#keep(available);
    return undefined;
  }

  #nextFromKept(): StartupRequest | undefined {
    if (this.#keptLength < lengthBytes) this.#keep(lengthBytes - this.#keptLength);
    if (this.#keptLength < lengthBytes) return undefined;
    const total = checkedTotal(this.#kept.readUInt32BE(0));
    this.#keep(total - this.#keptLength);
    if (this.#keptLength < total) return undefined;
    const packet = this.#kept;
    this.#forgetKept();
    this.#packets += 1;
    return parse(packet, lengthBytes, total);
  }

  /** Moves up to `bytes` from the chunk to what is kept. */
  #keep(bytes: number): void {
    const taken = Math.min(bytes, this.#chunk.length - this.#position);
    const needed = this.#keptLength + taken;
    if (needed > this.#kept.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.#kept.length * 2, keepBytesStart));
      this.#kept.copy(grown, 0, 0, this.#keptLength);
      this.#kept = grown;
    }
    this.#chunk.copy(this.#kept, this.#keptLength, this.#position, this.#position + taken);
    this.#keptLength = needed;
    this.#position += taken;
    if (this.#position === this.#chunk.length) {
      this.#chunk = nothing;
      this.#position = 0;
    }
  }

  #forgetKept(): void {
    this.#kept = nothing;
    this.#keptLength = 0;
  }
}

/** A startup packet: `version` such as 196608, parameters with `user` first by custom. */
export function encodeStartup(
  version: number,
  parameters: readonly (readonly [name: string, value: string])[],
): Buffer {
  const writer = new Writer().int32(version);
  for (const [name, value] of parameters) {
    assert(name !== "", "a startup parameter has a name");
    writer.text(name).text(value);
  }
  const packet = writer.byte(0).finish();
  assert(packet.length - lengthBytes <= startupBytesMax, "a startup packet of at most 10,000 bytes");
  return packet;
}

/** Asks for TLS; the server answers one byte, 'S' or 'N' (or an ErrorResponse, before 7.0). */
export const sslRequest: Buffer = new Writer().int32(sslRequestCode).finish();
/** Asks for GSSAPI encryption; the server answers one byte, 'G' or 'N'. */
export const gssencRequest: Buffer = new Writer().int32(gssencRequestCode).finish();

/** `pid` and `key` as BackendKeyData gave them. */
export function encodeCancelRequest(pid: number, key: Buffer): Buffer {
  assert(
    key.length >= cancelKeyBytesMin && key.length <= cancelKeyBytesMax,
    "a cancel key of 4 to 256 bytes",
  );
  return new Writer().int32(cancelRequestCode).int32(pid).bytes(key).finish();
}

/** A FATAL error in the form of protocol 2 (elog.c send_message_to_frontend): 'E', text, newline, NUL. */
export function encodeV2Error(message: string): Buffer {
  return Buffer.concat([Buffer.of(Backend.errorResponse), encodeText(`FATAL:  ${message}\n`), Buffer.of(0)]);
}

/** Checks a length word and answers the length of the whole packet, the word itself included. */
function checkedTotal(length: number): number {
  const bodyBytes = length - lengthBytes;
  if (bodyBytes < startupBytesMin || bodyBytes > startupBytesMax) {
    throw protocolViolation("invalid length of startup packet", { code: "peer.startup_length" });
  }
  return length;
}

function parse(buffer: Buffer, start: number, end: number): StartupRequest {
  const version = buffer.readUInt32BE(start);
  const body = start + 4;
  switch (version) {
    case sslRequestCode:
      if (body !== end) throw malformed("invalid length of SSL request packet");
      return { kind: "ssl" };
    case gssencRequestCode:
      if (body !== end) throw malformed("invalid length of GSSENC request packet");
      return { kind: "gssenc" };
    case cancelRequestCode:
      return parseCancel(buffer, body, end);
    default:
  }
  const major = version >>> 16;
  const minor = version & 0xffff;
  if (major === 3) return { kind: "startup", major, minor, parameters: parseParameters(buffer, body, end) };
  if (major === 2) return parseV2(buffer, body, end);
  return { kind: "unsupported", major, minor };
}

function parseCancel(buffer: Buffer, start: number, end: number): StartupRequest {
  const keyBytes = end - start - 4;
  if (keyBytes < cancelKeyBytesMin || keyBytes > cancelKeyBytesMax) {
    throw malformed("invalid length of query cancel packet");
  }
  return {
    kind: "cancel",
    pid: buffer.readInt32BE(start),
    key: Buffer.from(buffer.subarray(start + 4, end)),
  };
}

function parseParameters(buffer: Buffer, start: number, end: number): [string, string][] {
  // Checked first, so that every string below ends before the end of the packet.
  if (start === end || buffer[end - 1] !== 0) throw malformed(expectedTerminator);
  const reader = new Reader(buffer, start, end, "client");
  const parameters: [string, string][] = [];
  for (;;) {
    if (reader.remaining === 0) throw malformed(expectedTerminator);
    const name = reader.text();
    if (name === "") break;
    if (reader.remaining === 0) throw malformed(expectedTerminator);
    parameters.push([name, reader.text()]);
  }
  if (reader.remaining !== 0) throw malformed(expectedTerminator);
  return parameters;
}

const expectedTerminator = "invalid startup packet layout: expected terminator as last byte";

/** Protocol 2's packet is a structure: database 64 bytes, user 32, options 64, unused 64, terminal 64. */
function parseV2(buffer: Buffer, start: number, end: number): StartupRequest {
  const field = (offset: number, length: number): string => {
    const from = Math.min(start + offset, end);
    const to = Math.min(from + length, end);
    const terminator = buffer.indexOf(0, from);
    return decodeText(buffer, from, terminator >= 0 && terminator < to ? terminator : to);
  };
  return { kind: "v2", database: field(0, 64), user: field(64, 32) };
}

function malformed(message: string): PeerError {
  return protocolViolation(message, { code: "peer.malformed_startup" });
}

export { encodeNegotiateProtocolVersion } from "./encode-backend.ts";
