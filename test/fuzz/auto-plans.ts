/**
 * Random plans for clients in auto mode: who does what, step by step. The clients of one step are in flight together, and then
 * they do only what concerns nobody else; steps follow each other. Some steps are more than bursts of messages (auto-events.ts).
 *
 * *Roomy* plans have a server for each client, who may keep it: a step is a burst. In *tight* plans clients share fewer servers: a step
 * is a chapter of bursts that ends with a clean-up, so that the server is free for the others.
 */
import { Buffer } from "node:buffer";
import fc from "fast-check";
import type { FrontendMessage } from "../../src/wire/index.ts";
import { chaosOf, extendedCopy } from "./auto-copies.ts";
import { type Event, eventOf, type Startup } from "./auto-events.ts";
import { withoutKnown } from "./auto-known.ts";
import {
  type Area,
  areas,
  chorus,
  cleanUp,
  isFenceless,
  type RandomStatement,
  setConfigOid,
  setConfigValues,
  setsEncoding,
  statementsOf,
} from "./auto-statements.ts";
import { copyTail, cutPlaces, extendedMessages, queryOf, sync } from "./sessions-arbitraries.ts";
import type { Burst } from "./sessions-client.ts";

/** Of one client within one step. */
export interface Part {
  readonly client: number;
  readonly bursts: readonly Burst[];
}

export type Step = { readonly kind: "parts"; readonly parts: readonly Part[] } | Event;

export interface AutoPlan {
  readonly roomy: boolean;
  /** Clients listen from the beginning, and are waited for after each notification that concerns others. */
  readonly fenced: boolean;
  readonly areas: readonly Area[];
  /** What each client begins with. */
  readonly startups: readonly Startup[];
  readonly steps: readonly Step[];
  readonly leaves: readonly ("terminate" | "vanish")[];
}

const startup = fc.constantFrom<Startup>(
  [],
  [],
  [["options", "-c work_mem=6MB"]],
  [["application_name", "fuzz"]],
  [["TimeZone", "Asia/Tokyo"]],
  [["search_path", "sp1, public"]],
  [["options", "-c statement_timeout=50s -c DateStyle=SQL"]],
);

type Surroundings = Omit<AutoPlan, "steps" | "leaves">;

const clientsMax = 5;

const surroundings: fc.Arbitrary<Surroundings> = fc
  .record({
    roomy: fc.boolean(),
    fenced: fc.boolean(),
    areas: fc.subarray([...areas], { minLength: 1, maxLength: 5 }),
    clients: fc.integer({ min: 2, max: clientsMax }),
    startups: fc.array(startup, { minLength: clientsMax, maxLength: clientsMax }),
  })
  .map(({ clients, startups, ...others }) => ({ ...others, startups: startups.slice(0, clients) }));

const leave = fc.constantFrom<"terminate" | "vanish">("terminate", "terminate", "vanish");

/** Areas are drawn first, so that what belongs together meets; they do not shrink, the steps do. */
export const autoPlans: fc.Arbitrary<AutoPlan> = fc.noShrink(surroundings).chain((plan) => {
  const { length: clients } = plan.startups;
  const rest = fc.record({
    steps: fc.array(stepOf(plan, clients), { minLength: 1, maxLength: plan.roomy ? 20 : 8 }),
    leaves: fc.array(leave, { minLength: clients, maxLength: clients }),
  });
  return rest.map((drawn): AutoPlan => withoutKnown({ ...plan, ...drawn }));
});

function stepOf(plan: Surroundings, clients: number): fc.Arbitrary<Step> {
  const client = fc.nat(clients - 1);
  const partBy = (who: fc.Arbitrary<number>, together: boolean): fc.Arbitrary<Part> =>
    fc.record({ client: who, bursts: burstsOf(plan, together) });
  const together = fc.uniqueArray(partBy(client, true), {
    selector: (part) => part.client,
    minLength: 2,
    maxLength: clients,
  });
  const everybody = chorusOf(plan).map((bursts) =>
    Array.from({ length: clients }, (_, number): Part => ({ client: number, bursts })),
  );
  const parts = fc.oneof(
    { weight: 6, arbitrary: partBy(client, false).map((part) => [part]) },
    { weight: 2, arbitrary: together },
    { weight: 1, arbitrary: everybody },
  );
  const units = unitOf(statementsFor(plan, false), plan.roomy, plan.areas);
  return fc.oneof(
    { weight: 7, arbitrary: parts.map((each): Step => ({ kind: "parts", parts: each })) },
    { weight: 2, arbitrary: eventOf(clients, units, startup, plan.roomy ? [] : cleaning) },
  );
}

