/** Values of every built-in type against PostgreSQL: what comes in both formats, and what goes back. */
import { inspect, isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Range, Timestamp, TypeRegistry, types } from "../../src/client/types/index.ts";
import type { BackendMessage } from "../../src/wire/messages.ts";
import { useLab } from "../kit/lab.ts";
import { type RawClient, rawClient } from "../kit/raw-client.ts";
import { literals, textLiterals } from "./client-type-literals.ts";

const place = useLab();
const registry = TypeRegistry.builtin;
let client: RawClient;

beforeAll(async () => {
  client = await rawClient(place.lab.primary.port);
  await client.startup({ parameters: [["DateStyle", "ISO"]] });
});
afterAll(() => client?.destroy());

interface Answer {
  readonly oid: number;
  readonly text: Buffer | null;
  readonly binary: Buffer | null;
}

/** One value, asked for in both formats; the parameters' values may depend on the types the server found. */
async function ask(
  sql: string,
  values: (oids: readonly number[]) => (string | Uint8Array | null)[] = () => [],
  formats: readonly ("text" | "binary")[] = ["text", "binary"],
): Promise<Answer> {
  client.send(
    { kind: "Parse", name: "", sql, types: [] },
    { kind: "Describe", target: "statement", name: "" },
    { kind: "Sync" },
  );
  const described = succeeded(await client.until("ReadyForQuery"), sql);
  const parameters = described.find((message) => message.kind === "ParameterDescription");
  const row = described.find((message) => message.kind === "RowDescription");
  const given = values(parameters?.types ?? []);
  const answers: (Buffer | null)[] = [];
  for (const format of formats) {
    client.send(
      {
        kind: "Bind",
        portal: "",
        statement: "",
        formats: given.map((value) => (typeof value === "string" || value === null ? 0 : 1)),
        values: given.map((value) => (value === null ? null : Buffer.from(value))),
        resultFormats: [format === "text" ? 0 : 1],
      },
      { kind: "Execute", portal: "", maxRows: 0 },
      { kind: "Sync" },
    );
    const messages = succeeded(await client.until("ReadyForQuery"), sql);
    const data = messages.find((message) => message.kind === "DataRow");
    answers.push(data?.values[0] ?? null);
  }
  const [text = null, binary = null] = answers;
  return { oid: row?.columns[0]?.typeOid ?? 0, text, binary };
}

function succeeded(messages: readonly BackendMessage[], sql: string): readonly BackendMessage[] {
  const failure = messages.find((message) => message.kind === "ErrorResponse");
  if (failure !== undefined) throw new Error(`${failure.fields.message}: ${sql.slice(0, 300)}`);
  return messages;
}

/** Where a value lies in a row: bytes before and behind it belong to others. */
function decode(oid: number, format: "text" | "binary", bytes: Buffer | null): unknown {
  if (bytes === null) return null;
  const row = Buffer.concat([Buffer.from("77"), bytes, Buffer.from("77,}")]);
  const decoder = format === "text" ? registry.textDecoder(oid) : registry.binaryDecoder(oid);
  const value = decoder(row, 2, 2 + bytes.length);
  // The row is overwritten by the next one; a value that was not copied would change with it.
  row.fill(0x7a);
  return value;
}

const quote = (literal: string): string => `E'${literal.replace(/\\/g, "\\\\").replace(/'/g, "''")}'`;

/** What is wrong with one literal, if anything. */
async function wrongWith(type: string, literal: string): Promise<string[]> {
  const { oid, text, binary } = await ask(`SELECT ${quote(literal)}::${type}`);
  const value = decode(oid, "text", text);
  const fromBinary = decode(oid, "binary", binary);
  const wrong: string[] = [];
  if (registry.codec(oid) === undefined) wrong.push("no codec");
  if (!isDeepStrictEqual(comparable(value), comparable(fromBinary)))
    wrong.push(`${inspect(value)} but in binary ${inspect(fromBinary)}`);
  return [...wrong, ...(await wrongBack(type, literal, value))].map((what) => `${literal}: ${what}`);
}

/** Two invalid Dates never equal each other, and a Date that ends too early is one. */
function comparable(value: unknown): unknown {
  return value instanceof Timestamp ? value.epochMicroseconds : value;
}

