/** Values as parameters: what goes out, and what is refused before anything does. */
import { describe, expect, test } from "vitest";
import { OperationError } from "../../../src/base/errors.ts";
import { Range, Timestamp, TypeRegistry, types } from "../../../src/client/types/index.ts";
import { allCodecs } from "./types-spans.ts";

const registry = TypeRegistry.builtin;
const invalid = new Date(Number.NaN);
const cycle: Record<string, unknown> = {};
cycle["self"] = cycle;

describe("of a type that is not known", () => {
  test.each([
    ["as it is", "as it is"],
    ["", ""],
    [1.5, "1.5"],
    [-0, "-0"],
    [0, "0"],
    [1e21, "1e+21"],
    [2 ** 60, "1152921504606846976"],
    [Number.NaN, "NaN"],
    [Number.NEGATIVE_INFINITY, "-Infinity"],
    [10n ** 30n, "1000000000000000000000000000000"],
    [true, "true"],
    [false, "false"],
    [null, null],
    [undefined, null],
    [new Date("2026-11-21T10:00:00.123Z"), "2026-11-21T10:00:00.123Z"],
    [new Timestamp(1, 2), "1970-01-01T00:00:00.001002Z"],
    [new Date("+012026-01-01T00:00:00Z"), "12026-01-01 00:00:00+00"],
    [new Date("-000043-03-15T00:00:00Z"), "0044-03-15 00:00:00+00 BC"],
    [new Date("0000-12-31T23:59:59.999Z"), "0001-12-31 23:59:59.999+00 BC"],
    [Buffer.of(1, 2), Buffer.of(1, 2)],
    [new Uint8Array([1, 2]).buffer, new Uint8Array([1, 2])],
    [new DataView(new Uint8Array([0, 1, 2]).buffer, 1), new Uint8Array([1, 2])],
    [new Float32Array([1, 0.5]), "{1,0.5}"],
    [[], "{}"],
    [[[], [[]]], "{}"],
    [[[1], [null]], "{{1},{NULL}}"],
    [
      ["a b", "NULL", "nUlL", "", 'q"', "\\", "ü", undefined],
      '{"a b","NULL","nUlL","","q\\"","\\\\","ü",NULL}',
    ],
    [[Buffer.of(0xff)], '{"\\\\xff"}'],
    [[new Date(0)], "{1970-01-01T00:00:00.000Z}"],
    [[{ a: 1 }], '{"{\\"a\\":1}"}'],
    [new Range(1, 2), "[1,2)"],
    [new Range(null, null, "[]"), "(,)"],
    [new Range("a,b", "", "[]"), '["a,b",""]'],
    [Range.empty(), "empty"],
    [{ a: [1, undefined], b: undefined }, '{"a":[1,null]}'],
    [{ toJSON: () => "x" }, '"x"'],
  ])("%o", (value, expected) => {
    expect(registry.encodeParameter(value, 0)).toEqual(expected);
    expect(registry.encodeParameter(value, 99_999)).toEqual(expected);
  });

  test.each([
    ["a symbol", Symbol("secret"), "22023"],
    ["a function", () => "secret", "22023"],
    ["an invalid Date", invalid, "22023"],
    ["an array with one", [invalid], "22023"],
    ["a range with one", new Range(invalid, null), "22023"],
    ["a promise", Promise.resolve("secret"), "22023"],
    ["a map", new Map([["secret", 1]]), "22023"],
    ["an error", new Error("secret"), "22023"],
    ["a cycle", cycle, "22023"],
    ["a bigint in JSON", { secret: 1n }, "22023"],
    ["seven dimensions", [[[[[[["secret"]]]]]]], "22023"],
    [
      "a cycle of arrays",
      ((): unknown[] => {
        const own: unknown[] = [];
        own.push(own);
        return own;
      })(),
      "22023",
    ],
    ["NUL", "secret\0", "22021"],
    ["NUL in an array", ["secret\0"], "22021"],
    ["half a pair", "secret\ud800", "22021"],
  ])("%s is refused", (_what, value, sqlstate) => {
    const failure = failureOf(value, 0);
    expect(failure).toMatchObject({ code: "client.bad_parameter", sqlstate });
    expect(`${failure.message}${failure.detail}${failure.hint}${String(failure.cause)}`).not.toContain(
      "secret",
    );
  });
});

