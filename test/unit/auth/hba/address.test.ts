/** Addresses and ranges, held against a naive model: addresses as strings of bits. */
import net from "node:net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type AddressRange,
  contains,
  isOfInterfaces,
  parseAddress,
  parsePeerAddress,
  rangeOfBits,
  rangeOfMask,
} from "../../../../src/auth/hba/address.ts";

const ipv4 = fc.ipV4();
const ipv6 = fc.ipV6();

/** An address as text of zeros and ones, by the system's own reading of it. */
function bits(text: string): string {
  // The URL parser writes every IPv6 address in its shortest form, without IPv4 in it.
  if (net.isIPv4(text))
    return text
      .split(".")
      .map((part) => Number(part).toString(2).padStart(8, "0"))
      .join("");
  const [head = "", tail = ""] = new URL(`http://[${text}]/`).hostname.slice(1, -1).split("::");
  const groups = (half: string): string[] => (half === "" ? [] : half.split(":"));
  const missing = 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array<string>(missing).fill("0"), ...groups(tail)];
  return all.map((group) => Number.parseInt(group, 16).toString(2).padStart(16, "0")).join("");
}

function bitsOf(address: Uint8Array | undefined): string | undefined {
  return address === undefined
    ? undefined
    : [...address].map((byte) => byte.toString(2).padStart(8, "0")).join("");
}

function range(text: string): AddressRange {
  const [address = "", length = ""] = text.split("/");
  const parsed = parseAddress(address);
  const result = parsed === undefined ? undefined : rangeOfBits(parsed, length);
  if (result === undefined) throw new Error(`no range: ${text}`);
  return result;
}

function peer(text: string): Uint8Array {
  return parsePeerAddress(text) ?? expect.fail(text);
}

