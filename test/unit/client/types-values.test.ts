/** Codecs by themselves: what bytes become, and that a value which goes out comes back as it was. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DecodedRow } from "../../../src/client/types/index.ts";
import { nonNull, Range, Timestamp, TypeRegistry, types } from "../../../src/client/types/index.ts";
import { allCodecs, binary, fromBinary, fromHex, fromText, thereAndBack } from "./types-spans.ts";

const bigints = (bits: number): fc.Arbitrary<bigint> =>
  fc.bigInt({ min: -(2n ** BigInt(bits - 1)), max: 2n ** BigInt(bits - 1) - 1n });
/** What PostgreSQL can store as text. */
const texts = fc.string({ unit: "grapheme" }).filter((text) => !text.includes("\0") && text.isWellFormed());
/** From 4713 BC to the year 294276, in microseconds of the Unix epoch. */
const instants = fc.bigInt({ min: -210_866_803_200_000_000n, max: 9_224_318_015_999_999_999n });
const unixEpochOfPostgres = 946_684_800_000_000n;

/** What the server makes of ISO 8601, which it reads and does not write. */
function asServerWrites(encoded: string | Uint8Array): string {
  return String(encoded).replace("T", " ").replace("Z", "+00");
}

describe("there and back", () => {
  test("int4", () => {
    fc.assert(
      fc.property(fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }), (value) => {
        expect(thereAndBack(types.int4, value)).toBe(value);
        expect(fromBinary(types.int4, binary.int4(value))).toBe(value);
      }),
    );
  });

  test("int8", () => {
    fc.assert(
      fc.property(fc.oneof(bigints(64), bigints(54), bigints(48), bigints(8)), (value) => {
        expect(thereAndBack(types.int8, value)).toBe(value);
        expect(fromBinary(types.int8, binary.int8(value))).toBe(value);
        expect(fromText(types.int8AsString, String(value))).toBe(String(value));
      }),
    );
  });

  test("float8 and float4, every one of them", () => {
    fc.assert(
      fc.property(fc.double(), (value) => {
        expect(thereAndBack(types.float8, value)).toBe(value);
        expect(fromBinary(types.float8, binary.float8(value))).toBe(value);
      }),
    );
    fc.assert(
      fc.property(fc.float(), (value) => {
        const bytes = Buffer.alloc(4);
        bytes.writeFloatBE(value);
        expect(Math.fround(fromBinary(types.float4, bytes))).toBe(value);
        expect(Math.fround(thereAndBack(types.float4, value))).toBe(value);
      }),
      { numRuns: 1000 },
    );
  });

  test("a point in time, to the microsecond", () => {
    fc.assert(
      fc.property(instants, (microseconds) => {
        const value = Timestamp.fromEpochMicroseconds(microseconds);
        expect(value.epochMicroseconds).toBe(microseconds);
        const back = fromText(types.timestamptz, asServerWrites(types.timestamptz.encode(value)));
        expect(back).toBeInstanceOf(Timestamp);
        expect((back as Timestamp).epochMicroseconds).toBe(microseconds);
        const bytes = binary.int8(microseconds - unixEpochOfPostgres);
        expect((fromBinary(types.timestamptz, bytes) as Timestamp).epochMicroseconds).toBe(microseconds);
        const string = fromBinary(types.timestamptzAsString, bytes);
        expect((fromText(types.timestamptz, string) as Timestamp).epochMicroseconds).toBe(microseconds);
        expect(thereAndBack(types.timestamptzAsMicroseconds, microseconds)).toBe(microseconds);
        expect(fromBinary(types.timestamptzAsMicroseconds, bytes)).toBe(microseconds);
      }),
      { numRuns: 2000 },
    );
  });

  test("a Date", () => {
    fc.assert(
      fc.property(fc.date({ min: new Date("-004000-01-01T00:00:00Z"), noInvalidDate: true }), (value) => {
        const text = asServerWrites(types.timestamptzAsDate.encode(value));
        expect(fromText(types.timestamptzAsDate, text)).toEqual(value);
        expect(fromText(types.timestamptz, text)).toEqual(new Timestamp(value.getTime()));
        expect(fromText(types.timestampAsDate, text.replace("+00", ""))).toEqual(value);
      }),
      { numRuns: 1000 },
    );
  });

  test("text, in any script and of any length", () => {
    fc.assert(
      fc.property(fc.oneof(texts, fc.string({ maxLength: 20 })), (value) => {
        expect(fromText(types.text, value)).toBe(value);
        expect(fromBinary(types.text, Buffer.from(value))).toBe(value);
      }),
      { numRuns: 1000 },
    );
  });

  test("bytes in each notation", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (value) => {
        const bytes = Buffer.from(value);
        expect(thereAndBack(types.bytea, value)).toEqual(bytes);
        expect(fromText(types.bytea, `\\x${bytes.toString("hex")}`)).toEqual(bytes);
        const escaped = [...bytes].map((byte) => {
          if (byte === 0x5c) return "\\\\";
          return byte >= 0x20 && byte < 0x7f
            ? String.fromCharCode(byte)
            : `\\${byte.toString(8).padStart(3, "0")}`;
        });
        expect(fromText(types.bytea, escaped.join(""))).toEqual(bytes);
        expect(fromText(types.byteaAsHex, escaped.join(""))).toBe(`\\x${bytes.toString("hex")}`);
      }),
    );
  });

  test("JSON", () => {
    fc.assert(
      fc.property(
        fc.jsonValue().filter((value) => typeof value !== "string"),
        (value) => {
          // JSON has no -0.
          const plain: unknown = JSON.parse(JSON.stringify(value));
          expect(thereAndBack(types.json, value)).toEqual(plain);
          const bytes = Buffer.concat([Buffer.of(1), Buffer.from(JSON.stringify(value))]);
          expect(fromBinary(types.jsonb, bytes)).toEqual(plain);
        },
      ),
    );
  });

  test("arrays of one to six dimensions", () => {
    const strings = types.arrayOf(types.text);
    const element = fc.option(
      fc.oneof(texts, fc.constantFrom("NULL", "null", "", "{", '"', "\\", ",", " a")),
    );
    const shapes = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(shapes, fc.infiniteStream(element), (lengths, stream) => {
        const elements: (string | null)[] = [];
        const level = (depth: number): unknown[] =>
          Array.from({ length: lengths[depth] as number }, () => {
            if (depth + 1 < lengths.length) return level(depth + 1);
            const [value = null] = [stream.next().value];
            elements.push(value);
            return value;
          });
        const value = level(0);
        expect(thereAndBack(strings, value)).toEqual(value);
        const bytes = elements.map((each) => (each === null ? null : Buffer.from(each)));
        expect(fromBinary(strings, binary.array(bytes, lengths))).toEqual(value);
      }),
    );
  });

  test("ranges of texts", () => {
    const codec = types.rangeOf(types.text, { name: "textrange", oid: 70_000, arrayOid: 70_001 });
    const several = types.multirangeOf(types.text, { name: "textmultirange", oid: 70_002, arrayOid: 70_003 });
    const range = fc
      .tuple(fc.option(texts), fc.option(texts), fc.constantFrom("[)", "[]", "(]", "()"))
      .map(([lower, upper, bounds]) => new Range(lower, upper, bounds as "[)"));
    fc.assert(
      fc.property(fc.array(range), (ranges) => {
        for (const each of ranges) expect(thereAndBack(codec, each)).toEqual(each);
        expect(thereAndBack(several, ranges)).toEqual(ranges);
        expect(thereAndBack(types.arrayOf(codec), ranges)).toEqual(ranges);
        expect(thereAndBack(types.arrayOf(several), [ranges, null, ranges])).toEqual([ranges, null, ranges]);
      }),
    );
  });
});

