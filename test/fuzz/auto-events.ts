/**
 * What happens in random sessions in auto mode beside bursts of messages, where the outcome is determined all the same: a request
 * to cancel what sleeps or waits for a lock; a client that vanishes, within a transaction or a message, and comes again; a change
 * of what others have prepared, between their Parse and their Execute.
 */
import fc from "fast-check";
import type { FrontendMessage } from "../../src/wire/index.ts";
import { cutPlaces, queryOf, sync } from "./sessions-arbitraries.ts";
import type { Burst } from "./sessions-client.ts";

export type Startup = readonly (readonly [string, string])[];

/** The client does `before`, then what sleeps, and is cancelled while it does. */
export interface Cancelling {
  readonly kind: "cancel";
  readonly client: number;
  readonly before: readonly Burst[];
  readonly sleeping: Burst;
  readonly after: readonly Burst[];
}

/** All read what is locked, in the same words, and one of them is cancelled before the lock goes. */
export interface Gate {
  readonly kind: "gate";
  readonly client: number;
  readonly reading: Burst;
}

/** The client does `before`, sends `last` or a part of it, is gone without reading more, and comes again. */
export interface Vanishing {
  readonly kind: "vanish";
  readonly client: number;
  readonly before: readonly Burst[];
  readonly last: Burst | undefined;
  /** Of 1000 bytes of `last` so many are sent. */
  readonly permille: number;
  readonly startup: Startup;
}

/** Others use what they have prepared behind a change by this client. */
export interface Evolving {
  readonly kind: "evolve";
  readonly client: number;
  readonly change: readonly Burst[];
  readonly users: readonly { readonly client: number; readonly name: EvolvingName }[];
}

export type Event = Cancelling | Gate | Vanishing | Evolving;

/** What is prepared under which name, and used again and again. */
export const evolvingTexts = {
  ev1: "select * from evolving",
  ev2: "select * from fz_evolving()",
  ev3: "insert into evolving select * from evolving limit 1 returning *",
} as const;
export type EvolvingName = keyof typeof evolvingTexts;

/** `units`: what a client does otherwise. `cleaning`: what a client does that is to keep no server. */
export function eventOf(
  clients: number,
  units: fc.Arbitrary<Burst[]>,
  startup: fc.Arbitrary<Startup>,
  cleaning: readonly Burst[],
): fc.Arbitrary<Event> {
  const client = fc.nat(clients - 1);
  return fc.oneof(
    { weight: 3, arbitrary: cancelling(client, units, cleaning) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("gate"), client, reading: gateReading }) },
    { weight: 3, arbitrary: vanishing(client, units, startup) },
    { weight: 2, arbitrary: evolving(client) },
  );
}

const burst = (...messages: FrontendMessage[]): Burst => ({ messages, cuts: [] });
const bursts = (...texts: string[]): Burst[] => texts.map((sql) => burst(queryOf(sql)));

function extended(sql: string, name = "", maxRows = 0): FrontendMessage[] {
  return [
    { kind: "Parse", name, sql, types: [] },
    { kind: "Bind", portal: "", statement: name, formats: [], values: [], resultFormats: [] },
    { kind: "Execute", portal: "", maxRows },
  ];
}

const begun = fc.constantFrom<Burst[]>(
  [],
  bursts("begin"),
  bursts("begin; insert into t$me values (5); savepoint s"),
  bursts("begin", "set local work_mem = '18MB'", "create temp table tt (a int)"),
  bursts("set work_mem = '19MB'"),
);

/** Else what comes later may run the unnamed statement, and sleep. */
const forgetting: readonly FrontendMessage[] = [{ kind: "Close", target: "statement", name: "" }, sync];

/** Nothing in them sleeps but what says so, and nothing is left that nobody could know of. */
const sleeping = fc.constantFrom<FrontendMessage[]>(
  [queryOf("select pg_sleep(100)")],
  [queryOf("insert into t$me values (6); select pg_sleep(100)")],
  [queryOf("select pg_sleep(100)"), queryOf("select 'behind'")],
  [queryOf("copy (select pg_sleep(100)) to stdout")],
  [queryOf("select fz_sleep(100)")],
  [queryOf("set work_mem = '20MB'; select fz_sleep(100)"), queryOf("show work_mem")],
  [...extended("select pg_sleep(100)"), sync, ...forgetting],
  [
    ...extended("insert into t$me values (7)"),
    ...extended("select pg_sleep(100)"),
    sync,
    queryOf("select 1"),
  ],
  [
    ...extended("select fz_sleep(100)"),
    ...extended("select current_setting('my.hidden', true) is null"),
    sync,
    ...forgetting,
  ],
  [...extended("select 1"), sync, ...extended("select pg_sleep(100)"), sync, ...extended("select 2"), sync],
  [queryOf("create table u$me as select pg_sleep(100)")],
);

