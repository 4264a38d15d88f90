/**
 * As much of the protocol as a load generator needs: building its few requests, and walking over replies by
 * their lengths. Deliberately not the product's own codec: what measures it must not share its mistakes.
 */

export type QueryProtocol = "simple" | "extended" | "prepared";

/** Type bytes of the replies that mean something here. */
export const reply = {
  authentication: 0x52,
  parameterStatus: 0x53,
  error: 0x45,
  ready: 0x5a,
  copyIn: 0x47,
  copyData: 0x64,
} as const;

const sync = message("S", []);
const execute = message("E", [text(""), int32(0)]);
const describePortal = message("D", [Buffer.from("P"), text("")]);

export function startup(user: string, database: string): Buffer {
  const parameters = ["user", user, "database", database, "application_name", "pgsluice bench"].map(text);
  const body = Buffer.concat([int32(196_608), ...parameters, Buffer.from([0])]);
  return Buffer.concat([int32(body.length + 4), body]);
}

export function query(sql: string): Buffer {
  return message("Q", [text(sql)]);
}

/** What PQsendPrepare sends. */
export function prepare(name: string, sql: string): Buffer {
  return Buffer.concat([parse(name, sql), sync]);
}

/** What PQsendQueryParams sends, with all parameters as text. */
export function queryParams(sql: string, values: readonly string[]): Buffer {
  return Buffer.concat([parse("", sql), bind("", values), describePortal, execute, sync]);
}

/** What PQsendQueryPrepared sends. */
export function queryPrepared(name: string, values: readonly string[]): Buffer {
  return Buffer.concat([bind(name, values), describePortal, execute, sync]);
}

export function copyData(chunk: Buffer): Buffer {
  return message("d", [chunk]);
}

/** CopyData messages with all of `data`. */
export function* copyPieces(data: Buffer): Generator<Buffer> {
  const piece = 32_768;
  for (let at = 0; at < data.length; at += piece) yield copyData(data.subarray(at, at + piece));
}

export const copyDone: Buffer = message("c", []);
export const terminate: Buffer = message("X", []);

export interface ReplyHandler {
  /** A message has come whole; `body` is empty unless `keeps` said so. */
  onReply(type: number, body: Buffer): void;
  /** Whether a message's body is wanted. */
  keeps(type: number): boolean;
}

const nothing = Buffer.alloc(0);

/** Cuts a stream of replies into messages; bodies that nobody wants are passed over, not collected. */
export class ReplyWalker {
  readonly #handler: ReplyHandler;
  readonly #header: Buffer = Buffer.alloc(5);
  #headerBytes = 0;
  #left = 0;
  #kept: Buffer[] | undefined;

  constructor(handler: ReplyHandler) {
    this.#handler = handler;
  }

  feed(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#headerBytes < 5) {
        const taken = chunk.copy(this.#header, this.#headerBytes, at, at + 5 - this.#headerBytes);
        this.#headerBytes += taken;
        at += taken;
        if (this.#headerBytes < 5) return;
        this.#left = this.#header.readInt32BE(1) - 4;
        this.#kept = this.#handler.keeps(this.#header.readUInt8(0)) ? [] : undefined;
      }
      const taken = Math.min(this.#left, chunk.length - at);
      if (taken > 0) this.#kept?.push(Buffer.from(chunk.subarray(at, at + taken)));
      at += taken;
      this.#left -= taken;
      if (this.#left > 0) return;
      this.#headerBytes = 0;
      this.#handler.onReply(
        this.#header.readUInt8(0),
        this.#kept === undefined ? nothing : Buffer.concat(this.#kept),
      );
    }
  }
}

/** The human-readable message ("M") of an ErrorResponse. */
export function errorText(body: Buffer): string {
  let text = "unknown error";
  for (let at = 0; at < body.length && body[at] !== 0; ) {
    const end = body.indexOf(0, at + 1);
    if (end === -1) break;
    if (body.readUInt8(at) === 0x4d) text = body.toString("utf8", at + 1, end);
    at = end + 1;
  }
  return text;
}

function parse(name: string, sql: string): Buffer {
  return message("P", [text(name), text(sql), int16(0)]);
}

function bind(statement: string, values: readonly string[]): Buffer {
  const parameters = values.flatMap((value) => [int32(Buffer.byteLength(value)), Buffer.from(value)]);
  return message("B", [text(""), text(statement), int16(0), int16(values.length), ...parameters, int16(0)]);
}

function message(type: string, parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 4);
  return Buffer.concat([Buffer.from(type), int32(length), ...parts]);
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

function int16(value: number): Buffer {
  const buffer = Buffer.alloc(2);
  buffer.writeInt16BE(value);
  return buffer;
}

function int32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeInt32BE(value);
  return buffer;
}
