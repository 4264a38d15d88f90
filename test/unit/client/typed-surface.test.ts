/**
 * The types that callers see. `tsc` checks them: at run time these tests do next to nothing, so nothing here is
 * connected to, and queries stand in functions that are never called.
 */
import { describe, expect, expectTypeOf, test } from "vitest";
import {
  type ArrayValue,
  type Connection,
  type ConnectionKeyword,
  type ConnectionParameters,
  connect,
  nonNull,
  type Query,
  type Range,
  type Result,
  type SqlStateCode,
  type SqlStateName,
  sqlState,
  type Timestamp,
  type TransactionOptions,
  TypeRegistry,
  types,
} from "../../../src/client/index.ts";
import type * as libpq from "../../../src/client/libpq/index.ts";

/** What awaiting a query gives, row by row. */
type RowOf<Ask extends (connection: Connection) => PromiseLike<Result<unknown>>> = Awaited<
  ReturnType<Ask>
>["rows"][number];

describe("rows", () => {
  test("of columns that are stated have their types; nonNull takes null away", () => {
    const ask = (connection: Connection) =>
      connection.query("SELECT", [], {
        columns: {
          id: nonNull(types.int8),
          name: types.text,
          at: nonNull(types.timestamptz),
          tags: nonNull(types.listOf(types.text)),
          matrix: types.arrayOf(types.float8),
          span: types.int4range,
          data: types.jsonb,
          count: nonNull(types.int8AsNumber),
        },
      });
    expectTypeOf<RowOf<typeof ask>>().toEqualTypeOf<{
      id: bigint;
      name: string | null;
      at: Timestamp | number;
      tags: (string | null)[];
      matrix: ArrayValue<number> | null;
      span: Range<number> | null;
      data: unknown;
      count: number;
    }>();
  });

  test("without them are what the caller says, else a record of unknown", () => {
    const plain = (connection: Connection) => connection.query("SELECT");
    expectTypeOf<RowOf<typeof plain>>().toEqualTypeOf<Record<string, unknown>>();
    const said = (connection: Connection) => connection.query<{ a: number }>("SELECT", [1]);
    expectTypeOf<RowOf<typeof said>>().toEqualTypeOf<{ a: number }>();
  });

  test("as arrays and as bytes", () => {
    const array = (connection: Connection) => connection.query("SELECT", [], { rowMode: "array" });
    expectTypeOf<RowOf<typeof array>>().toEqualTypeOf<unknown[]>();
    const raw = (connection: Connection) =>
      connection.query("SELECT", undefined, { rowMode: "raw", format: "binary" });
    expectTypeOf<RowOf<typeof raw>>().toEqualTypeOf<(Buffer | null)[]>();
  });

  test("a codec of one's own is as good as any", () => {
    const point = { ...types.point, decodeText: () => ({ x: 0 }), decodeBinary: () => ({ x: 0 }) };
    const ask = (connection: Connection) => connection.query("SELECT", [], { columns: { at: point } });
    expectTypeOf<RowOf<typeof ask>>().toEqualTypeOf<{ at: { x: number } | null }>();
    expectTypeOf(TypeRegistry.builtin.extend(point)).toEqualTypeOf<TypeRegistry>();
  });
});