describe("of a known type", () => {
  test.each([
    ["int4", types.int4, 5, "5"],
    ["int4", types.int4, 5n, "5"],
    ["int4", types.int4, "5", "5"],
    ["int4", types.int4, -0, "0"],
    ["int8", types.int8, 5, "5"],
    ["int8", types.int8, -(2n ** 63n), "-9223372036854775808"],
    ["xid8", types.xid8, 2n ** 64n - 1n, "18446744073709551615"],
    ["float8", types.float8, -0, "-0"],
    ["numeric", types.numeric, 1e-7, "1e-7"],
    ["text", types.text, 5, "5"],
    ["text", types.text, Buffer.from("é"), Buffer.from("é")],
    ["json", types.json, [1, "a"], '[1,"a"]'],
    ["json", types.json, '"already JSON"', '"already JSON"'],
    ["json", types.json, true, "true"],
    ["jsonb[]", types.arrayOf(types.jsonb), [[1], { a: 1 }, null], '{"[1]","{\\"a\\":1}",NULL}'],
    ["timestamptz", types.timestamptz, Number.POSITIVE_INFINITY, "infinity"],
    ["date", types.date, new Date("2026-11-21T10:00:00Z"), "2026-11-21T10:00:00.000Z"],
    ["interval", types.interval, Number.NEGATIVE_INFINITY, "-infinity"],
    ["bytea", types.bytea, "\\x00", "\\x00"],
    ["int2vector", types.int2vector, [1, 2], "1 2"],
    ["regclass", registry.codec(2205), 1259, "1259"],
    ["int4range", types.int4range, new Range(1, null), "[1,)"],
    ["int4multirange", types.int4multirange, [new Range(1, 2), Range.empty()], "{[1,2),empty}"],
    ["int4multirange[]", types.arrayOf(types.int4multirange), [[new Range(1, 2)], []], '{"{[1,2)}","{}"}'],
    ["bytea[]", types.arrayOf(types.bytea), [Buffer.of(1)], '{"\\\\x01"}'],
    ["int4[]", types.arrayOf(types.int4), new Int32Array([1, 2]), "{1,2}"],
    ["int4[]", types.arrayOf(types.int4), "{1,2}", "{1,2}"],
  ])("%s", (_name, codec, value, expected) => {
    expect(codec?.encode(value)).toEqual(expected);
    expect(registry.encodeParameter(value, codec?.oid ?? 0)).toEqual(expected);
  });

  test.each([
    ["int2", types.int2, 32_768, "22003"],
    ["int4", types.int4, 2 ** 31, "22003"],
    ["int4", types.int4, 2n ** 31n, "22003"],
    ["int4", types.int4, 1.5, "22023"],
    ["int4", types.int4, Number.NaN, "22023"],
    ["int4", types.int4, true, "22023"],
    ["int8", types.int8, 2 ** 53, "22003"],
    ["int8", types.int8, 2n ** 63n, "22003"],
    ["oid", types.oid, -1, "22003"],
    ["xid8", types.xid8, -1, "22003"],
    ["xid8", types.xid8, 2n ** 64n, "22003"],
    ["float8", types.float8, {}, "22023"],
    ["numeric", types.numeric, true, "22023"],
    ["money", types.money, Number.NaN, "22023"],
    ["bool", types.bool, 1, "22023"],
    ["date", types.date, invalid, "22023"],
    ["timestamptz", types.timestamptz, 0, "22023"],
    ["uuid", types.uuid, 1, "22023"],
    ["json", types.json, Number.NaN, "22023"],
    ["json", types.json, new Set(), "22023"],
    ["int4[]", types.arrayOf(types.int4), 1, "22023"],
    ["int4[]", types.arrayOf(types.int4), ["x", 1.5], "22023"],
    ["text[]", types.arrayOf(types.text), [Buffer.of(1)], "22023"],
    ["int4range", types.int4range, [1, 2], "22023"],
    ["int4range", types.int4range, new Range(1.5, null), "22023"],
    ["int4multirange", types.int4multirange, [1], "22023"],
    ["int4multirange", types.int4multirange, new Range(1, 2), "22023"],
    ["text", types.text, "\0", "22021"],
  ])("%s refuses what it cannot hold", (_name, codec, value, sqlstate) => {
    const failure = failureOf(value, codec.oid);
    expect(failure).toMatchObject({ code: "client.bad_parameter", sqlstate });
    expect(failure.message).toMatch(/^a parameter of type \w+ cannot be /);
  });

  test.each(allCodecs.map((codec) => [codec.name, codec] as const))(
    "%s takes or refuses anything",
    (_name, codec) => {
      const anything = [
        0,
        -1,
        1.5,
        Number.NaN,
        2n ** 70n,
        true,
        "x",
        Symbol("s"),
        () => 1,
        {},
        [],
        [1],
        [[null]],
        invalid,
      ];
      for (const value of [
        ...anything,
        new Date(0),
        Buffer.of(1),
        new Range(1, 2),
        new Map(),
        Object.create(null),
      ]) {
        try {
          const encoded = codec.encode(value);
          expect(typeof encoded === "string" || encoded instanceof Uint8Array).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(OperationError);
          expect(error).toMatchObject({ code: "client.bad_parameter" });
        }
      }
    },
  );
});

function failureOf(value: unknown, oid: number): OperationError {
  try {
    registry.encodeParameter(value, oid);
  } catch (error) {
    if (error instanceof OperationError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}