describe("facts", () => {
  test.each([
    [types.numeric, "0003 0001 0000 0006 0001 0929 162e", "12345.567800"],
    [types.numeric, "0002 0001 0000 0004 0001 0929", "12345.0000"],
    [types.numeric, "0002 0000 4000 0002 0001 1388", "-1.50"],
    [types.numeric, "0000 0000 c000 0000", "NaN"],
    [types.numeric, "0000 0000 f000 0020", "-Infinity"],
    [types.numeric, "0000 0000 0000 0003", "0.000"],
    [types.numeric, "0001 ffff 0000 0005 03e8", "0.10000"],
    [types.date, "00000000", "2000-01-01"],
    [types.date, "7fffffff", Number.POSITIVE_INFINITY],
    [types.timetz, "0000000000000000 ffffb9b0", "00:00:00+05"],
    [types.uuid, "a0eebc999c0b4ef8bb6d6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    [types.inet, "02 18 00 04 c0a80001", "192.168.0.1/24"],
    [types.cidr, "02 18 01 04 c0a80000", "192.168.0.0/24"],
    [types.varbit, "00000009 aa80", "101010101"],
    [types.interval, "00000000000f4240 00000000 00000000", "00:00:01"],
    [types.bool, "01", true],
    [types.char, "80", "\\200"],
    [types.xid8, "ffffffffffffffff", 18_446_744_073_709_551_615n],
    [types.int4range, "01", Range.empty()],
    [types.int4range, "12 00000004 00000005", new Range(5, null)],
    [types.jsonb, "01 31", 1],
  ] as const)("%o of %s", (codec, hex, value) => {
    expect(fromHex<unknown>(codec, hex)).toStrictEqual(value);
  });

  test("a Timestamp is a Date that tells its microseconds", () => {
    const value = fromText(types.timestamptz, "2026-11-21 12:05:25.123456+01") as Timestamp;
    expect(value).toBeInstanceOf(Date);
    expect(value.getTime()).toBe(Date.UTC(2026, 10, 21, 11, 5, 25, 123));
    expect(value.microseconds).toBe(456);
    expect(value.toISOString()).toBe("2026-11-21T11:05:25.123456Z");
    expect(JSON.stringify({ at: value })).toBe('{"at":"2026-11-21T11:05:25.123456Z"}');
    expect(JSON.stringify(new Timestamp(Number.NaN))).toBe("null");
  });

  test("beyond the last Date a Timestamp is still right", () => {
    const value = fromText(types.timestamptz, "294276-12-31 23:59:59.999999+00") as Timestamp;
    expect(value.getTime()).toBeNaN();
    expect(value.beyondDate).toBe(true);
    expect(value.toISOString()).toBe("+294276-12-31T23:59:59.999999Z");
    expect(JSON.stringify([value])).toBe('["+294276-12-31T23:59:59.999999Z"]');
    expect(types.timestamptz.encode(value)).toBe("294276-12-31 23:59:59.999999+00");
  });

  test("bytes that are not UTF-8 are not lost", () => {
    expect(fromBinary(types.text, Buffer.of(0x61, 0xff, 0x62))).toBe("a\udcffb");
  });

  test("the bounds of an array are passed over", () => {
    expect(fromText(types.arrayOf(types.int4), "[0:1][-5:-5]={{1},{2}}")).toEqual([[1], [2]]);
    expect(fromText(types.arrayOf(types.text), "[2:2]={[1:1]=}")).toEqual(["[1:1]="]);
  });

  test("boxes have a semicolon between them", () => {
    const value = ["(1,1),(0,0)", null, "(3,3),(2,2)"];
    expect(fromText(types.arrayOf(types.box), "{(1,1),(0,0);NULL;(3,3),(2,2)}")).toEqual(value);
    expect(types.arrayOf(types.box).encode(value)).toBe('{"(1,1),(0,0)";NULL;"(3,3),(2,2)"}');
  });
});

describe("alternatives", () => {
  test.each([
    [types.int8AsNumber, "9007199254740992", "22003"],
    [types.timestamptzAsDate, "infinity", "22008"],
    [types.timestamptzAsDate, "294276-12-31 23:59:59+00", "22008"],
    [types.timestamptzAsMicroseconds, "-infinity", "22008"],
    [types.timestampAsDate, "infinity", "22008"],
    [types.listOf(types.int4), "{{1},{2}}", "2202E"],
  ])("%o refuses %s", (codec, text, sqlstate) => {
    expect(() => fromText<unknown>(codec, text)).toThrow(
      expect.objectContaining({ code: "client.bad_value", sqlstate }),
    );
  });

  test("what they can hold", () => {
    expect(fromText(types.int8AsNumber, "-9007199254740991")).toBe(-9_007_199_254_740_991);
    expect(fromText(types.numericAsNumber, "12.50")).toBe(12.5);
    expect(fromText(types.numericAsNumber, "NaN")).toBeNaN();
    expect(fromText(types.jsonAsText, '{"a": 12345678901234567890}')).toBe('{"a": 12345678901234567890}');
    expect(fromHex(types.jsonbAsText, "01 5b5d")).toBe("[]");
    expect(fromText(types.listOf(types.int4), "{1,NULL}")).toEqual([1, null]);
    expect(fromBinary(types.listOf(types.int4), binary.array([binary.int4(7)], [1]))).toEqual([7]);
    expect(fromText(types.timestampAsDate, "2026-11-21 00:00:00.5")).toEqual(
      new Date("2026-11-21T00:00:00.5Z"),
    );
  });

  test("arrays and ranges follow the codec of what they hold", () => {
    const registry = TypeRegistry.builtin.extend(types.int8AsNumber, types.timestamptzAsDate);
    const text = (oid: number, value: string): unknown =>
      registry.textDecoder(oid)(Buffer.from(value), 0, value.length);
    expect(text(types.int8.oid, "1")).toBe(1);
    expect(text(types.int8.arrayOid, "{1,NULL}")).toEqual([1, null]);
    expect(text(types.int8range.oid, "[1,5)")).toEqual(new Range(1, 5));
    expect(text(types.int8multirange.arrayOid, '{"{[1,5)}"}')).toEqual([[new Range(1, 5)]]);
    const both = registry.extend(types.int8AsString, types.int8range);
    expect(both.textDecoder(types.int8range.oid)(Buffer.from("[1,5)"), 0, 5)).toEqual(new Range(1n, 5n));
    // The one it was made from stays as it was.
    expect(TypeRegistry.builtin.textDecoder(types.int8.oid)(Buffer.from("1"), 0, 1)).toBe(1n);
    expect(registry.codec(types.int8.oid)).toBe(types.int8AsNumber);
  });

  test("a type of the user's", () => {
    const mood = types.textual("mood", 90_000, 90_001);
    const registry = TypeRegistry.builtin.extend(mood);
    expect(registry.binaryDecoder(90_000)(Buffer.from("sad"), 0, 3)).toBe("sad");
    expect(registry.textDecoder(90_001)(Buffer.from("{sad}"), 0, 5)).toEqual(["sad"]);
    expect(TypeRegistry.builtin.textDecoder(90_001)(Buffer.from("{sad}"), 0, 5)).toBe("{sad}");
    expect(TypeRegistry.builtin.binaryDecoder(90_000)(Buffer.from("sad"), 0, 3)).toEqual(Buffer.from("sad"));
  });
});

test("no two codecs of the catalogue claim one type, but for alternatives", () => {
  const names = new Map<number, string>();
  for (const { oid, name } of allCodecs) {
    expect(names.get(oid) ?? name).toBe(name);
    names.set(oid, name);
  }
  expect(names.size).toBeGreaterThan(130);
});

test("the compiler infers rows", () => {
  const columns = {
    id: nonNull(types.int8),
    name: types.text,
    tags: types.listOf(types.text),
    at: types.timestamptzAsDate,
  };
  type Row = DecodedRow<typeof columns>;
  const row: Row = { id: 1n, name: null, tags: ["a", null], at: new Date(0) };
  const id: bigint = row.id;
  // @ts-expect-error: it may be NULL
  const name: string = row.name;
  expect([id, name]).toEqual([1n, null]);
});
