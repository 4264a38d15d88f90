/**
 * Random plans for clients in auto mode: who does what, step by step. The clients of one step are in flight together, and then
 * they do only what concerns nobody else; steps follow each other.
 *
 * *Roomy* plans have a server for each client, who may keep it: a step is a burst. In *tight* plans clients share fewer servers: a step
 * is a chapter of bursts that ends with a clean-up, so that the server is free for the others.
 */
import { Buffer } from "node:buffer";
import fc from "fast-check";
import type { FrontendMessage } from "../../src/wire/index.ts";
import { withoutKnown } from "./auto-known.ts";
import {
  type Area,
  areas,
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

export interface AutoPlan {
  readonly roomy: boolean;
  /** Clients listen from the beginning, and are waited for after each notification that concerns others. */
  readonly fenced: boolean;
  readonly areas: readonly Area[];
  /** What each client begins with. */
  readonly startups: readonly (readonly (readonly [string, string])[])[];
  readonly steps: readonly (readonly Part[])[];
  readonly leaves: readonly ("terminate" | "vanish")[];
}

const startup = fc.constantFrom<readonly (readonly [string, string])[]>(
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

function stepOf(plan: Surroundings, clients: number): fc.Arbitrary<Part[]> {
  const client = fc.nat(clients - 1);
  const partBy = (who: fc.Arbitrary<number>, together: boolean): fc.Arbitrary<Part> =>
    fc.record({ client: who, bursts: burstsOf(plan, together) });
  const together = fc.uniqueArray(partBy(client, true), {
    selector: (part) => part.client,
    minLength: 2,
    maxLength: clients,
  });
  return fc.oneof(
    { weight: 3, arbitrary: partBy(client, false).map((part) => [part]) },
    { weight: 1, arbitrary: together },
  );
}

function burstsOf(plan: Surroundings, together: boolean): fc.Arbitrary<Burst[]> {
  const { roomy, fenced } = plan;
  const list = (["reads", ...plan.areas] as const)
    .flatMap(statementsOf)
    .filter((each) => roomy || each.roomy !== true)
    .filter((each) => each.alone !== true || (!together && (fenced || !each.sql.includes("news"))))
    .filter((each) => !fenced || !isFenceless(each.sql))
    .filter((each) => roomy || !(fenced || listens(plan.areas)) || !setsEncoding(each.sql));
  const units = unitOf(list, roomy, plan.areas);
  if (roomy) return units;
  const cleaning = cleanUp.map((sql) => ({ messages: [queryOf(sql)], cuts: [] }));
  return fc.array(units, { minLength: 1, maxLength: 5 }).map((chapter) => [...chapter.flat(), ...cleaning]);
}

const listens = (of: readonly Area[]): boolean => of.includes("channels") || of.includes("opaque");

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
    )
    .map((messages) => [...messages, sync]);
  const calls = fc.constant<FrontendMessage[]>([
    {
      kind: "FunctionCall",
      functionOid: setConfigOid,
      formats: [],
      values: setConfigValues("work_mem", "13MB"),
      resultFormat: 0,
    },
  ]);
  const pieces = fc.oneof(
    { weight: 5, arbitrary: simple },
    { weight: 5, arbitrary: batch },
    { weight: of.includes("opaque") ? 1 : 0, arbitrary: calls },
  );
  const whole = fc
    .record({ messages: fc.array(pieces, { minLength: 1, maxLength: 3 }), cuts: cutPlaces })
    .map(({ messages, cuts }): Burst[] => [{ messages: messages.flat(), cuts }]);
  return fc.oneof({ weight: 8, arbitrary: whole }, { weight: 1, arbitrary: keptPortal(bare) });
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
