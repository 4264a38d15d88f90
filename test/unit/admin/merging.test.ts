/** How answers of several workers become one. */
import { describe, expect, test } from "vitest";
import { commandNames } from "../../../src/admin/commands.ts";
import type { WorkerAnswer } from "../../../src/admin/context.ts";
import { mergeOf } from "../../../src/admin/merging.ts";
import type { Row } from "../../../src/admin/result.ts";
import { OperationError } from "../../../src/base/errors.ts";

/** What each process knows for all of them, or takes to all of them by itself. */
const askedOfOne = [
  ...["RELOAD", "SET", "SHUTDOWN", "SHOW WORKERS", "PROMOTE"],
  ...[
    "SHOW CONFIG",
    "SHOW DNS_HOSTS",
    "SHOW DNS_ZONES",
    "SHOW HELP",
    "SHOW PEERS",
    "SHOW VERSION",
    "SHOW POOL_VERSION",
  ],
];
/** What drivers ask for. */
const parameters = [
  "client_encoding",
  "default_transaction_isolation",
  "standard_conforming_strings",
  "datestyle",
];
parameters.push("timezone", "extra_float_digits");

function answersOf(...tables: readonly (readonly Row[])[]): WorkerAnswer[] {
  return tables.map((rows, index) => ({ worker: index + 1, answer: { tag: "SHOW", rows } }));
}

async function merged(command: string, answers: readonly WorkerAnswer[]): Promise<readonly Row[]> {
  const nobody = (): Promise<WorkerAnswer[]> => Promise.resolve([]);
  return (await mergeOf(command)?.merge(answers, nobody, undefined))?.rows ?? [];
}

const failure = new OperationError("client not found", {
  code: "console.refused",
  sqlstate: "42704",
  source: "client",
});

test("every command has a rule, or is asked of one process on purpose", () => {
  const without = commandNames().filter((name) => mergeOf(name) === undefined);
  const known = new Set([...askedOfOne, ...parameters.map((name) => `SHOW ${name.toUpperCase()}`)]);
  expect(without.filter((name) => !known.has(name))).toEqual([]);
});

describe("rows", () => {
  test("of shared servers are added up by node; the deepest pipeline is the deepest of all", async () => {
    const near = ["postgres", "me", "near"];
    const far = ["postgres", "me", "far"];
    const mine = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    const theirs = [10, 20, 30, 40, 50, 60, 70, 80, 90, 3];
    expect(
      await merged(
        "SHOW MULTIPLEX",
        answersOf(
          [[...near, ...mine]],
          [
            [...near, ...theirs],
            [...far, ...mine],
          ],
        ),
      ),
    ).toEqual([
      [...far, ...mine],
      [...near, 11, 22, 33, 44, 55, 66, 77, 88, 99, 10],
    ]);
  });

  test("of connections are listed with their workers", async () => {
    expect(
      await merged(
        "SHOW CLIENTS",
        answersOf(
          [["C", "a"]],
          [
            ["C", "b"],
            ["C", "c"],
          ],
        ),
      ),
    ).toEqual([
      ["C", "a", 1],
      ["C", "b", 2],
      ["C", "c", 2],
    ]);
    expect(mergeOf("SHOW CLIENTS")?.namesWorker).toBe(true);
  });

  test("of pools are added up, with the longest wait, and stand by name, the console's last", async () => {
    const pool = (name: string, clients: number, seconds: number, micros: number): Row => [
      ...[name, "app", clients, 1, 0, 0, 2, 0, 0, 1, 0, 0, 0, seconds, micros, "transaction", null],
    ];
    const own: Row = ["pgbouncer", "pgbouncer", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "statement", null];
    const rows = await merged(
      "SHOW POOLS",
      answersOf([pool("b", 3, 1, 900), own], [pool("a", 1, 0, 0), pool("b", 4, 2, 5), own]),
    );
    expect(rows.map(([name]) => name)).toEqual(["a", "b", "pgbouncer"]);
    expect(rows[1]).toEqual(["b", "app", 7, 2, 0, 0, 4, 0, 0, 2, 0, 0, 0, 2, 5, "transaction", null]);
    expect(rows[2]?.[2]).toBe(2);
  });

  test("of statistics: totals and rates are added up, times weighted by what they are an average of", async () => {
    const half = (factor: number, time: number): number[] =>
      [...[1, 10, 20, 100, 200, 0, 0, 0, 1, 1, 1, 1].map((value) => value * factor)].map((value, index) =>
        [5, 6, 7].includes(index) ? time : value,
      );
    const row = (factor: number, time: number): Row => [
      "app",
      ...half(factor, time * 100),
      ...half(factor, time),
    ];
    const [sums = []] = await merged("SHOW STATS", answersOf([row(1, 1000)], [row(3, 2000)]));
    expect(sums.slice(0, 4)).toEqual(["app", 4, 40, 80]);
    // 10 transactions of 1000 µs and 30 of 2000 µs.
    expect(sums[13 + 5]).toBe(1750);
    expect(sums[13 + 1]).toBe(40);
    const totals = await merged(
      "SHOW TOTALS",
      answersOf(
        row(1, 1000)
          .slice(1)
          .map((value, index): Row => [`c${index}`, value]),
        row(3, 2000)
          .slice(1)
          .map((value, index): Row => [`c${index}`, value]),
      ),
    );
    expect(totals[12 + 5]).toEqual(["c17", 1750]);
    expect(totals[1]).toEqual(["c1", 40]);
  });
});

describe("failures", () => {
  test("of any worker are the answer, but where the client is at one of them", async () => {
    const answers: WorkerAnswer[] = [
      { worker: 1, answer: failure },
      { worker: 2, answer: { tag: "KILL_CLIENT" } },
    ];
    const nobody = (): Promise<WorkerAnswer[]> => Promise.resolve([]);
    expect(await mergeOf("KILL_CLIENT")?.merge(answers, nobody, 1)).toEqual({ tag: "KILL_CLIENT" });
    expect(() => mergeOf("RECONNECT")?.merge(answers, nobody, undefined)).toThrow("client not found");
    expect(() => mergeOf("RECONNECT")?.merge([], nobody, undefined)).toThrow("no worker has answered");
  });

  test("KILL of everything is carried to databases that only one worker knows", async () => {
    const asked: string[] = [];
    const ask = (text: string): Promise<WorkerAnswer[]> => {
      asked.push(text);
      return Promise.resolve(
        text === "SHOW POOLS" ? answersOf([['a"b'], ["pgbouncer"]], [["c"]]) : answersOf([]),
      );
    };
    await mergeOf("KILL")?.merge(answersOf([], []), ask, undefined);
    expect(asked).toEqual(["SHOW POOLS", 'KILL "a""b"', 'KILL "c"']);
  });
});
