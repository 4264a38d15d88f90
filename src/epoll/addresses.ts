/** What `accept4`, `getpeername` and `getsockname` tell, as Node's sockets say it. */
import type { PeerAddress } from "../base/descriptors.ts";
import { ipv4Domain, ipv6Domain } from "./constants.ts";
import type { SystemCalls } from "./system-calls.ts";

/** A `struct sockaddr_storage`, and IF_NAMESIZE. */
const addressBytes = 128;
const interfaceNameBytes = 16;

/** Where addresses are told. */
export class AddressReader {
  readonly #calls: SystemCalls;
  readonly address: Buffer = Buffer.allocUnsafeSlow(addressBytes);
  readonly length: Buffer = Buffer.allocUnsafeSlow(4);

  constructor(calls: SystemCalls) {
    this.#calls = calls;
  }

  /** To be called before each system call. */
  clear(): void {
    this.address.fill(0, 0, 2);
    this.length.writeUInt32LE(addressBytes);
  }

  peerOf(descriptor: number): PeerAddress {
    this.clear();
    return this.#calls.getpeername(descriptor, this.address, this.length) === 0 ? this.told() : {};
  }

  ownOf(descriptor: number): PeerAddress {
    this.clear();
    return this.#calls.getsockname(descriptor, this.address, this.length) === 0 ? this.told() : {};
  }

  /** Empty for a Unix socket. */
  told(): PeerAddress {
    const { address } = this;
    const family = address.readUInt16LE();
    const port = address.readUInt16BE(2);
    if (family === ipv4Domain) {
      return { address: `${address[4]}.${address[5]}.${address[6]}.${address[7]}`, port };
    }
    if (family !== ipv6Domain) return {};
    return { address: formatIpv6(address.subarray(8, 24)) + this.#scope(), port };
  }

  /** Link-local addresses name the interface (RFC 4007). */
  #scope(): string {
    const isLinkLocal = this.address[8] === 0xfe && ((this.address[9] ?? 0) & 0xc0) === 0x80;
    const index = this.address.readUInt32LE(24);
    if (!isLinkLocal || index === 0) return "";
    const name = this.#calls.if_indextoname(index, Buffer.alloc(interfaceNameBytes));
    return `%${name ?? index}`;
  }
}

/** As inet_ntop writes it (RFC 5952): the longest run of zeros is left out, and an IPv4 address within keeps its dots. */
function formatIpv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i));
  const dotted = `${bytes[12]}.${bytes[13]}.${bytes[14]}.${bytes[15]}`;
  const zeros = groups.findIndex((group) => group !== 0);
  if (zeros === 5 && groups[5] === 0xffff) return `::ffff:${dotted}`;
  if (zeros === 6) return `::${dotted}`;
  const gap = longestZeros(groups);
  const text = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  return gap === undefined ? text(0, 8) : `${text(0, gap.start)}::${text(gap.start + gap.count, 8)}`;
}

/** The first of the longest, of at least two. */
function longestZeros(groups: readonly number[]): { start: number; count: number } | undefined {
  let longest: { start: number; count: number } | undefined;
  for (let start = 0; start < groups.length; start++) {
    let count = 0;
    while (groups[start + count] === 0) count++;
    if (count >= 2 && count > (longest?.count ?? 0)) longest = { start, count };
    start += count;
  }
  return longest;
}
