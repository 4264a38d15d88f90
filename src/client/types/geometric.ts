/** Geometric types as PostgreSQL writes them (docs 8.8), from both formats. */
import type { Decode, TypeCodec } from "./codec.ts";
import { malformedValue } from "./failures.ts";
import { stringOnly } from "./identifiers.ts";
import { latin1 } from "./spans.ts";

const pointBytes = 16;

/** `(x,y)` */
export const point: TypeCodec<string> = fixed("point", 600, 1017, 2, ([x, y]) => `(${x},${y})`);
/** `{A,B,C}`: the points for which Ax + By + C = 0. */
export const line: TypeCodec<string> = fixed("line", 628, 629, 3, (numbers) => `{${numbers.join(",")}}`);
/** `[(x1,y1),(x2,y2)]` */
export const lseg: TypeCodec<string> = fixed(
  "lseg",
  601,
  1018,
  4,
  ([a, b, c, d]) => `[(${a},${b}),(${c},${d})]`,
);
/** `(x1,y1),(x2,y2)`: the upper right and the lower left corner. In an array a semicolon stands between boxes. */
export const box: TypeCodec<string> = {
  ...fixed("box", 603, 1020, 4, ([a, b, c, d]) => `(${a},${b}),(${c},${d})`),
  delimiter: ";",
};
/** `<(x,y),r>` */
export const circle: TypeCodec<string> = fixed("circle", 718, 719, 3, ([x, y, r]) => `<(${x},${y}),${r}>`);

/** `((x1,y1),…)`, or with square brackets if it is open. */
export const path: TypeCodec<string> = stringOnly("path", 602, 1019, latin1, (buffer, start, end) => {
  const closed = start < end ? buffer[start] : undefined;
  if (closed !== 0 && closed !== 1) throw malformedValue("path", "binary");
  const text = points(buffer, start + 1, end, "path");
  return closed === 1 ? `(${text})` : `[${text}]`;
});

/** `((x1,y1),…)` */
export const polygon: TypeCodec<string> = stringOnly("polygon", 604, 1027, latin1, (buffer, start, end) => {
  return `(${points(buffer, start, end, "polygon")})`;
});

function fixed(
  name: string,
  oid: number,
  arrayOid: number,
  count: number,
  write: (numbers: readonly string[]) => string,
): TypeCodec<string> {
  const decodeBinary: Decode<string> = (buffer, start, end) => {
    if (end - start !== 8 * count) throw malformedValue(name, "binary");
    return write(
      Array.from({ length: count }, (_, index) => float8Text(buffer.readDoubleBE(start + 8 * index))),
    );
  };
  return stringOnly(name, oid, arrayOid, latin1, decodeBinary);
}

/** A number of points, and the points. */
function points(buffer: Buffer, start: number, end: number, type: string): string {
  const count = end - start < 4 ? -1 : buffer.readInt32BE(start);
  if (count < 0 || end - start !== 4 + pointBytes * count) throw malformedValue(type, "binary");
  const texts: string[] = [];
  for (let at = start + 4; at < end; at += pointBytes) {
    texts.push(`(${float8Text(buffer.readDoubleBE(at))},${float8Text(buffer.readDoubleBE(at + 8))})`);
  }
  return texts.join(",");
}

/**
 * As PostgreSQL writes a float8: JavaScript's digits, but scientific below 1e-4 and from 1e15 on, with an exponent
 * of two digits.
 */
function float8Text(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return Object.is(value, -0) ? "-0" : "0";
  if (!(size < Number.POSITIVE_INFINITY) || (size >= 1e-4 && size < 1e15)) return String(value);
  return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
}
