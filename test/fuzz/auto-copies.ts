/** COPY within random batches of auto mode, and messages in no order at all. */
import { Buffer } from "node:buffer";
import fc from "fast-check";
import type { FrontendMessage } from "../../src/wire/index.ts";
import { cutPlaces, queryOf, sync } from "./sessions-arbitraries.ts";
import type { Burst } from "./sessions-client.ts";

const data = (text: string): FrontendMessage => ({ kind: "CopyData", data: Buffer.from(text) });
const flush: FrontendMessage = { kind: "Flush" };

const rows = fc.constantFrom<FrontendMessage>(
  data("1\n"),
  data("2\n3\n"),
  data("4"),
  data("5\n6"),
  data("x\n"),
  data("-1\n"),
  data(""),
  data("7\n".repeat(20_000)),
);
const end = fc.constantFrom<FrontendMessage>(
  { kind: "CopyDone" },
  { kind: "CopyDone" },
  { kind: "CopyFail", message: "no more" },
);

const copyIn = fc.constantFrom(
  "copy t$me from stdin",
  "copy t$me from stdin",
  "copy t$me (a) from stdin (on_error ignore)",
  "copy nowhere from stdin",
  "copy tt from stdin",
);
const copyOut = fc.constantFrom(
  "copy t$me to stdout",
  "copy (select generate_series(1, 2000)) to stdout",
  "copy (select 1/(a - 2) from generate_series(1, 3) a) to stdout",
);

/** By names of its own, which nothing else executes: who is answered by CopyInResponse has to go on with COPY. */
const execution = (sql: string): FrontendMessage[] => [
  { kind: "Close", target: "statement", name: "cp" },
  { kind: "Parse", name: "cp", sql, types: [] },
  { kind: "Bind", portal: "cp", statement: "cp", formats: [], values: [], resultFormats: [] },
  { kind: "Execute", portal: "cp", maxRows: 0 },
];

/** As drivers do it. */
export const extendedCopy: fc.Arbitrary<FrontendMessage[]> = fc.oneof(
  fc
    .tuple(copyIn, fc.array(rows, { maxLength: 3 }), end)
    .map(([sql, pieces, last]) => [...execution(sql), ...pieces, last]),
  copyOut.map(execution),
);

/**
 * With Flush and Sync while the server reads COPY data, which ignores them. Sync only before the data: whether one behind it comes
 * before the COPY fails, and so is ignored, nobody can tell who sees only the replies (replies.ts).
 */
const disturbedCopy = fc
  .tuple(
    copyIn,
    fc.boolean(),
    fc.constantFrom([], [sync], [sync, flush, sync]),
    fc.array(fc.oneof({ weight: 3, arbitrary: rows }, fc.constant(flush)), { maxLength: 5 }),
    end,
  )
  .map(([sql, simple, syncs, pieces, last]) => [
    ...(simple ? [sync, queryOf(sql)] : execution(sql)),
    ...syncs,
    ...pieces,
    last,
  ]);

/** Nobody waits for it: the server ignores it. */
const stray = fc.oneof(rows, end).map((message) => [message]);

/**
 * A Query or FunctionCall that is carried out, or skipped because its batch has failed. Not behind what was executed in an open
 * batch: PostgreSQL 18.4 then says XX000 to what comes next (StartTransactionCommand: unexpected state STARTED).
 */
const asked = (message: FrontendMessage): fc.Arbitrary<FrontendMessage[]> =>
  fc.constantFrom([sync, message], [{ kind: "Parse", name: "", sql: "no sense", types: [] }, message]);

/**
 * Batches without their Sync, with a Query in the middle, with COPY data that comes too late. Nobody can tell how often the server
 * will be ready before it is: so the burst is marked.
 */
export function chaosOf(
  extended: fc.Arbitrary<FrontendMessage[]>,
  simple: fc.Arbitrary<FrontendMessage>,
): fc.Arbitrary<Burst> {
  const piece = fc.oneof(
    { weight: 4, arbitrary: extended },
    { weight: 2, arbitrary: simple.chain(asked) },
    { weight: 2, arbitrary: disturbedCopy },
    { weight: 1, arbitrary: copyOut.map(execution) },
    { weight: 1, arbitrary: stray },
    { weight: 2, arbitrary: fc.constantFrom([sync], [flush]) },
  );
  return fc
    .record({ pieces: fc.array(piece, { minLength: 1, maxLength: 6 }), cuts: cutPlaces })
    .map(({ pieces, cuts }): Burst => ({ messages: [...pieces.flat(), sync], cuts, marked: true }));
}
