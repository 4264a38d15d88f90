/** The queue of commands and its replies, against replies that are made up here: order, errors, splits, nonsense. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Failure, OperationError } from "../../../src/base/errors.ts";
import type { Command } from "../../../src/client/query/exchange.ts";
import { encodeBackend } from "../../../src/wire/encode-backend.ts";
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

describe("what is sent", () => {
  test("a first statement in one go; a known one without Parse and Describe", async () => {
    const bench = new Bench();
    const texts: string[] = [];
    for (let round = 0; round < 4; round++) {
      const result = bench.query("q");
      texts.push(bench.takeSent());
      bench.receive(...(round < 2 ? answer("1") : [bound, row("1"), done, ready]));
      expect((await result).rows).toEqual([[1]]);
    }
    expect(texts).toEqual(["PBDES", "PBDES", "BES", "BES"]);
  });

  test("the types of parameters are asked for where they matter, once", async () => {
    const bench = new Bench();
    const first = bench.query("q", { values: [[1]] });
    expect(bench.takeSent()).toBe("PDS");
    const behind = bench.query("behind");
    expect(bench.takeSent()).toBe("");
    bench.receive(parsed, { kind: "ParameterDescription", types: [1007] }, described, ready);
    expect(bench.takeSent()).toBe("PBDESPBDES");
    bench.receive(...answer("1"), ...answer("2"));
    expect((await first).rows).toEqual([[1]]);
    expect((await behind).rows).toEqual([[2]]);
    const second = bench.query("q", { values: [[1]] });
    expect(bench.takeSent()).toBe("PBDES");
    bench.receive(...answer("3"));
    await second;
  });

  test("nothing behind a command with a signal, and nothing while a cancel request is under way", async () => {
    const bench = new Bench();
    const control = new AbortController();
    const first = bench.query("a", { signal: control.signal });
    const second = bench.query("b");
    expect(bench.takeSent()).toBe("PBDES");
    control.abort(new Error("enough"));
    expect(bench.cancels).toBe(1);
    bench.exchange.hold();
    bench.receive(parsed, bound, error("57014"), ready);
    await expect(first).rejects.toThrow("enough");
    expect(bench.takeSent()).toBe("");
    bench.exchange.release();
    expect(bench.takeSent()).toBe("PBDES");
    bench.receive(...answer("2"));
    expect((await second).rows).toEqual([[2]]);
  });

  test("a statement that cannot be encoded sends nothing and harms no other", async () => {
    const bench = new Bench();
    const bad = bench.query("q", { values: ["a\0b"] });
    const good = bench.query("p");
    await expect(bad).rejects.toMatchObject({ sqlstate: "22021" });
    expect(bench.takeSent()).toBe("PBDES");
    bench.receive(...answer("1"));
    expect((await good).rows).toEqual([[1]]);
  });
});

describe("a stale prepared statement", () => {
  const prepare = async (bench: Bench): Promise<void> => {
    for (let round = 0; round < 2; round++) {
      const result = bench.query("q");
      bench.receive(...answer("1"));
      await result;
    }
    bench.takeSent();
  };

  test.each([
    ["26000", "FetchPreparedStatement"],
    ["0A000", "RevalidateCachedQuery"],
  ])("with %s is prepared anew outside of a transaction", async (code, routine) => {
    const bench = new Bench();
    await prepare(bench);
    const result = bench.query("q");
    expect(bench.takeSent()).toBe("BES");
    bench.receive(error(code, routine), ready);
    expect(bench.takeSent()).toMatch(/^C?PBDES$/);
    bench.receive({ kind: "CloseComplete" }, ...answer("2"));
    expect((await result).rows).toEqual([[2]]);
  });

  test("is the caller's error in a transaction, or with others behind it", async () => {
    const bench = new Bench();
    await prepare(bench);
    const first = bench.query("q");
    const second = bench.query("p");
    bench.receive(error("26000"), ready, ...answer("5"));
    await expect(first).rejects.toMatchObject({ sqlstate: "26000" });
    expect((await second).rows).toEqual([[5]]);
    const begin = bench.query("BEGIN");
    bench.receive(
      parsed,
      bound,
      { kind: "NoData" },
      { kind: "CommandComplete", tag: "BEGIN" },
      inTransaction,
    );
    await begin;
    const third = bench.query("q");
    bench.receive(error("26000"), { kind: "ReadyForQuery", status: 0x45 });
    await expect(third).rejects.toMatchObject({ sqlstate: "26000" });
  });
});

test("in a pipeline an error passes over everything up to the sync, sent or not", async () => {
  const bench = new Bench();
  const queries = ["a", "b", "c"].map((text) => bench.query(text, { ending: "result" }));
  bench.receive(parsed, bound, described, row("1"), done, error("22012"));
  const late = bench.query("d", { ending: "result" });
  const sync: Command = {
    ending: "ready",
    exclusive: false,
    syncOnly: true,
    write: (out) => out.sync(),
    message: () => {
      throw new Error("a sync has no replies");
    },
    fail: () => {},
    end: () => "done",
  };
  bench.exchange.submit(sync);
  bench.receive(ready);
  const aborted = { code: "client.pipeline_aborted" };
  expect(await Promise.allSettled([...queries, late])).toMatchObject([
    { value: { rows: [[1]] } },
    { reason: { sqlstate: "22012" } },
    { reason: aborted },
    { reason: aborted },
  ]);
  expect(bench.exchange.idle).toBe(true);
});

test("replies mean the same wherever the network cuts them", async () => {
  const replies = Buffer.concat(
    [
      ...answer("1"),
      parsed,
      error("22012"),
      ready,
      {
        kind: "NoticeResponse",
        fields: { severity: "NOTICE", code: "00000", message: "by the way" },
      } as const,
      ...answer("2"),
      ...answer("-7"),
    ].map(encodeBackend),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(replies.length), { maxLength: 12 }), async (cuts) => {
      const bench = new Bench();
      const asked = ["a", "b", "c", "d"].map((text) => bench.query(text));
      const places = [0, ...cuts.sort((a, b) => a - b), replies.length];
      for (let index = 1; index < places.length; index++) {
        // A copy that is wiped afterwards: nothing may be kept of what was handed in.
        const part = Buffer.from(replies.subarray(places[index - 1], places[index]));
        bench.exchange.receive(part);
        part.fill(0xff);
      }
      expect(await Promise.allSettled(asked)).toMatchObject([
        { value: { rows: [[1]], command: "SELECT", rowCount: 1 } },
        { reason: { sqlstate: "22012" } },
        { value: { rows: [[2]] } },
        { value: { rows: [[-7]] } },
      ]);
    }),
    { numRuns: 300 },
  );
});

test("whatever a server sends ends in an outcome for every query, or in waiting for more", async () => {
  const messages: BackendMessage[] = [
    ...answer("1"),
    row("no number"),
    { kind: "DataRow", values: [] },
    { kind: "DataRow", values: [null, null] },
    { kind: "NoData" },
    { kind: "EmptyQueryResponse" },
    { kind: "PortalSuspended" },
    { kind: "CopyInResponse", format: 0, columnFormats: [] },
    { kind: "CopyOutResponse", format: 0, columnFormats: [] },
    { kind: "CopyData", data: Buffer.from("x") },
    { kind: "CopyDone" },
    { kind: "AuthenticationOk" },
    { kind: "ParameterDescription", types: [23] },
    { kind: "ReadyForQuery", status: 0x45 },
    error("26000"),
    error("57P01"),
  ];
  const anything = fc.oneof(
    { weight: 20, arbitrary: fc.constantFrom(...messages).map(encodeBackend) },
    {
      weight: 1,
      arbitrary: fc.uint8Array({ minLength: 1, maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
    },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(anything, { maxLength: 30 }),
      fc.integer({ min: 0, max: 4 }),
      async (parts, count) => {
        const bench = new Bench();
        const asked = Array.from({ length: count }, (_, index) => bench.query(`q${index % 2}`));
        try {
          for (const part of parts) bench.exchange.receive(part);
        } catch (fault) {
          if (!(fault instanceof Failure)) throw fault;
        }
        const over = new OperationError("over", { code: "test.over", sqlstate: "08006", source: "server" });
        bench.exchange.close(over);
        for (const outcome of await Promise.allSettled(asked)) {
          if (outcome.status === "rejected") expect(outcome.reason).toBeInstanceOf(Failure);
        }
        expect(bench.exchange.idle).toBe(true);
      },
    ),
    { numRuns: 2000 },
  );
});
