import { describe, expect, test } from "vitest";
import { type SignalCall, signalCall } from "../../../src/session/auto/signal-call.ts";
import type { ClientStatements } from "../../../src/session/statements.ts";
import { decodeFrontend, encodeFrontend, type FrontendMessage } from "../../../src/wire/index.ts";

function callOf(message: FrontendMessage, statement = ""): SignalCall | undefined {
  const bytes = encodeFrontend(message);
  const statements = { unnamed: `${statement}\0\0\0`, find: () => undefined } as unknown as ClientStatements;
  return signalCall(bytes[0] ?? 0, bytes, 0, bytes.length, statements);
}

const decoded = (bytes: Buffer | undefined): FrontendMessage | undefined =>
  bytes && decodeFrontend(bytes, 0, bytes.length);

describe("a Query", () => {
  test.each([
    ["select pg_cancel_backend(12)", "select pg_cancel_backend(7)", "select true as pg_cancel_backend"],
    [
      " SELECT pg_catalog . PG_Terminate_Backend ( 12 , 100 ) ; ",
      " SELECT pg_catalog . PG_Terminate_Backend ( 7 , 100 ) ; ",
      " SELECT true as pg_terminate_backend ; ",
    ],
    [
      'select pg_cancel_backend(12::int) as "done"',
      'select pg_cancel_backend(7::int) as "done"',
      'select true as "done"',
    ],
    ["select pg_cancel_backend(12) done", "select pg_cancel_backend(7) done", "select true done"],
  ])("%s", (sql, other, asTrue) => {
    const call = callOf({ kind: "Query", sql });
    expect(call).toMatchObject({ pid: 12, terminates: /terminate/i.test(sql) });
    expect(decoded(call?.withPid(7))).toEqual({ kind: "Query", sql: other });
    expect(decoded(call?.asTrue?.())).toEqual({ kind: "Query", sql: asTrue });
  });

  test.each([
    "select pg_cancel_backend(pg_backend_pid())",
    "select pg_cancel_backend(-1)",
    "select pg_cancel_backend(12), 1",
    "select pg_cancel_backend(12) from t",
    "select pg_cancel_backend(12); select 1",
    "select other.pg_cancel_backend(12)",
    "select pg_cancel_backend($1)",
    "select pg_terminate_backend(pid) from pg_stat_activity",
    `select pg_cancel_backend(12) ${" ".repeat(1000)}`,
  ])("%s is none", (sql) => {
    expect(callOf({ kind: "Query", sql })).toBeUndefined();
  });
});

describe("a Bind", () => {
  const bind = (value: Buffer | null, format: 0 | 1): FrontendMessage => ({
    kind: "Bind",
    portal: "",
    statement: "",
    formats: [format],
    values: [value],
    resultFormats: [],
  });

  test.each([
    ["text", Buffer.from("12"), 0, Buffer.from("7")],
    ["binary", Buffer.from([0, 0, 0, 12]), 1, Buffer.from([0, 0, 0, 7])],
  ] as const)("%s", (_, value, format, other) => {
    const call = callOf(bind(value, format), "select pg_terminate_backend($1)");
    expect(call).toMatchObject({ pid: 12, terminates: true, asTrue: undefined });
    expect(decoded(call?.withPid(7))).toEqual(bind(other, format));
  });

  test("of something else, or of NULL, is none", () => {
    expect(callOf(bind(null, 0), "select pg_terminate_backend($1)")).toBeUndefined();
    expect(callOf(bind(Buffer.from("12"), 0), "select pg_terminate_backend(12)")).toBeUndefined();
    expect(callOf(bind(Buffer.from("12"), 0), "select $1")).toBeUndefined();
  });
});

test("a Parse without a name; one with a name will be run when the number means somebody else", () => {
  const parse = (name: string): FrontendMessage => ({
    kind: "Parse",
    name,
    sql: "select pg_cancel_backend(12)",
    types: [],
  });
  expect(decoded(callOf(parse(""))?.withPid(7))).toMatchObject({ sql: "select pg_cancel_backend(7)" });
  expect(callOf(parse("named"))).toBeUndefined();
});

test("a message that has not come whole is none", () => {
  const bytes = encodeFrontend({ kind: "Query", sql: "select pg_cancel_backend(12)" });
  const statements = {} as ClientStatements;
  expect(signalCall(bytes[0] ?? 0, bytes, 0, bytes.length - 1, statements)).toBeUndefined();
});
