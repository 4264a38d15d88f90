/**
 * From DataRow to what the caller sees. A result's columns are looked at once: each gets the decoder of its
 * type and format. After that a row costs its values and nothing else.
 */
import { OperationError, type PeerError, protocolViolation } from "../../base/errors.ts";
import { headerBytes } from "../../wire/constants.ts";
import { decodeBackend } from "../../wire/decode-backend.ts";
import { decodeText } from "../../wire/text.ts";
import type { Decode, TypeCodec } from "../types/codec.ts";
import { copyBytes, type TypeRegistry } from "../types/registry.ts";

/** A column of a result, as RowDescription tells it (docs 54.7). */
export interface Column {
  readonly name: string;
  /** Object identifier of its type. */
  readonly typeOid: number;
  /** pg_attribute.atttypmod; -1 if the type has none. */
  readonly typeModifier: number;
  /** The table it comes from; 0 if it is computed. */
  readonly tableOid: number;
  /** Its number in that table; 0 if it is computed. */
  readonly tableColumn: number;
}

/**
 * What a row becomes: an object by column names (of equal names the last counts), or an array: of values, of the
 * texts that the server sent, or of bytes.
 */
export type RowMode = "object" | "array" | "text" | "raw";
export type ResultFormat = "text" | "binary";

/** How rows of a query are to be read. */
export interface RowOptions {
  readonly rowMode: RowMode;
  readonly format: ResultFormat;
  /** Columns by name, with the codec that each must have. */
  readonly columns: Readonly<Record<string, TypeCodec>> | undefined;
  readonly types: TypeRegistry;
}

export function decodeColumns(buffer: Buffer, start: number, end: number): Column[] {
  const message = decodeBackend(buffer, start, end);
  if (message.kind !== "RowDescription") throw malformed();
  return message.columns.map((column) => ({
    name: column.name,
    typeOid: column.typeOid,
    typeModifier: column.typeModifier,
    tableOid: column.tableOid,
    tableColumn: column.attributeNumber,
  }));
}

export class RowReader {
  readonly columns: readonly Column[];
  readonly options: RowOptions;
  readonly #names: readonly string[];
  readonly #decoders: readonly Decode[];
  /** Which columns were said to be never NULL; undefined if none was. */
  readonly #neverNull: readonly boolean[] | undefined;
  readonly #asArray: boolean;
  /** A name that an assignment would take for something else. */
  readonly #hasProto: boolean;

  /** Throws OperationError `client.column_type` (42804) if the columns are not those that were asked for. */
  constructor(columns: readonly Column[], options: RowOptions) {
    this.columns = columns;
    this.options = options;
    this.#names = columns.map((column) => column.name);
    this.#decoders = decodersOf(columns, options);
    this.#neverNull = neverNullOf(columns, options.columns);
    this.#asArray = options.rowMode !== "object";
    this.#hasProto = this.#names.includes("__proto__");
  }

  /** Decodes one DataRow. Throws PeerError (08P01) if it is malformed, or what a codec throws. */
  read(buffer: Buffer, start: number, end: number): unknown {
    const decoders = this.#decoders;
    const count = decoders.length;
    const bodyStart = start + headerBytes;
    if (end < bodyStart + 2 || buffer.readUInt16BE(bodyStart) !== count) throw malformed();
    let position = bodyStart + 2;
    const asArray = this.#asArray;
    const names = this.#names;
    const array: unknown[] = [];
    const object: Record<string, unknown> = {};
    for (let index = 0; index < count; index++) {
      if (position + 4 > end) throw malformed();
      const length = buffer.readInt32BE(position);
      position += 4;
      let value: unknown = null;
      if (length >= 0) {
        const valueEnd = position + length;
        if (valueEnd > end) throw malformed();
        value = (decoders[index] as Decode)(buffer, position, valueEnd);
        position = valueEnd;
      } else if (length !== -1) {
        throw malformed();
      } else if (this.#neverNull?.[index] === true) {
        throw unexpectedNull(names[index] as string);
      }
      if (asArray) array.push(value);
      else object[names[index] as string] = value;
    }
    if (position !== end) throw malformed();
    if (asArray) return array;
    return this.#hasProto ? this.#again(object, buffer, start) : object;
  }

  /** `object.__proto__ = value` sets no property; this does. */
  #again(object: Record<string, unknown>, buffer: Buffer, start: number): unknown {
    let position = start + headerBytes + 2;
    for (const [index, decode] of this.#decoders.entries()) {
      const length = buffer.readInt32BE(position);
      position += 4;
      const value = length < 0 ? null : decode(buffer, position, position + length);
      position += Math.max(length, 0);
      if (this.#names[index] === "__proto__") {
        Object.defineProperty(object, "__proto__", {
          value,
          enumerable: true,
          writable: true,
          configurable: true,
        });
      }
    }
    return object;
  }
}

function decodersOf(columns: readonly Column[], options: RowOptions): Decode[] {
  if (options.columns !== undefined) return checkedDecoders(columns, options.columns, options.format);
  return columns.map(({ typeOid }) => {
    if (options.rowMode === "raw") return copyBytes;
    if (options.rowMode === "text" && options.format === "text") return decodeText;
    return options.format === "binary"
      ? options.types.binaryDecoder(typeOid)
      : options.types.textDecoder(typeOid);
  });
}

function checkedDecoders(
  columns: readonly Column[],
  wanted: Readonly<Record<string, TypeCodec>>,
  format: ResultFormat,
): Decode[] {
  const names = new Set(columns.map(({ name }) => name));
  const missing = Object.keys(wanted).filter((name) => !names.has(name));
  if (missing.length > 0 || names.size !== columns.length) {
    throw columnMismatch(`the result has the columns ${list(columns.map(({ name }) => name))}`, wanted);
  }
  return columns.map((column) => {
    const codec = Object.hasOwn(wanted, column.name) ? wanted[column.name] : undefined;
    if (codec === undefined) throw columnMismatch(`the result has a column "${column.name}"`, wanted);
    if (codec.oid !== 0 && codec.oid !== column.typeOid) {
      const text = `column "${column.name}" has the type with the identifier ${column.typeOid}, not ${codec.name} (${codec.oid})`;
      throw columnMismatch(text, wanted);
    }
    return format === "binary" ? codec.decodeBinary : codec.decodeText;
  });
}

function neverNullOf(
  columns: readonly Column[],
  wanted: Readonly<Record<string, TypeCodec>> | undefined,
): readonly boolean[] | undefined {
  if (wanted === undefined) return undefined;
  const flags = columns.map(({ name }) => {
    const codec = wanted[name];
    return codec !== undefined && "neverNull" in codec && codec.neverNull === true;
  });
  return flags.includes(true) ? flags : undefined;
}

const list = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(", ") || "none";

function unexpectedNull(name: string): OperationError {
  return new OperationError(`column "${name}" was said to be never NULL, and is`, {
    code: "client.bad_value",
    sqlstate: "22004",
    source: "internal",
  });
}

function columnMismatch(found: string, wanted: object): OperationError {
  return new OperationError(`${found}; asked for were ${list(Object.keys(wanted))}`, {
    code: "client.column_type",
    sqlstate: "42804",
    source: "internal",
  });
}

export function malformed(): PeerError {
  return protocolViolation("malformed message from server", {
    code: "peer.malformed_message",
    source: "server",
  });
}
