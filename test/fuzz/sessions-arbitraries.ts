/**
 * Sessions to be compared: what each of a few clients writes, burst by burst, and where each burst is cut. Clients have tables, channels
 * and locks of their own, so that what one is answered does not depend on the others, however they interleave.
 */
import fc from "fast-check";
import type { FrontendMessage } from "../../src/wire/index.ts";
import type { Burst } from "./sessions-client.ts";
import { UnnamedPortal } from "./unnamed-portal.ts";

/** One client: its bursts, each of which waits for the answers to the one before, and how it leaves. */
export interface SessionPlan {
  readonly bursts: readonly Burst[];
  readonly leaves: "terminate" | "vanish";
}

export const queryOf = (sql: string): FrontendMessage => ({ kind: "Query", sql });
export const sync: FrontendMessage = { kind: "Sync" };

/** `$me` is the number of the client. */
const statements = fc.constantFrom(
  "select 1",
  "select generate_series(1, 5)",
  "select repeat('x', 9000)",
  "insert into t$me values (1)",
  "update t$me set a = a + 1",
  "delete from t$me",
  "select count(*) from t$me",
  "select 1/0",
  "nonsense",
  "",
  "begin",
  "begin isolation level repeatable read",
  "commit",
  "rollback",
  "savepoint s",
  "rollback to s",
  "release s",
  "set work_mem = '1$meMB'",
  "set local work_mem = '2$meMB'",
  "show work_mem",
  "reset work_mem",
  "set timezone = 'Asia/Tokyo'",
  "show timezone",
  "set application_name = 'client $me'",
);

// Not in random extended messages: PostgreSQL 18.4 itself crashes on some order of them around DO.
const notices = fc.constant("do $$ begin raise notice 'noticed'; end $$");

const queryString = fc.oneof(
  { weight: 1, arbitrary: notices },
  { weight: 4, arbitrary: statements },
  {
    weight: 1,
    arbitrary: fc.array(statements, { minLength: 2, maxLength: 4 }).map((list) => list.join("; ")),
  },
);

const copyEnd = fc.constantFrom<FrontendMessage>({ kind: "CopyDone" }, { kind: "CopyFail", message: "no" });
const copyData = fc
  .constantFrom("1\n", "2\n3\n", "x\n", "")
  .map((text): FrontendMessage => ({ kind: "CopyData", data: Buffer.from(text) }));
export const copyTail = fc
  .tuple(fc.array(copyData, { maxLength: 3 }), copyEnd)
  .map(([data, end]) => [...data, end]);

const simple = fc.oneof(
  { weight: 5, arbitrary: queryString.map((sql) => [queryOf(sql)]) },
  { weight: 1, arbitrary: copyTail.map((tail) => [queryOf("copy t$me from stdin"), ...tail]) },
  { weight: 1, arbitrary: fc.constant([queryOf("copy t$me to stdout")]) },
);

const statementName = fc.constantFrom("", "s1", "s2");
const portalName = fc.constantFrom("", "p1");
const target = fc.constantFrom<"statement" | "portal">("statement", "portal");

/** Any message of the extended protocol, in no order that makes sense. */
export function extendedMessages(
  texts: fc.Arbitrary<string>,
  names: fc.Arbitrary<string>,
): fc.Arbitrary<FrontendMessage> {
  return fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant("Parse" as const),
        name: names,
        sql: texts,
        types: fc.constant([]),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant("Bind" as const),
        portal: portalName,
        statement: names,
        formats: fc.constant([]),
        values: fc.constant([]),
        resultFormats: fc.constantFrom([], [0], [1]),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("Describe" as const), target, name: portalName }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant("Execute" as const),
        portal: portalName,
        maxRows: fc.constantFrom(0, 1, 2),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("Close" as const), target, name: names }) },
    { weight: 1, arbitrary: fc.constant<FrontendMessage>({ kind: "Flush" }) },
  );
}

/** One statement as drivers run it. */
const wellFormed = fc
  .tuple(statementName, portalName, statements, fc.constantFrom(0, 2))
  .map(([name, portal, sql, maxRows]): FrontendMessage[] => [
    { kind: "Close", target: "statement", name },
    { kind: "Parse", name, sql, types: [] },
    { kind: "Bind", portal, statement: name, formats: [], values: [], resultFormats: [] },
    { kind: "Describe", target: "portal", name: portal },
    { kind: "Execute", portal, maxRows },
  ]);

const extendedCopy = copyTail.map((tail): FrontendMessage[] => [
  { kind: "Parse", name: "", sql: "copy t$me from stdin", types: [] },
  { kind: "Bind", portal: "", statement: "", formats: [], values: [], resultFormats: [] },
  { kind: "Execute", portal: "", maxRows: 0 },
  ...tail,
]);

const batch = fc
  .oneof(
    { weight: 3, arbitrary: fc.array(wellFormed, { minLength: 1, maxLength: 3 }).map((list) => list.flat()) },
    { weight: 3, arbitrary: fc.array(extendedMessages(statements, statementName), { maxLength: 7 }) },
    { weight: 1, arbitrary: extendedCopy },
  )
  .map((messages) => [...messages, sync]);

export const cutPlaces = fc.array(fc.nat(2000), { maxLength: 4 });

const burst: fc.Arbitrary<Burst> = fc.record({
  messages: fc.array(fc.oneof(simple, batch), { minLength: 1, maxLength: 3 }).map((units) => units.flat()),
  cuts: cutPlaces,
});

/** Without what is answered by nobody: PostgreSQL ends, or waits for data of a COPY of which none follow. */
function withoutOrphans(bursts: readonly Burst[]): Burst[] {
  const portal = new UnnamedPortal();
  const copying = new Set<string>();
  const isAnswered = (message: FrontendMessage, at: number, all: readonly FrontendMessage[]): boolean => {
    if (message.kind === "Parse" && message.sql.startsWith("copy") && message.sql.endsWith("stdin"))
      copying.add(message.name);
    if (message.kind !== "Bind" || !copying.has(message.statement)) return true;
    const [next, data] = all.slice(at + 1);
    return next?.kind === "Execute" && data?.kind.startsWith("Copy") === true;
  };
  return bursts.map((one) => ({ ...one, messages: portal.of(one.messages.filter(isAnswered)) }));
}

export const sessionPlans: fc.Arbitrary<SessionPlan[]> = fc.array(
  fc.record({
    bursts: fc.array(burst, { minLength: 1, maxLength: 6 }).map(withoutOrphans),
    leaves: fc.constantFrom<"terminate" | "vanish">("terminate", "terminate", "vanish"),
  }),
  { minLength: 2, maxLength: 5 },
);
