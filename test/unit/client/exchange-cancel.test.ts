/** Leaving, aborting and failing: what may be cancelled, who is told, and what the caller's own functions may do. */
import { expect, test } from "vitest";
import { OperationError } from "../../../src/base/errors.ts";
import type { TypeCodec } from "../../../src/client/types/codec.ts";
import { TypeRegistry } from "../../../src/client/types/registry.ts";
import type { BackendMessage } from "../../../src/wire/messages.ts";
import { answer, Bench, bound, described, done, error, parsed, ready, row } from "./exchange-bench.ts";

const int4: TypeCodec<number> = {
  name: "int4",
  oid: 23,
  arrayOid: 1007,
  decodeText: (buffer, start, end) => Number(buffer.toString("utf8", start, end)),
  decodeBinary: () => 0,
  encode: String,
};
const copyIn: BackendMessage = { kind: "CopyInResponse", format: 0, columnFormats: [] };

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("leaving a loop cancels nothing if another query has been sent behind", async () => {
  const bench = new Bench();
  const rows = bench.start("endless")[Symbol.asyncIterator]();
  const first = rows.next();
  const behind = bench.query("behind");
  bench.receive(parsed, bound, described, row("1"));
  await first;
  const left = rows.return();
  await turn();
  bench.receive(row("2"), done, ready, ...answer("3"));
  await left;
  expect(bench.cancels).toBe(0);
  expect((await behind).rows).toEqual([[3]]);
});

test("leaving a loop cancels nothing in a pipeline: the request would undo what came before", async () => {
  const bench = new Bench();
  const rows = bench.start("a", { ending: "result" })[Symbol.asyncIterator]();
  const first = rows.next();
  bench.receive(parsed, bound, described, row("1"));
  await first;
  const left = rows.return();
  await turn();
  bench.receive(done);
  await left;
  expect(bench.cancels).toBe(0);
});

test("leaving a loop cancels a query that is alone", async () => {
  const bench = new Bench();
  const rows = bench.start("endless")[Symbol.asyncIterator]();
  const first = rows.next();
  bench.receive(parsed, bound, described, row("1"));
  await first;
  const left = rows.return();
  bench.exchange.hold();
  await turn();
  expect(bench.cancels).toBe(1);
  const behind = bench.query("behind");
  bench.receive(error("57014"), ready);
  await left;
  bench.exchange.release();
  bench.receive(...answer("4"));
  expect((await behind).rows).toEqual([[4]]);
});

test("a query that has ended lets the session read on, whoever takes its rows", () => {
  const bench = new Bench();
  const query = bench.start("q");
  bench.receive(...answer("1"));
  expect(bench.resumed).toContain(query);
});

test("what a caller's codec throws ends its query, not the session", async () => {
  const bench = new Bench();
  const types = TypeRegistry.builtin.extend({
    ...int4,
    decodeText: () => {
      throw new TypeError("of the caller");
    },
  });
  const asked = bench.query("q", { types });
  bench.receive(...answer("1"));
  await expect(asked).rejects.toThrow("of the caller");
  const next = bench.query("q");
  bench.receive(...answer("2"));
  expect((await next).rows).toEqual([[2]]);
});

test("a codec that asks for a query, or ends the session, while it encodes", async () => {
  const bench = new Bench();
  let within: Promise<unknown> | undefined;
  const asks = TypeRegistry.builtin.extend({
    ...int4,
    encode: (value) => {
      within ??= bench.query("within");
      return String(value);
    },
  });
  void bench.query("typed", { values: [[1]], types: TypeRegistry.builtin.extend(int4) });
  bench.receive(parsed, { kind: "ParameterDescription", types: [23] }, described, ready, ...answer("0"));
  const asked = bench.query("typed", { values: [7], types: asks });
  expect(bench.takeSent()).toMatch(/PBDES$/);
  bench.receive(...answer("1"), ...answer("2"));
  expect((await asked).rows).toEqual([[1]]);
  expect(await within).toMatchObject({ rows: [[2]] });
  const over = new OperationError("over", { code: "test.over", sqlstate: "08006", source: "server" });
  const ends = TypeRegistry.builtin.extend({
    ...int4,
    encode: () => {
      bench.exchange.close(over);
      return "";
    },
  });
  await expect(bench.query("typed", { values: [7], types: ends })).rejects.toBe(over);
  expect(bench.exchange.idle).toBe(true);
});

test("COPY FROM STDIN in a pipeline is refused, and its Sync answered once", async () => {
  const bench = new Bench();
  const copy = bench.query("COPY t FROM STDIN", { ending: "result" });
  bench.takeSent();
  bench.receive(parsed, bound, { kind: "NoData" }, copyIn);
  expect(bench.takeSent()).toBe("f");
  bench.receive(error("57014"));
  await expect(copy).rejects.toMatchObject({ code: "client.copy_misused" });
});

test("a message that the server would take for a broken one is not sent", async () => {
  const bench = new Bench();
  const much = bench.query("q", { values: [new Uint8Array(1024 ** 3)] });
  await expect(much).rejects.toMatchObject({ code: "client.bad_parameter", sqlstate: "54000" });
  const next = bench.query("q");
  bench.receive(...answer("1"));
  expect((await next).rows).toEqual([[1]]);
});

test("one signal for very many queries", async () => {
  const bench = new Bench();
  const control = new AbortController();
  const asked = Array.from({ length: 100_000 }, () => bench.query("q", { signal: control.signal }));
  control.abort(new Error("all of them"));
  expect(bench.cancels).toBe(1);
  bench.receive(error("57014"), ready);
  for (const outcome of await Promise.allSettled(asked)) {
    expect(outcome).toMatchObject({ reason: { message: "all of them" } });
  }
  expect(bench.exchange.idle).toBe(true);
});