function cancelling(
  client: fc.Arbitrary<number>,
  units: fc.Arbitrary<Burst[]>,
  after: readonly Burst[],
): fc.Arbitrary<Cancelling> {
  return fc.record({
    kind: fc.constant("cancel"),
    client,
    before: fc.oneof(begun, units),
    sleeping: fc.record({ messages: sleeping, cuts: cutPlaces }),
    after: fc.constant(after),
  });
}

/** Nothing before or behind it: where all have one server, that would wait for the lock as well. */
const gateReading = fc
  .constantFrom<FrontendMessage[]>(
    [queryOf("select count(*) from gate")],
    [...extended("select a from gate where a = 1"), sync],
  )
  .map((messages): Burst => ({ messages, cuts: [] }));

/** What is rolled back in any case, however much of it has come when the client is gone. */
const unfinished = fc.constantFrom<FrontendMessage[]>(
  [queryOf("begin; insert into t$me values (8)")],
  [queryOf("begin; insert into t$me values (8); select pg_sleep(0.03)")],
  [queryOf("begin; select repeat('x', 1000) from generate_series(1, 3000)")],
  [queryOf("select repeat('x', 100000)")],
  [queryOf("copy t$me from stdin"), { kind: "CopyData", data: Buffer.from("1\n2\n") }],
  [queryOf("copy (select repeat('c', 1000) from generate_series(1, 3000)) to stdout")],
  [...extended("insert into t$me values (8)"), { kind: "Flush" }],
  [...extended("insert into t$me values (8)"), ...extended("select repeat('x', 100000)")],
  [...extended("copy t$me from stdin"), { kind: "CopyData", data: Buffer.from("1\n") }, sync],
  [...extended("select generate_series(1, 9)", "s1", 2), { kind: "Flush" }],
);

function vanishing(
  client: fc.Arbitrary<number>,
  units: fc.Arbitrary<Burst[]>,
  startup: fc.Arbitrary<Startup>,
): fc.Arbitrary<Vanishing> {
  return fc.record({
    kind: fc.constant("vanish"),
    client,
    before: fc.oneof(begun, units),
    last: fc.option(fc.record({ messages: unfinished, cuts: cutPlaces }), { nil: undefined }),
    permille: fc.oneof(fc.constant(1000), fc.integer({ min: 1, max: 999 })),
    startup,
  });
}

/** What is used is never gone, and always the same for everybody, whatever the search_path: when that is told is known to differ (docs/semantics.md). */
const changes = fc.constantFrom(
  "alter table evolving add column b int default 7",
  "alter table evolving drop column b",
  "alter table evolving alter column a type text",
  "alter table evolving alter column a type int using length(a::text)",
  "alter table evolving rename column a to c",
  "alter table evolving rename column c to a",
  "drop table public.evolving; create table public.evolving (a int, d date)",
  "drop table public.evolving; create table public.evolving (a int)",
  "drop function public.fz_evolving; create function public.fz_evolving() returns table (x text, y int) language sql as 'select ''one'', 2'",
  "drop function public.fz_evolving; create function public.fz_evolving() returns table (x int) language sql as 'select 1'",
  "create or replace function public.fz_evolving() returns table (x int) language sql as 'select 3'",
);

function evolving(client: fc.Arbitrary<number>): fc.Arbitrary<Evolving> {
  const change = fc
    .tuple(changes, fc.constantFrom("alone", "transaction", "extended"))
    .map(([sql, form]): Burst[] => {
      if (form === "transaction") return bursts("begin", sql, "commit");
      if (form === "extended" && !sql.includes(";")) return [burst(...extended(sql), sync)];
      return bursts(sql);
    });
  const user = fc.record({ client, name: fc.constantFrom<EvolvingName>("ev1", "ev2", "ev3") });
  return fc.record({
    kind: fc.constant("evolve"),
    client,
    change,
    users: fc.array(user, { minLength: 1, maxLength: 6 }),
  });
}
