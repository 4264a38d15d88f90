/** Prepared statements of a session: names that are evicted, lost, stale or half prepared while queries use them. */
import { expect, test } from "vitest";
import type { TypeCodec } from "../../../src/client/types/codec.ts";
import type { BackendMessage } from "../../../src/wire/messages.ts";
import {
  answer,
  Bench,
  bound,
  described,
  done,
  error,
  inTransaction,
  parsed,
  ready,
  row,
} from "./exchange-bench.ts";

const closed: BackendMessage = { kind: "CloseComplete" };
const stale = (): BackendMessage => error("0A000", "RevalidateCachedQuery");

/** A bench on which `q` is prepared as pgsluice_s1. */
function prepared(options: { cacheSize?: number } = {}): Bench {
  const bench = new Bench({ ...options, usesBefore: 0 });
  void bench.query("q");
  bench.receive(...answer("1"));
  bench.names = [];
  return bench;
}

test("a query that waits while its name is evicted does without it", async () => {
  const bench = prepared({ cacheSize: 1 });
  bench.exchange.hold();
  const first = bench.query("q");
  const second = bench.query("other");
  bench.exchange.release();
  expect(bench.names).toEqual([
    "close pgsluice_s1",
    "parse",
    "bind",
    "parse pgsluice_s2",
    "bind pgsluice_s2",
  ]);
  bench.receive(closed, ...answer("1"), ...answer("2"));
  expect((await first).rows).toEqual([[1]]);
  expect((await second).rows).toEqual([[2]]);
});

test("a name that is evicted while its Parse is under way is closed as well", async () => {
  const bench = new Bench({ cacheSize: 1, usesBefore: 0 });
  void bench.query("a");
  void bench.query("b");
  bench.receive(...answer("1"), ...answer("2"));
  void bench.query("b");
  expect(bench.names.filter((name) => name.startsWith("close"))).toEqual(["close pgsluice_s1"]);
});

test("a name whose Close could not be sent is closed later", async () => {
  const bench = prepared({ cacheSize: 1 });
  const bad = bench.query("other", { values: ["\0"] });
  await expect(bad).rejects.toMatchObject({ sqlstate: "22021" });
  expect(bench.names).toEqual([]);
  void bench.query("third");
  expect(bench.names[0]).toBe("close pgsluice_s1");
});

test("a name whose Close the server has passed over, behind an error in a pipeline, is closed later", async () => {
  const bench = prepared({ cacheSize: 1 });
  const failing = bench.query("q", { ending: "result" });
  const skipped = bench.query("other", { ending: "result" });
  const behind = bench.query("third");
  expect(bench.names).toContain("close pgsluice_s1");
  bench.names = [];
  bench.receive(error("22012"), ready);
  await expect(failing).rejects.toMatchObject({ sqlstate: "22012" });
  for (const lost of [skipped, behind]) {
    await expect(lost).rejects.toMatchObject({ code: "client.pipeline_aborted" });
  }
  void bench.query("fourth");
  expect(bench.names).toContain("close pgsluice_s1");
});

test.each([
  ["a statement that is gone", error("26000")],
  ["one with another result", stale()],
  ["one whose parameters no longer fit", error("42804")],
])("%s is prepared anew next time, though the query was in a transaction", async (_what, fault) => {
  const bench = prepared();
  void bench.query("BEGIN");
  bench.receive(parsed, bound, { kind: "NoData" }, { kind: "CommandComplete", tag: "BEGIN" }, inTransaction);
  const failed = bench.query("q");
  bench.receive(fault, { kind: "ReadyForQuery", status: 0x45 });
  await expect(failed).rejects.toMatchObject({ sqlstate: /^(26000|0A000|42804)$/ });
  bench.names = [];
  const next = bench.query("q");
  expect(bench.names).toEqual(["close pgsluice_s1", "parse pgsluice_s3", "bind pgsluice_s3"]);
  bench.receive(closed, ...answer("7"));
  expect((await next).rows).toEqual([[7]]);
});

test("of many queries with a stale name only the last is sent again, and later ones do without the name", async () => {
  const bench = prepared();
  const asked = [bench.query("q"), bench.query("q"), bench.query("q")];
  bench.names = [];
  bench.receive(stale(), ready, stale(), ready, stale(), ready);
  expect(bench.names).toEqual(["close pgsluice_s1", "parse pgsluice_s2", "bind pgsluice_s2"]);
  bench.receive(closed, ...answer("5"));
  expect(await Promise.allSettled(asked)).toMatchObject([
    { reason: { sqlstate: "0A000" } },
    { reason: { sqlstate: "0A000" } },
    { value: { rows: [[5]] } },
  ]);
  void bench.query("q");
  expect(bench.names.at(-1)).toBe("bind pgsluice_s2");
});