/** Ends what would keep a server. */
const cleaning: readonly Burst[] = cleanUp.map((sql) => ({ messages: [queryOf(sql)], cuts: [] }));

/** The same for all, again and again: reads that may run once for several of them. */
function chorusOf({ roomy }: Surroundings): fc.Arbitrary<Burst[]> {
  const one = fc.constantFrom(...chorus);
  const messages = fc.oneof(
    one.map(({ sql, values }) => [queryOf(values === undefined ? sql : "select 1")]),
    wellFormedOf(one).map((each) => [...each, sync]),
  );
  const burst = fc
    .record({ messages: fc.array(messages, { minLength: 1, maxLength: 8 }), cuts: cutPlaces })
    .map((drawn): Burst => ({ messages: drawn.messages.flat(), cuts: drawn.cuts }));
  return fc
    .array(burst, { minLength: 1, maxLength: 4 })
    .map((bursts) => [...bursts, ...(roomy ? [] : cleaning)]);
}

function statementsFor(plan: Surroundings, together: boolean): RandomStatement[] {
  const { roomy, fenced } = plan;
  return (["reads", ...plan.areas] as const)
    .flatMap(statementsOf)
    .filter((each) => roomy || each.roomy !== true)
    .filter((each) => each.alone !== true || (!together && (fenced || !each.sql.includes("news"))))
    .filter((each) => !fenced || !isFenceless(each.sql))
    .filter((each) => roomy || !(fenced || listens(plan.areas)) || !setsEncoding(each.sql));
}

function burstsOf(plan: Surroundings, together: boolean): fc.Arbitrary<Burst[]> {
  const units = unitOf(statementsFor(plan, together), plan.roomy, plan.areas);
  if (plan.roomy) return units;
  return fc.array(units, { minLength: 1, maxLength: 5 }).map((chapter) => [...chapter.flat(), ...cleaning]);
}

const listening: ReadonlySet<Area> = new Set<Area>(["channels", "opaque", "hostile"]);
const listens = (of: readonly Area[]): boolean => of.some((area) => listening.has(area));

/** What ends with ReadyForQuery: one burst, or several for who waits for answers within a batch. */
function unitOf(
  list: readonly RandomStatement[],
  roomy: boolean,
  of: readonly Area[],
): fc.Arbitrary<Burst[]> {
  const statement = fc.constantFrom(...list);
  const bare = fc.constantFrom(
    ...list.filter(({ simple, values }) => simple !== true && values === undefined),
  );
  const joined = roomy ? bare : bare.map((each) => (/prepare/i.test(each.sql) ? { sql: "select 1" } : each));
  const unbound = statement.map((each) => (each.values === undefined ? each : { sql: "select 1" }));
  const simple = fc.oneof(
    { weight: 6, arbitrary: unbound.map(({ sql }) => [queryOf(sql)]) },
    {
      weight: 2,
      arbitrary: fc
        .array(joined, { minLength: 2, maxLength: 4 })
        .map((several) => [queryOf(several.map(({ sql }) => sql).join("; "))]),
    },
    { weight: 1, arbitrary: copyTail.map((tail) => [queryOf("copy t$me from stdin"), ...tail]) },
    { weight: 1, arbitrary: fc.constant([queryOf("copy t$me to stdout")]) },
  );
  const extended = extendedMessages(
    bare.map(({ sql }) => sql),
    statementName,
  );
  const batch = fc
    .oneof(
      {
        weight: 4,
        arbitrary: fc
          .array(wellFormedOf(statement), { minLength: 1, maxLength: 3 })
          .map((several) => several.flat()),
      },
      { weight: 2, arbitrary: fc.array(extended, { maxLength: 7 }) },
      { weight: 2, arbitrary: fc.tuple(usedName, portalName).map(reuse) },
      { weight: 1, arbitrary: extendedCopy },
    )
    .map((messages) => [...messages, sync]);
  const call = fc.constant<FrontendMessage>({
    kind: "FunctionCall",
    functionOid: setConfigOid,
    formats: [],
    values: setConfigValues("work_mem", "13MB"),
    resultFormat: 0,
  });
  const pieces = fc.oneof(
    { weight: 5, arbitrary: simple },
    { weight: 5, arbitrary: batch },
    { weight: of.includes("opaque") ? 1 : 0, arbitrary: call.map((message) => [message]) },
  );
  const whole = fc
    .record({ messages: fc.array(pieces, { minLength: 1, maxLength: 3 }), cuts: cutPlaces })
    .map(({ messages, cuts }): Burst[] => [{ messages: messages.flat(), cuts }]);
  const chaos = chaosOf(
    fc.oneof(
      { weight: 2, arbitrary: extended.map((message) => [message]) },
      { weight: 2, arbitrary: wellFormedOf(bare) },
    ),
    fc.oneof(
      { weight: 3, arbitrary: bare.map(({ sql }) => queryOf(sql)) },
      { weight: of.includes("opaque") ? 1 : 0, arbitrary: call },
    ),
  );
  return fc.oneof(
    { weight: 12, arbitrary: whole },
    { weight: 1, arbitrary: keptPortal(bare) },
    { weight: 1, arbitrary: portalOfTransaction(bare) },
    { weight: 2, arbitrary: chaos.map((burst) => [burst]) },
  );
}

