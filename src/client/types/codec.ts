/**
 * What a codec is: the two ways between a value of PostgreSQL and one of JavaScript.
 *
 * Decoders work where the bytes lie. They are given a span of the buffer that the row stands in, and that buffer
 * is overwritten by the next rows: a decoder copies what it keeps, and never looks outside its span.
 */

/**
 * Makes a value of the bytes `buffer[start, end)`. SQL's NULL never comes here.
 *
 * Throws PeerError or OperationError `client.bad_value` if the bytes are no value of the type, or one that
 * JavaScript's counterpart cannot hold.
 */
export type Decode<T = unknown> = (buffer: Buffer, start: number, end: number) => T;

/** A type of PostgreSQL and what stands for it here. */
export interface TypeCodec<T = unknown> {
  /** pg_type.typname. */
  readonly name: string;
  /** pg_type.oid; 0 if it differs between databases. */
  readonly oid: number;
  /** pg_type.typarray: the type of arrays of it; 0 if there is none. */
  readonly arrayOid: number;
  /** pg_type.typdelim, what stands between the elements of an array of it; a comma if left out. */
  readonly delimiter?: string;
  /** An array is one value of this type. So in a parameter for an array of it only the outermost array is one. */
  readonly arrayIsValue?: boolean;
  readonly decodeText: Decode<T>;
  readonly decodeBinary: Decode<T>;
  /**
   * The value as a parameter: a string in the type's text format, or bytes in its binary format. A string is
   * always taken as the text format already, whatever the type.
   *
   * Throws OperationError `client.bad_parameter` (22023, 22003, 22021) for a value that the type cannot hold.
   */
  readonly encode: (value: unknown) => string | Uint8Array;
}

/** The JavaScript type that a codec decodes to. */
export type DecodedType<Codec> = Codec extends { readonly decodeText: Decode<infer T> } ? T : never;
