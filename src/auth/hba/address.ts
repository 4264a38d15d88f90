/**
 * Addresses and ranges of addresses in pg_hba.conf (docs 20.1). Addresses are bytes, 4 or 16 of them: only
 * those of one family can match each other. An IPv4 client on a socket of both families comes with a mapped
 * IPv6 address (::ffff:192.0.2.1) and is taken for what it is, as PostgreSQL sees it on its IPv4 socket.
 */

export type Address = Uint8Array;

/** Every address that has the bits of `address` where `mask` has ones. */
export interface AddressRange {
  readonly address: Address;
  readonly mask: Address;
}

/** Of one interface of this machine, as os.networkInterfaces tells it. */
export interface InterfaceAddress {
  readonly address: string;
  readonly netmask: string;
}

/**
 * An address in its usual text form, in as many bytes as its family has; undefined for any other text. Numbers
 * with leading zeros or fewer than four of them, which some systems read as octal or as classes, are refused.
 */
export function parseAddress(text: string): Address | undefined {
  return text.includes(":") ? parseIPv6(text) : parseIPv4(text);
}

/** The address of a client's socket: without the zone of a link-local one, IPv4 if it is mapped. */
export function parsePeerAddress(text: string): Address | undefined {
  const address = parseAddress(text.replace(/%.*$/, ""));
  return address !== undefined && isMapped(address) ? address.subarray(12) : address;
}

/** `address/bits`; undefined if the bits are no number that the family has. */
export function rangeOfBits(address: Address, bitsText: string): AddressRange | undefined {
  if (!/^[0-9]{1,3}$/.test(bitsText)) return undefined;
  const bits = Number(bitsText);
  if (bits > address.length * 8) return undefined;
  return rangeOfMask(address, maskOfBits(bits, address.length));
}

/**
 * Address and mask; undefined if they are of two families. A range of mapped addresses becomes the IPv4 range
 * that it stands for: as it is, no client could ever match it.
 */
export function rangeOfMask(address: Address, mask: Address): AddressRange | undefined {
  if (address.length !== mask.length) return undefined;
  const mapped = isMapped(address) && mask.subarray(0, 12).every((byte) => byte === 0xff);
  return mapped ? { address: address.subarray(12), mask: mask.subarray(12) } : { address, mask };
}

/** Compares bit by bit (ifaddr.c pg_range_sockaddr): masks need not be contiguous. */
export function contains({ address, mask }: AddressRange, candidate: Address): boolean {
  if (candidate.length !== address.length) return false;
  for (let index = 0; index < address.length; index++) {
    const difference = (address[index] ?? 0) ^ (candidate[index] ?? 0);
    if ((difference & (mask[index] ?? 0)) !== 0) return false;
  }
  return true;
}

/** Whether an address is one of this machine (`samehost`), or in a network that it is directly in (`samenet`). */
export function isOfInterfaces(
  candidate: Address,
  interfaces: readonly InterfaceAddress[],
  which: "samehost" | "samenet",
): boolean {
  return interfaces.some(({ address: addressText, netmask }) => {
    const address = parsePeerAddress(addressText);
    if (address === undefined) return false;
    const mask =
      which === "samehost" ? maskOfBits(address.length * 8, address.length) : parseAddress(netmask);
    const range = mask === undefined ? undefined : rangeOfMask(address, mask);
    return range !== undefined && contains(range, candidate);
  });
}

function maskOfBits(bits: number, bytes: number): Address {
  const mask = new Uint8Array(bytes);
  for (let index = 0; index < bytes; index++) {
    const ones = Math.min(8, Math.max(0, bits - index * 8));
    mask[index] = 0xff00 >> ones;
  }
  return mask;
}

function parseIPv4(text: string): Address | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(?:0|[1-9][0-9]{0,2})$/.test(part))) return undefined;
  const numbers = parts.map(Number);
  return numbers.every((number) => number <= 255) ? Uint8Array.from(numbers) : undefined;
}

/** RFC 4291, section 2.2: eight groups, of which one run of zeros may be left out; the last two may be IPv4. */
function parseIPv6(text: string): Address | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half, index) => groupsOf(half, index === halves.length - 1));
  if (head === undefined) return undefined;
  if (halves.length === 1) return head.length === 8 ? bytesOf(head) : undefined;
  // "::" stands for one group of zeros at least.
  if (tail === undefined || head.length + tail.length > 7) return undefined;
  return bytesOf([...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail]);
}

/** The 16-bit groups of one side; `last`: IPv4 may stand at its end. */
function groupsOf(text: string, last: boolean): number[] | undefined {
  if (text === "") return [];
  const parts = text.split(":");
  const groups: number[] = [];
  for (const [index, part] of parts.entries()) {
    if (/^[0-9A-Fa-f]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const embedded = last && index === parts.length - 1 ? parseIPv4(part) : undefined;
    if (embedded === undefined) return undefined;
    const [a = 0, b = 0, c = 0, d = 0] = embedded;
    groups.push(a * 256 + b, c * 256 + d);
  }
  return groups;
}

function bytesOf(groups: readonly number[]): Address {
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

function isMapped(address: Address): boolean {
  return (
    address.length === 16 &&
    address.subarray(0, 10).every((byte) => byte === 0) &&
    address[10] === 0xff &&
    address[11] === 0xff
  );
}