test("an error of 26000 from within a statement that has begun is the caller's", async () => {
  const bench = prepared();
  const asked = bench.query("q");
  bench.names = [];
  bench.receive(bound, error("26000"), ready);
  await expect(asked).rejects.toMatchObject({ sqlstate: "26000" });
  expect(bench.names).toEqual([]);
});

test("a stale name in a pipeline is the statement's own error", async () => {
  const bench = prepared();
  const asked = bench.query("q", { ending: "result" });
  bench.receive(error("26000"));
  await expect(asked).rejects.toMatchObject({ sqlstate: "26000" });
});

test("columns that were known and do not fit do not hide that the statement is stale", async () => {
  const bench = prepared();
  const text: TypeCodec<string> = {
    name: "text",
    oid: 25,
    arrayOid: 1009,
    decodeText: (buffer, start, end) => buffer.toString("utf8", start, end),
    decodeBinary: (buffer, start, end) => buffer.toString("utf8", start, end),
    encode: String,
  };
  const asked = bench.query("q", { columns: { a: text } });
  bench.receive(stale(), ready);
  const renewed = { ...described };
  if (renewed.kind === "RowDescription") {
    Object.assign(renewed, { columns: renewed.columns.map((column) => ({ ...column, typeOid: 25 })) });
  }
  bench.receive(closed, parsed, bound, renewed, row("x"), done, ready);
  expect((await asked).rows).toEqual([["x"]]);
});

test("a query that is sent between ParseComplete and the description asks for its own", async () => {
  const bench = new Bench({ usesBefore: 1 });
  void bench.query("q");
  bench.receive(...answer("1"));
  void bench.query("q");
  bench.receive(parsed);
  const behind = bench.query("q");
  const other = { ...described };
  if (other.kind === "RowDescription") {
    Object.assign(other, { columns: other.columns.map((column) => ({ ...column, typeOid: 25 })) });
  }
  bench.receive(bound, other, row("one"), done, ready, bound, other, row("two"), done, ready);
  expect((await behind).rows).toEqual([["two"]]);
});

test("types of parameters that no longer hold are asked for again", async () => {
  const bench = new Bench({ usesBefore: Number.POSITIVE_INFINITY });
  const types: BackendMessage = { kind: "ParameterDescription", types: [1007] };
  void bench.query("q", { values: [[1]] });
  bench.receive(parsed, types, described, ready, ...answer("1"));
  const wrong = bench.query("q", { values: [[1]] });
  bench.receive(error("42704"), ready);
  await expect(wrong).rejects.toMatchObject({ sqlstate: "42704" });
  bench.takeSent();
  void bench.query("q", { values: [[1]] });
  expect(bench.takeSent()).toBe("PDS");
});

test("behind DISCARD ALL nothing relies on a name", async () => {
  const bench = prepared();
  const control = new AbortController();
  const discard = bench.query("DISCARD ALL", { signal: control.signal });
  const waiting = [bench.query("q"), bench.query("q")];
  bench.receive(parsed, bound, { kind: "NoData" }, { kind: "CommandComplete", tag: "DISCARD ALL" });
  bench.names = [];
  bench.receive(ready);
  expect(bench.names).toEqual(["parse", "bind", "parse", "bind"]);
  bench.receive(...answer("1"), ...answer("2"));
  await discard;
  expect(await Promise.all(waiting)).toMatchObject([{ rows: [[1]] }, { rows: [[2]] }]);
});

test("a statement that is prepared again and again is closed as often", async () => {
  const bench = new Bench({ cacheSize: 2, usesBefore: 0 });
  const live = new Set<string>();
  for (let round = 0; round < 200; round++) {
    for (const text of ["a", "b", "c"].slice(0, 1 + (round % 3))) void bench.query(text);
    // A server: it answers every message of what was sent.
    const replies: BackendMessage[] = [];
    for (const name of bench.names) {
      const [verb, statement = ""] = name.split(" ");
      if (verb === "parse") {
        expect(live.has(statement)).toBe(false);
        if (statement !== "") live.add(statement);
        replies.push(parsed);
      } else if (verb === "close") {
        live.delete(statement);
        replies.push(closed);
      } else {
        expect(statement === "" || live.has(statement)).toBe(true);
        replies.push(bound, described, row("1"), done, ready);
      }
    }
    bench.names = [];
    bench.receive(...replies);
    expect(live.size).toBeLessThan(6);
  }
  expect(bench.exchange.idle).toBe(true);
});
