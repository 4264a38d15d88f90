/** Addresses as the kernel tells them, in Node's words. */
import net from "node:net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AddressReader } from "../../../src/epoll/addresses.ts";
import { ipv4Domain, ipv6Domain, unixDomain } from "../../../src/epoll/constants.ts";
import type { SystemCalls } from "../../../src/epoll/system-calls.ts";

const plain = (bytes: Buffer): string =>
  Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16)).join(":");
const nodes = (bytes: Buffer): string =>
  new net.SocketAddress({ address: plain(bytes), family: "ipv6" }).address;

/** As the reader writes an address of these bytes. */
function formatIpv6(bytes: Buffer): string | undefined {
  const getpeername = (_socket: number, address: Buffer): number => {
    address.writeUInt16LE(ipv6Domain);
    address.set(bytes, 8);
    // Of no interface.
    address.writeUInt32LE(0, 24);
    return 0;
  };
  return new AddressReader({ getpeername } as unknown as SystemCalls).peerOf(3).address;
}

describe("IPv6 addresses", () => {
  test("are written as Node writes them", () => {
    // Runs of zeros are what is special.
    const group = fc.oneof(
      { weight: 3, arbitrary: fc.constant(0) },
      fc.constant(0xffff),
      fc.constant(1),
      fc.integer({ min: 0, max: 0xffff }),
    );
    fc.assert(
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
        const bytes = Buffer.alloc(16);
        for (const [i, value] of groups.entries()) bytes.writeUInt16BE(value, 2 * i);
        expect(formatIpv6(bytes)).toBe(nodes(bytes));
      }),
      { numRuns: 3000 },
    );
  });

  test.each(["::", "::1", "::2", "::ffff:127.0.0.1", "::1.2.3.4", "2001:db8::1", "1::", "1:0:2:0:3::"])(
    "%s",
    (address) => {
      const bytes = bytesOf(address);
      expect(formatIpv6(bytes)).toBe(nodes(bytes));
    },
  );
});

describe("what the kernel tells", () => {
  const reader = (told: (address: Buffer) => void, status = 0): AddressReader =>
    new AddressReader({
      getpeername(_socket: number, address: Buffer) {
        told(address);
        return status;
      },
      if_indextoname: (index: number) => (index === 7 ? "eth7" : null),
    } as unknown as SystemCalls);

  test("an IPv4 address and its port", () => {
    const addresses = reader((address) => {
      address.writeUInt16LE(ipv4Domain);
      address.writeUInt16BE(6432, 2);
      address.set([192, 0, 2, 1], 4);
    });
    expect(addresses.peerOf(3)).toEqual({ address: "192.0.2.1", port: 6432 });
  });

  test.each([
    [7, "fe80::1%eth7"],
    [8, "fe80::1%8"],
    [0, "fe80::1"],
  ])("a link-local address of interface %i", (index, expected) => {
    const addresses = reader((address) => {
      address.fill(0);
      address.writeUInt16LE(ipv6Domain);
      address.writeUInt16BE(6432, 2);
      address.set([0xfe, 0x80], 8);
      address[23] = 1;
      address.writeUInt32LE(index, 24);
    });
    expect(addresses.peerOf(3)).toEqual({ address: expected, port: 6432 });
  });

  test("nothing of a Unix socket, and of one that is not connected", () => {
    expect(reader((address) => address.writeUInt16LE(unixDomain)).peerOf(3)).toEqual({});
    const failing = reader((address) => address.writeUInt16LE(ipv4Domain), -1);
    expect(failing.peerOf(3)).toEqual({});
  });
});

/** Of few addresses only: what stands on either side of `::`, with or without dots at the end. */
function bytesOf(address: string): Buffer {
  const bytes = Buffer.alloc(16);
  const groups = (text: string): number[] =>
    text
      .split(":")
      .filter((part) => part !== "")
      .flatMap((part) => {
        if (!part.includes(".")) return [Number.parseInt(part, 16)];
        const [a = 0, b = 0, c = 0, d = 0] = part.split(".").map(Number);
        return [a * 256 + b, c * 256 + d];
      });
  const [before = "", after = ""] = address.split("::");
  for (const [i, value] of groups(before).entries()) bytes.writeUInt16BE(value, 2 * i);
  const last = groups(after);
  for (const [i, value] of last.entries()) bytes.writeUInt16BE(value, 16 - 2 * (last.length - i));
  return bytes;
}