describe("texts", () => {
  test("every address is read as the system reads it", () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6), (text) => {
        expect(bitsOf(parseAddress(text))).toBe(bits(text));
      }),
    );
  });

  test("what the system takes for no address is none here", () => {
    const noise = fc.string({ unit: fc.constantFrom(...Array.from("0123456789abcdef:.%/ ")), maxLength: 40 });
    fc.assert(
      fc.property(noise, (text) => {
        const zone = text.includes("%");
        expect(parseAddress(text) !== undefined).toBe(net.isIP(text) > 0 && !zone);
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    "10.1",
    "010.0.0.1",
    "1.2.3.256",
    "1.2.3.4.5",
    "0x7f.0.0.1",
    "::1::",
    "1:2:3:4:5:6:7",
    "localhost",
    "",
    "::g",
  ])("%j is no address", (text) => expect(parseAddress(text)).toBeUndefined());

  test.each([
    "::",
    "::1",
    "1::",
    "1:2:3:4:5:6:7::",
    "::2:3:4:5:6:7:8",
    "::ffff:1.2.3.4",
    "1:2:3:4:5:6:1.2.3.4",
  ])("%j is one", (text) => expect(bitsOf(parseAddress(text))).toBe(bits(text)));
});

describe("ranges", () => {
  test("an address is in a range if as many bits are the same", () => {
    const pair = fc.oneof(fc.tuple(ipv4, ipv4, fc.nat(32)), fc.tuple(ipv6, ipv6, fc.nat(128)));
    fc.assert(
      fc.property(pair, ([base, candidate, length]) => {
        const expected = bits(base).slice(0, length) === bits(candidate).slice(0, length);
        // Mapped addresses are IPv4 to both sides; the model does not know them.
        fc.pre(!/^(?:::ffff|0*:0*:0*:0*:0*:f{4})/i.test(base) && !/ffff/i.test(candidate));
        expect(contains(range(`${base}/${length}`), peer(candidate))).toBe(expected);
      }),
      { numRuns: 1000 },
    );
  });

  test("neighbours of a range are outside, both ends of it inside", () => {
    fc.assert(
      fc.property(ipv4, fc.integer({ min: 1, max: 32 }), (base, length) => {
        const size = 2 ** (32 - length);
        const first = Math.floor(Number.parseInt(bits(base), 2) / size) * size;
        const text = (number: number): string =>
          [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join(".");
        const inside = (number: number): boolean => contains(range(`${base}/${length}`), peer(text(number)));
        expect(inside(first)).toBe(true);
        expect(inside(first + size - 1)).toBe(true);
        if (first > 0) expect(inside(first - 1)).toBe(false);
        if (first + size < 2 ** 32) expect(inside(first + size)).toBe(false);
      }),
    );
  });

  test("a mask is compared bit by bit, also one with gaps", () => {
    fc.assert(
      fc.property(ipv4, ipv4, ipv4, (base, mask, candidate) => {
        const expected = Array.from(bits(mask)).every(
          (bit, index) => bit === "0" || bits(base)[index] === bits(candidate)[index],
        );
        const masked = rangeOfMask(peer(base), peer(mask)) ?? expect.fail();
        expect(contains(masked, peer(candidate))).toBe(expected);
      }),
    );
  });

  test("families do not match each other, not even ::/0 and IPv4", () => {
    expect(contains(range("0.0.0.0/0"), peer("::1"))).toBe(false);
    expect(contains(range("::/0"), peer("192.0.2.1"))).toBe(false);
    expect(contains(range("::/0"), peer("::ffff:192.0.2.1"))).toBe(false);
  });

  test("a mapped IPv6 peer is an IPv4 peer, and a range of mapped addresses an IPv4 range", () => {
    fc.assert(
      fc.property(ipv4, ipv4, fc.nat(32), (base, candidate, length) => {
        const expected = contains(range(`${base}/${length}`), peer(candidate));
        expect(contains(range(`${base}/${length}`), peer(`::ffff:${candidate}`))).toBe(expected);
        expect(contains(range(`::ffff:${base}/${96 + length}`), peer(candidate))).toBe(expected);
      }),
    );
  });

  test("the zone of a link-local peer does not matter", () => {
    expect(contains(range("fe80::/10"), peer("fe80::1%eth0"))).toBe(true);
  });

  test.each(["33", "-1", "+8", " 8", "8 ", "", "a", "0x8", "8/8", "1000"])(
    "%j is no length for IPv4",
    (text) => {
      expect(rangeOfBits(peer("192.0.2.1"), text)).toBeUndefined();
    },
  );

  test("lengths and masks of the wrong family", () => {
    expect(rangeOfBits(peer("::1"), "129")).toBeUndefined();
    expect(rangeOfBits(peer("::1"), "128")).toBeDefined();
    expect(rangeOfMask(peer("192.0.2.1"), peer("ffff::"))).toBeUndefined();
  });
});

test("samehost and samenet", () => {
  const interfaces = [
    { address: "127.0.0.1", netmask: "255.0.0.0" },
    { address: "192.0.2.2", netmask: "255.255.255.0" },
    { address: "fd00::2", netmask: "ffff:ffff:ffff:ffff::" },
    { address: "not an address", netmask: "255.0.0.0" },
  ];
  const where = (text: string): string[] =>
    (["samehost", "samenet"] as const).filter((which) => isOfInterfaces(peer(text), interfaces, which));
  expect(where("127.0.0.1")).toEqual(["samehost", "samenet"]);
  expect(where("127.9.9.9")).toEqual(["samenet"]);
  expect(where("::ffff:192.0.2.2")).toEqual(["samehost", "samenet"]);
  expect(where("192.0.2.3")).toEqual(["samenet"]);
  expect(where("192.0.3.2")).toEqual([]);
  expect(where("fd00::2")).toEqual(["samehost", "samenet"]);
  expect(where("fd00::3")).toEqual(["samenet"]);
  expect(where("fd00:0:0:1::2")).toEqual([]);
});