async function wrongBack(type: string, literal: string, value: unknown): Promise<string[]> {
  // A string is sent as the JSON that it is, and JSON's null is not SQL's.
  const sent = /^jsonb?$/.test(type) ? JSON.stringify(value) : value;
  const encoded: (string | Uint8Array | null)[] = [];
  const { text } = await ask(
    `SELECT ($1::${type})::text IS NOT DISTINCT FROM (${quote(literal)}::${type})::text`,
    (oids) => {
      encoded.push(...oids.map((oid) => registry.encodeParameter(sent, oid)));
      return encoded;
    },
    ["text"],
  );
  return text?.toString() === "t" ? [] : [`does not come back as ${inspect(encoded)}`];
}

test.each(Object.entries(literals))(
  "%s: both formats decode to one value, which as a parameter is the same again",
  async (type, values) => {
    const wrong: string[] = [];
    for (const literal of values) wrong.push(...(await wrongWith(type, literal)));
    expect(wrong).toEqual([]);
  },
);

test.each(Object.entries(textLiterals))(
  "%s: the text comes as it is, and goes back",
  async (type, values) => {
    for (const literal of values) {
      const { oid, text } = await ask(`SELECT ${quote(literal)}::${type}`, undefined, ["text"]);
      const value = decode(oid, "text", text);
      expect(Array.isArray(value) ? `{${value.join(",")}}` : value).toBe(literal);
      expect(await wrongBack(type, literal, value)).toEqual([]);
    }
  },
);

describe("the catalogue", () => {
  test("names, arrays and delimiters are those of pg_type", async () => {
    const rows = await client.rows(
      "SELECT oid, typname, typarray, typdelim, typelem FROM pg_type WHERE oid < 16384 AND typrelid = 0",
    );
    const wrong = rows.filter(([oid, name, array, delimiter]) => {
      const codec = registry.codec(Number(oid));
      if (codec === undefined) return false;
      // The delimiter of an array type is that of its elements, and nobody asks an array's codec for it.
      const sameDelimiter = codec.name.startsWith("_") || (codec.delimiter ?? ",") === delimiter;
      return codec.name !== name || codec.arrayOid !== Number(array) || !sameDelimiter;
    });
    expect(wrong).toEqual([]);
  });

  test("only what no column or expression of a user has is left out", async () => {
    const rows = await client.rows(
      "SELECT oid, typname FROM pg_type WHERE oid < 12000 AND typrelid = 0 AND typtype IN ('b', 'r', 'm') AND typelem = 0 OR typname ~ '^_' AND typelem IN (SELECT oid FROM pg_type WHERE oid < 12000 AND typrelid = 0) ORDER BY typname",
    );
    const missing = rows.filter(([oid]) => registry.codec(Number(oid)) === undefined);
    expect(missing.map(([, name]) => name)).toEqual([
      "_gtsvector",
      "gtsvector",
      "pg_brin_bloom_summary",
      "pg_brin_minmax_multi_summary",
      "pg_dependencies",
      "pg_mcv_list",
      "pg_ndistinct",
      "pg_node_tree",
    ]);
  });

  test("bounds of ranges and multiranges are those of pg_range", async () => {
    const rows = await client.rows(
      "SELECT rngtypid, rngsubtype, rngmultitypid FROM pg_range WHERE rngtypid < 12000",
    );
    for (const [range, subtype, multirange] of rows) {
      const replaced = registry.extend({ ...types.text, name: "told", oid: Number(subtype), arrayOid: 0 });
      const text = Buffer.from("[1,2)");
      const value = replaced.textDecoder(Number(range))(text, 0, text.length);
      expect(value).toEqual(new Range("1", "2"));
      expect(replaced.codec(Number(multirange))).not.toBe(registry.codec(Number(multirange)));
    }
    expect(rows).toHaveLength(6);
  });
});

