/**
 * Messages on their way to the server, one behind the other in one buffer that is used again and again. A
 * query is four or five messages; as objects of their own they would cost more than the query's text.
 */
import { OperationError } from "../../base/errors.ts";
import { Frontend, largeMessageBytesMax } from "../../wire/constants.ts";

/** A parameter as Bind carries it: text, bytes of the type's binary format, or NULL. */
export type EncodedParameter = string | Uint8Array | null;

const bytesStart = 4096;
/** A buffer that one long statement has made grow beyond this is not kept. */
const bytesKept = 64 * 1024;
/** Parameters that Bind can count (docs 54.7). */
const parametersMax = 65_535;

const statementLetter = 0x53; // S
const portalLetter = 0x50; // P
/** UTF-16 code units become at most three bytes each in UTF-8. */
const bytesPerUnitMax = 3;
/** Texts up to here get room for the worst case; longer ones are measured. */
const unitsMeasured = 1024;

export class Outgoing {
  #buffer: Buffer = Buffer.allocUnsafeSlow(bytesStart);
  #length = 0;
  #messageStart = 0;

  get length(): number {
    return this.#length;
  }

  /** Query: one or more statements by the simple protocol. */
  query(sql: string): void {
    this.#begin(Frontend.query);
    this.#text(sql);
    this.#end();
  }

  /** Parse; `types` are the parameters' object identifiers, or none. */
  parse(statement: string, sql: string, types: readonly number[]): void {
    this.#begin(Frontend.parse);
    this.#text(statement);
    this.#text(sql);
    this.#reserve(2 + 4 * types.length);
    this.#length = this.#buffer.writeUInt16BE(types.length, this.#length);
    for (const type of types) this.#length = this.#buffer.writeUInt32BE(type, this.#length);
    this.#end();
  }

  /** Bind to the unnamed portal. Every column of the result comes in text (0) or binary (1) format. */
  bind(statement: string, values: readonly EncodedParameter[], resultFormat: 0 | 1): void {
    if (values.length > parametersMax) throw tooManyParameters(values.length);
    this.#begin(Frontend.bind);
    this.#byte(0);
    this.#text(statement);
    this.#formats(values);
    this.#int16(values.length);
    for (const value of values) this.#value(value);
    // None means all text.
    this.#int16(resultFormat);
    if (resultFormat === 1) this.#int16(1);
    this.#end();
  }

  describeStatement(statement: string): void {
    this.#begin(Frontend.describe);
    this.#byte(statementLetter);
    this.#text(statement);
    this.#end();
  }

  /** Describe of the unnamed portal. */
  describePortal(): void {
    this.#begin(Frontend.describe);
    this.#byte(portalLetter);
    this.#byte(0);
    this.#end();
  }

  /** Execute of the unnamed portal, to its end. */
  execute(): void {
    this.#begin(Frontend.execute);
    this.#byte(0);
    this.#reserve(4);
    this.#length = this.#buffer.writeInt32BE(0, this.#length);
    this.#end();
  }

  closeStatement(statement: string): void {
    this.#begin(Frontend.close);
    this.#byte(statementLetter);
    this.#text(statement);
    this.#end();
  }

  sync(): void {
    this.#begin(Frontend.sync);
    this.#end();
  }

  flush(): void {
    this.#begin(Frontend.flush);
    this.#end();
  }

  terminate(): void {
    this.#begin(Frontend.terminate);
    this.#end();
  }

  copyDone(): void {
    this.#begin(Frontend.copyDone);
    this.#end();
  }

  copyFail(reason: string): void {
    this.#begin(Frontend.copyFail);
    this.#text(reason);
    this.#end();
  }

  copyData(data: Uint8Array): void {
    this.#begin(Frontend.copyData);
    this.#bytes(data);
    this.#end();
  }

