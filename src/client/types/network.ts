/** Addresses of networks and network cards, as PostgreSQL writes them (docs 8.9). */
import type { Decode, TypeCodec } from "./codec.ts";
import { malformedValue } from "./failures.ts";
import { stringOnly } from "./identifiers.ts";
import { latin1 } from "./spans.ts";

/** PGSQL_AF_INET and PGSQL_AF_INET6 of PostgreSQL's src/include/utils/inet.h: the family and its address bytes. */
const addressBytes: ReadonlyMap<number | undefined, number> = new Map([
  [2, 4],
  [3, 16],
]);
const headerBytes = 4;

/** A host's address, with the length of its network's prefix if that is not the whole address. */
export const inet: TypeCodec<string> = stringOnly("inet", 869, 1041, latin1, networkBinary("inet"));
/** A network's address, always with its length. */
export const cidr: TypeCodec<string> = stringOnly("cidr", 650, 651, latin1, networkBinary("cidr"));
export const macaddr: TypeCodec<string> = stringOnly("macaddr", 829, 1040, latin1, cardBinary("macaddr", 6));
export const macaddr8: TypeCodec<string> = stringOnly(
  "macaddr8",
  774,
  775,
  latin1,
  cardBinary("macaddr8", 8),
);

/** inet_send: family, bits of the prefix, whether it is a cidr, bytes of the address, the address. */
function networkBinary(type: string): Decode<string> {
  return (buffer, start, end) => {
    const length = end - start < headerBytes ? undefined : addressBytes.get(buffer[start]);
    if (length === undefined || buffer[start + 3] !== length || end - start !== headerBytes + length) {
      throw malformedValue(type, "binary");
    }
    const bits = buffer[start + 1] as number;
    if (bits > length * 8) throw malformedValue(type, "binary");
    const address = buffer.subarray(start + headerBytes, end);
    const text = length === 4 ? address.join(".") : ipv6Text(address);
    return bits === length * 8 && type === "inet" ? text : `${text}/${bits}`;
  };
}

/**
 * As inet_net_ntop of PostgreSQL's src/port: the first longest run of two or more zero groups is `::`, and an
 * embedded IPv4 address has dots.
 */
function ipv6Text(address: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => address.readUInt16BE(2 * index));
  let base = -1;
  let length = 1;
  for (let index = 0; index < 8; index++) {
    let run = 0;
    while (index + run < 8 && groups[index + run] === 0) run++;
    if (run > length) [base, length] = [index, run];
  }
  const embedded = base === 0 && (length === 6 || (length === 5 && groups[5] === 0xffff));
  const hex = groups.map((group) => group.toString(16));
  if (embedded) hex.splice(6, 2, address.subarray(12).join("."));
  if (base < 0) return hex.join(":");
  return `${hex.slice(0, base).join(":")}::${hex.slice(base + length).join(":")}`;
}

function cardBinary(type: string, length: number): Decode<string> {
  return (buffer, start, end) => {
    if (end - start !== length) throw malformedValue(type, "binary");
    return buffer.toString("hex", start, end).replace(/..(?=.)/g, "$&:");
  };
}