describe("what a value becomes", () => {
  test.each([
    ["SELECT 42", 42],
    ["SELECT 42::int8", 42n],
    ["SELECT 1.50", "1.50"],
    ["SELECT true", true],
    ["SELECT NULL::int4", null],
    ["SELECT 'x'::bytea", Buffer.from("x")],
    ["SELECT date '2026-11-21'", "2026-11-21"],
    ["SELECT timestamp '2026-11-21 10:00'", "2026-11-21 10:00:00"],
    [
      "SELECT timestamptz '2026-11-21 10:00:00.123456+02'",
      new Timestamp(Date.UTC(2026, 10, 21, 8, 0, 0, 123), 456),
    ],
    ["SELECT timestamptz 'infinity'", Number.POSITIVE_INFINITY],
    [
      "SELECT '[2:3][0:1]={{1,2},{3,4}}'::int4[]",
      [
        [1, 2],
        [3, 4],
      ],
    ],
    ["SELECT '[5:5]={a}'::text[]", ["a"]],
    ["SELECT '[1,3]'::int4range", new Range(1, 4)],
    ["SELECT '(,)'::int4range", new Range<number>(null, null, "()")],
    ["SELECT 'empty'::int4range", Range.empty()],
    ["SELECT '{[1,2),[3,4)}'::int4multirange", [new Range(1, 2), new Range(3, 4)]],
    ["SELECT '{\"a\": [1, null]}'::jsonb", { a: [1, null] }],
    ["SELECT interval '1 day 2 hours'", "1 day 02:00:00"],
    ["SELECT '{}'::text[]", []],
    ["SELECT pg_sleep(0)", ""],
    ["SELECT 'x'", "x"],
  ])("%s", async (sql, value) => {
    const { oid, text, binary } = await ask(sql);
    expect(decode(oid, "text", text)).toStrictEqual(value);
    expect(decode(oid, "binary", binary)).toStrictEqual(value);
  });

  test("a row and a type of the user's are text", async () => {
    await client.rows("CREATE TYPE pg_temp.mood AS ENUM ('sad', 'häppy')");
    const mood = await ask("SELECT 'häppy'::pg_temp.mood");
    expect(decode(mood.oid, "text", mood.text)).toBe("häppy");
    const row = await ask("SELECT ROW(1, 'two words', NULL)", undefined, ["text"]);
    expect(decode(row.oid, "text", row.text)).toBe('(1,"two words",)');
  });

  test("a float4 is the same number in both formats", async () => {
    const rows = await client.rows(
      `SELECT power(2::float8, e)::float4::text, encode(float4send(power(2::float8, e)::float4), 'hex') FROM generate_series(-149, 127) e
       UNION ALL SELECT x::text, encode(float4send(x), 'hex') FROM (
         SELECT ((hashint8(i) / 2147483648.0) * power(10::float8, i % 70 - 35))::float4 AS x FROM generate_series(1, 5000) i) AS f`,
    );
    expect(rows.length).toBe(5277);
    for (const [text = "", hex = ""] of rows) {
      const bytes = Buffer.from(hex ?? "", "hex");
      expect(types.float4.decodeBinary(bytes, 0, 4)).toBe(Number(text));
    }
  });

  test("points are written as the server writes float8", async () => {
    const rows = await client.rows(
      `SELECT p::text, encode(point_send(p), 'hex') FROM (
         SELECT point(hashint8(i) * power(10::float8, -(i % 300)), i % 9 * power(10::float8, i % 40 - 20)) AS p
         FROM generate_series(1, 3000) i) AS t`,
    );
    for (const [text, hex] of rows) {
      const bytes = Buffer.from(hex ?? "", "hex");
      expect(types.point.decodeBinary(bytes, 0, 16)).toBe(text);
    }
  });

  test("intervals are written as the server writes them", async () => {
    const rows = await client.rows(
      `SELECT v::text, encode(interval_send(v), 'hex') FROM (
         SELECT make_interval(months => hashint8(i) % 30, days => hashint8(i + 1) % 3, secs => (hashint8(i + 2) % 3) * (hashint8(i + 3) / 1e5)) AS v
         FROM generate_series(1, 3000) i) AS t`,
    );
    for (const [text, hex] of rows) {
      const bytes = Buffer.from(hex ?? "", "hex");
      expect(types.interval.decodeBinary(bytes, 0, 16)).toBe(text);
    }
  });

  test.each(["UTC", "Asia/Kolkata", "America/St_Johns", "Europe/Amsterdam"])(
    "a timestamptz means the same in %s",
    async (zone) => {
      await client.rows(`SET TimeZone = '${zone}'`);
      for (const literal of literals["timestamptz"] ?? []) {
        const { oid, text, binary } = await ask(`SELECT ${quote(literal)}::timestamptz`);
        expect(decode(oid, "text", text)).toStrictEqual(decode(oid, "binary", binary));
      }
      await client.rows("RESET TimeZone");
    },
  );

  test("another DateStyle is refused, not misread", async () => {
    for (const style of ["German", "SQL, DMY", "Postgres"]) {
      await client.rows(`SET DateStyle = '${style}'`);
      for (const type of ["date", "timestamp", "timestamptz"]) {
        const { oid, text } = await ask(`SELECT '2026-11-21'::${type}`, undefined, ["text"]);
        expect(() => decode(oid, "text", text)).toThrow(
          expect.objectContaining({ code: "client.bad_value" }),
        );
      }
    }
    await client.rows("SET DateStyle = ISO");
  });

  test("bytea in the older output form", async () => {
    await client.rows("SET bytea_output = escape");
    const { oid, text, binary } = await ask("SELECT '\\x00615c2780ff'::bytea");
    expect(decode(oid, "text", text)).toEqual(binary);
    await client.rows("RESET bytea_output");
  });
});