  /** The header of a CopyData whose `bytes` of data are written by themselves. */
  copyDataHeader(bytes: number): void {
    this.#reserve(5);
    this.#buffer[this.#length] = Frontend.copyData;
    this.#length = this.#buffer.writeUInt32BE(bytes + 4, this.#length + 1);
  }

  /** Forgets what was appended since the outgoing bytes were this long: a message could not be built. */
  rewind(length: number): void {
    this.#length = length;
  }

  /** What has been collected; valid until the next message unless `keep` is called. */
  take(): Buffer {
    const taken = this.#buffer.subarray(0, this.#length);
    this.#length = 0;
    if (this.#buffer.length > bytesKept) this.keep();
    return taken;
  }

  /** Bytes that were taken are still being read from: the next message goes elsewhere. */
  keep(): void {
    this.#buffer = Buffer.allocUnsafeSlow(bytesStart);
  }

  #begin(type: number): void {
    this.#reserve(5);
    this.#messageStart = this.#length;
    this.#buffer[this.#length] = type;
    this.#length += 5;
  }

  #end(): void {
    this.#checkLength(0);
    this.#buffer.writeUInt32BE(this.#length - this.#messageStart - 1, this.#messageStart + 1);
  }

  /** Format codes: none if all values are text, else one each. */
  #formats(values: readonly EncodedParameter[]): void {
    const binary = values.some((value) => value !== null && typeof value !== "string");
    if (!binary) return this.#int16(0);
    this.#int16(values.length);
    for (const value of values) this.#int16(value === null || typeof value === "string" ? 0 : 1);
  }

  #value(value: EncodedParameter): void {
    this.#reserve(4);
    const lengthAt = this.#length;
    this.#length += 4;
    if (value === null) {
      this.#buffer.writeInt32BE(-1, lengthAt);
      return;
    }
    if (typeof value === "string") this.#characters(value);
    else this.#bytes(value);
    this.#buffer.writeInt32BE(this.#length - lengthAt - 4, lengthAt);
  }

  /** A string and its terminating NUL. */
  #text(text: string): void {
    this.#characters(text);
    this.#byte(0);
  }

  #characters(text: string): void {
    if (text.length > 0) checkText(text);
    const isLong = text.length > unitsMeasured;
    const bytes = isLong ? Buffer.byteLength(text) : text.length * bytesPerUnitMax;
    if (isLong) this.#checkLength(bytes);
    this.#reserve(bytes);
    this.#length += this.#buffer.write(text, this.#length, "utf8");
  }

  #bytes(bytes: Uint8Array): void {
    this.#checkLength(bytes.length);
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** The server would take a longer message for a broken one, and end the session with all that waits. */
  #checkLength(bytes: number): void {
    if (this.#length - this.#messageStart + bytes > largeMessageBytesMax) throw tooLong();
  }

  #byte(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#length++] = value;
  }

  #int16(value: number): void {
    this.#reserve(2);
    this.#length = this.#buffer.writeUInt16BE(value, this.#length);
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

/**
 * What PostgreSQL cannot hold is refused here: NUL would end a text early, and half a surrogate pair would
 * silently become another character.
 */
function checkText(text: string): void {
  if (!text.includes("\0") && text.isWellFormed()) return;
  const what = text.includes("\0") ? "the character U+0000" : "half of a surrogate pair";
  throw new OperationError(`a text for PostgreSQL cannot hold ${what}`, {
    code: text.includes("\0") ? "wire.nul_in_text" : "client.bad_text",
    sqlstate: "22021",
    source: "internal",
  });
}

function tooLong(): OperationError {
  return new OperationError(`a statement and its parameters have at most ${largeMessageBytesMax} bytes`, {
    code: "client.bad_parameter",
    sqlstate: "54000",
    source: "internal",
  });
}

function tooManyParameters(count: number): OperationError {
  return new OperationError(`a statement has at most ${parametersMax} parameters, not ${count}`, {
    code: "client.too_many_parameters",
    sqlstate: "54023",
    source: "internal",
  });
}