const statementName = fc.constantFrom("", "s1", "s2");
/** What a function prepares is not prepared otherwise. */
const usedName = fc.constantFrom("", "s1", "s2", "fp");
/** None that FETCH names: PostgreSQL 18.4 crashes where a portal is to fetch from itself. */
const portalName = fc.constantFrom("", "p1");

/** Something that was prepared before, by the protocol or in SQL. */
function reuse([statement, portal]: [string, string]): FrontendMessage[] {
  return [
    { kind: "Describe", target: "statement", name: statement },
    { kind: "Bind", portal, statement, formats: [], values: [], resultFormats: [] },
    { kind: "Execute", portal, maxRows: 0 },
  ];
}

/** One statement as drivers run it; DO only in a batch of its own, which is why it is left to Query. */
function wellFormedOf(statement: fc.Arbitrary<RandomStatement>): fc.Arbitrary<FrontendMessage[]> {
  return fc
    .tuple(statementName, portalName, statement, fc.constantFrom(0, 0, 2), fc.boolean())
    .map(([name, portal, { sql, values = [], simple }, maxRows, closes]): FrontendMessage[] => [
      ...(closes ? [{ kind: "Close", target: "statement", name } as const] : []),
      { kind: "Parse", name, sql: simple === true ? "select 1" : sql, types: [] },
      {
        kind: "Bind",
        portal,
        statement: name,
        formats: [],
        values: simple === true ? [] : values.map((value) => Buffer.from(value)),
        resultFormats: [],
      },
      { kind: "Describe", target: "portal", name: portal },
      { kind: "Execute", portal, maxRows },
    ]);
}

/** Rows in two parts, the first waited for without a Sync. */
function keptPortal(statement: fc.Arbitrary<RandomStatement>): fc.Arbitrary<Burst[]> {
  return fc
    .tuple(statementName, portalName, statement, cutPlaces)
    .map(([name, portal, { sql }, cuts]): Burst[] => [
      {
        messages: [
          { kind: "Parse", name, sql: /copy/i.test(sql) ? "select generate_series(1, 9)" : sql, types: [] },
          { kind: "Bind", portal, statement: name, formats: [], values: [], resultFormats: [] },
          { kind: "Execute", portal, maxRows: 1 },
          { kind: "Flush" },
        ],
        cuts,
      },
      { messages: [{ kind: "Execute", portal, maxRows: 1 }, { kind: "Flush" }], cuts: [] },
      { messages: [{ kind: "Execute", portal, maxRows: 0 }, sync], cuts: [] },
    ]);
}

/** Rows in several parts, with other statements and Syncs between them. */
function portalOfTransaction(statement: fc.Arbitrary<RandomStatement>): fc.Arbitrary<Burst[]> {
  const between = statement.map(({ sql }) => queryOf(/copy/i.test(sql) ? "select 1" : sql));
  return fc
    .tuple(statementName, fc.nat(4), between, fc.constantFrom("commit", "rollback", "rollback to s"))
    .map(([name, maxRows, other, end]): Burst[] => {
      const unit = (...messages: FrontendMessage[]): Burst => ({ messages, cuts: [] });
      const execute: FrontendMessage = { kind: "Execute", portal: "p1", maxRows };
      return [
        unit(queryOf("begin"), queryOf("savepoint s")),
        unit(
          { kind: "Close", target: "statement", name },
          { kind: "Parse", name, sql: "select generate_series(1, 9), repeat('p', 500)", types: [] },
          { kind: "Bind", portal: "p1", statement: name, formats: [], values: [], resultFormats: [1] },
          execute,
          sync,
        ),
        unit(other),
        unit(execute, sync),
        unit(execute, { kind: "Describe", target: "portal", name: "p1" }, execute, sync),
        unit(queryOf(end), execute, sync),
      ];
    });
}
