/** Strings of bits, as zeros and ones. */
import type { Decode, TypeCodec } from "./codec.ts";
import { malformedValue } from "./failures.ts";
import { stringOnly } from "./identifiers.ts";
import { latin1 } from "./spans.ts";

export const bit: TypeCodec<string> = stringOnly("bit", 1560, 1561, latin1, bitsBinary("bit"));
export const varbit: TypeCodec<string> = stringOnly("varbit", 1562, 1563, latin1, bitsBinary("varbit"));

/** bit_send: the number of bits, then bytes with the first bit on top. */
function bitsBinary(type: string): Decode<string> {
  return (buffer, start, end) => {
    const count = end - start < 4 ? -1 : buffer.readInt32BE(start);
    if (count < 0 || end - start !== 4 + Math.ceil(count / 8)) throw malformedValue(type, "binary");
    let text = "";
    for (let at = start + 4; at < end; at++) text += (buffer[at] as number).toString(2).padStart(8, "0");
    return text.slice(0, count);
  };
}