describe("a query", () => {
  test("is awaited, iterated over, or taken by chunks", () => {
    const take = async (query: Query<{ a: number }>): Promise<void> => {
      expectTypeOf(await query).toEqualTypeOf<Result<{ a: number }>>();
      for await (const row of query) expectTypeOf(row).toEqualTypeOf<{ a: number }>();
      for await (const rows of query.chunks()) expectTypeOf(rows).toEqualTypeOf<{ a: number }[]>();
      const [first, second] = await Promise.all([query, query.then(({ rowCount }) => rowCount)]);
      expectTypeOf(first.rows).toEqualTypeOf<{ a: number }[]>();
      expectTypeOf(second).toEqualTypeOf<number | null>();
      expectTypeOf(query.catch(() => undefined)).toEqualTypeOf<Promise<Result<{ a: number }> | undefined>>();
    };
    expect(take).toBeTypeOf("function");
  });

  test("takes the options that there are, with the values that they have", () => {
    const ask = (connection: Connection, signal: AbortSignal | undefined): void => {
      void connection.query("SELECT", [], { signal, format: "binary", types: undefined });
      // @ts-expect-error: a misspelt option
      void connection.query("SELECT", [], { rowmode: "array" });
      // @ts-expect-error: a mode that does not exist
      void connection.query("SELECT", [], { rowMode: "tuple" });
      // @ts-expect-error: parameters are a list
      void connection.query("SELECT $1", 1);
      // @ts-expect-error: columns are codecs
      void connection.query("SELECT", [], { columns: { a: "int4" } });
    };
    expect(ask).toBeTypeOf("function");
  });

  test("what runs in a transaction decides what it resolves with", () => {
    const run = (connection: Connection) =>
      connection.transaction(async () => (await connection.query<{ a: 1 }>("SELECT")).rows, {
        isolation: "serializable",
        readOnly: true,
      });
    expectTypeOf<Awaited<ReturnType<typeof run>>>().toEqualTypeOf<{ a: 1 }[]>();
    // @ts-expect-error: not a level of isolation
    const level: TransactionOptions["isolation"] = "snapshot";
    expect(level).toBe("snapshot");
  });
});

describe("connect", () => {
  test("takes every keyword of libpq, and `database`", () => {
    expectTypeOf<keyof ConnectionParameters>().toEqualTypeOf<ConnectionKeyword | "database">();
    expectTypeOf<ConnectionKeyword>().extract<"host" | "target_session_attrs" | "sslmode">().not.toBeNever();
    const computed: string = "primary";
    const parameters: ConnectionParameters = {
      host: "db.example",
      port: 5432,
      keepalives: true,
      connect_timeout: "10",
      sslmode: "verify-full",
      target_session_attrs: computed,
      password: undefined,
    };
    expectTypeOf(connect).toBeCallableWith(parameters, { signal: AbortSignal.abort(), timeoutMs: 1 });
    expectTypeOf(connect).toBeCallableWith("postgres://db.example", { prepareThreshold: Infinity });
    expectTypeOf(connect).toBeCallableWith(process.env["DATABASE_URL"]);
    expectTypeOf(connect).returns.resolves.toEqualTypeOf<Connection>();
  });

  test("refuses what is misspelt or of another type", () => {
    const ask = (): void => {
      // @ts-expect-error: a misspelt keyword
      void connect({ hots: "db.example" });
      // @ts-expect-error: libpq's keywords are in small letters
      void connect({ applicationName: "shop" });
      // @ts-expect-error: a host is a name
      void connect({ host: 1 });
      // @ts-expect-error: an option of the call among the parameters
      void connect({ host: "db.example", signal: AbortSignal.timeout(1) });
      // @ts-expect-error: a misspelt option
      void connect("", { prepareTreshold: 1 });
    };
    expect(ask).toBeTypeOf("function");
  });

  test("libpq's calls take lists of parameters, and answer in words", () => {
    expectTypeOf<libpq.PollingStatus>().toEqualTypeOf<"failed" | "reading" | "writing" | "ok">();
    expectTypeOf<ReturnType<typeof libpq.connectPoll>>().toEqualTypeOf<libpq.PollingStatus>();
    expectTypeOf<readonly (readonly [string, string | undefined])[]>().toExtend<libpq.ParameterList>();
    expectTypeOf<ConnectionParameters>().toExtend<libpq.ParameterList>();
  });
});

describe("names of SQLSTATEs", () => {
  test("are literals, and so are their codes", () => {
    expectTypeOf(sqlState.unique_violation).toEqualTypeOf<"23505">();
    expectTypeOf<SqlStateName>().extract<"deadlock_detected">().toEqualTypeOf<"deadlock_detected">();
    expectTypeOf<SqlStateCode>().extract<"40P01" | "99999">().toEqualTypeOf<"40P01">();
    // @ts-expect-error: a misspelt name
    expect(sqlState.unique_voilation).toBeUndefined();
  });
});
