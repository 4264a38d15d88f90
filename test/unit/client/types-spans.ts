/** Values in the middle of a row, for tests of codecs. */

import type { Decode, TypeCodec } from "../../../src/client/types/codec.ts";
import { types } from "../../../src/client/types/index.ts";
import { TypeRegistry } from "../../../src/client/types/registry.ts";

/** Every codec of the catalogue, and those of the arrays of their types. */
export const allCodecs: readonly TypeCodec[] = Object.values(types)
  .filter((each): each is TypeCodec => typeof each === "object")
  .flatMap((codec) => {
    const array = codec.arrayOid === 0 ? undefined : TypeRegistry.builtin.codec(codec.arrayOid);
    return array === undefined ? [codec] : [codec, array];
  });

/** Decodes a value between bytes of others, which are overwritten afterwards as the next row would do. */
export function decodeWithin<T>(decode: Decode<T>, value: string | Uint8Array, fill = 0x31): T {
  const bytes = Buffer.from(value as string);
  const row = Buffer.alloc(bytes.length + 40, fill);
  bytes.copy(row, 20);
  const decoded = decode(row, 20, 20 + bytes.length);
  row.fill(0xee);
  return decoded;
}

export function fromText<T>(codec: TypeCodec<T>, text: string): T {
  return decodeWithin(codec.decodeText, text);
}

export function fromBinary<T>(codec: TypeCodec<T>, bytes: Uint8Array): T {
  return decodeWithin(codec.decodeBinary, bytes);
}

export function fromHex<T>(codec: TypeCodec<T>, hex: string): T {
  return fromBinary(codec, Buffer.from(hex.replaceAll(" ", ""), "hex"));
}

/** Sends a value as a parameter and reads it back as a column. */
export function thereAndBack<T>(codec: TypeCodec<T>, value: unknown): T {
  const encoded = codec.encode(value);
  return typeof encoded === "string" ? fromText(codec, encoded) : fromBinary(codec, encoded);
}

/** The binary formats of a few types, written apart from the product. */
export const binary = {
  int4: (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(value);
    return bytes;
  },
  int8: (value: bigint): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64BE(value);
    return bytes;
  },
  float8: (value: number): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    return bytes;
  },
  /** One level of an array; null is NULL. */
  array: (elements: readonly (Uint8Array | null)[], lengths: readonly number[]): Buffer =>
    Buffer.concat([
      ...[lengths.length, 1, 0].map(binary.int4),
      ...lengths.flatMap((length) => [binary.int4(length), binary.int4(1)]),
      ...elements.flatMap((each) => (each === null ? [binary.int4(-1)] : [binary.int4(each.length), each])),
    ]),
};