describe("parameters whose type only the server knows", () => {
  test.each([
    ["$1::int4", 42, "42"],
    ["$1::float8", -0, "-0"],
    ["$1::float8", Number.NEGATIVE_INFINITY, "-Infinity"],
    ["$1::int8", 2 ** 62, "4611686018427387904"],
    ["$1::numeric", 1e21, "1000000000000000000000"],
    ["$1::int8", -(2n ** 63n), "-9223372036854775808"],
    ["$1::bool", true, "true"],
    ["$1::text", "it's", "it's"],
    ["$1::bytea", Buffer.from([0, 255]), "\\x00ff"],
    [
      "$1::text[]",
      ["a", null, "NULL", "", 'q"\\', "{,}", "ü", " "],
      '{a,NULL,"NULL","","q\\"\\\\","{,}",ü," "}',
    ],
    [
      "$1::int4[]",
      [
        [1, 2],
        [3, null],
      ],
      "{{1,2},{3,NULL}}",
    ],
    ["$1::int4[]", [[], []], "{}"],
    ["$1::bytea[]", [Buffer.from([1]), null], '{"\\\\x01",NULL}'],
    ["$1::jsonb", { a: [1, "x"] }, '{"a": [1, "x"]}'],
    ["$1::int4range", new Range(1, 5, "[]"), "[1,6)"],
    ["$1::tstzrange", new Range(new Date(0), null), '["1970-01-01 00:00:00+00",)'],
    ["$1::int4range[]", [new Range(1, null), Range.empty()], '{"[1,)",empty}'],
    ["$1::timestamptz", new Date(0), "1970-01-01 00:00:00+00"],
    ["$1::timestamp", new Date(1), "1970-01-01 00:00:00.001"],
    ["$1::date", new Date(86_400_000), "1970-01-02"],
    ["$1::timestamptz", new Date(-8.64e15 + 2.1e14), undefined],
    ["$1::timestamptz", new Date(Date.UTC(12_026, 0, 1)), "12026-01-01 00:00:00+00"],
    ["$1::timestamptz", new Date("0000-01-01T00:00:00Z"), "0001-01-01 00:00:00+00 BC"],
    ["$1::int4", null, undefined],
  ])("%s", async (expression, value, expected) => {
    await client.rows("SET TimeZone = UTC");
    const encode = (): (string | Uint8Array | null)[] => [registry.encodeParameter(value, 0)];
    if (value instanceof Date && expected === undefined) {
      // Before 4713 BC: PostgreSQL has no such time, and says so.
      await expect(ask(`SELECT (${expression})::text`, encode, ["text"])).rejects.toThrow("out of range");
      return;
    }
    const { text } = await ask(`SELECT (${expression})::text`, encode, ["text"]);
    expect(text?.toString()).toBe(expected);
  });
});
