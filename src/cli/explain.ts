/**
 * `pgsluice explain`: what the pooler makes of a text of SQL. The text is never run. With a connection the database
 * is asked which of its names may hide something; without one, a database is assumed that has none of its own.
 */
import type { Command } from "commander";
import { systemClock } from "../base/clock.ts";
import { connect, type Result } from "../client/index.ts";
import { loadConfigFile } from "../config/file.ts";
import { functionListsFor } from "../server/function-lists.ts";
import {
  Catalog,
  CatalogReading,
  type CatalogRow,
  Classifier,
  type Explanation,
  explain,
  type FunctionLists,
  Parser,
} from "../sql/index.ts";

interface ExplainFlags {
  readonly json?: true;
  readonly config?: string;
  readonly database?: string;
}

const explanations = `
route        "any": a standby may run it; "primary", and why.
shareable    whether it may run between the statements of other clients on one server; if not, why.
opaque       whether the session has to be looked at afterwards, because code may have run that is not in the text.
multiplexed  whether it would run in the pipeline of a server that others use at the same time, in auto mode with
             multiplex on: what is shareable, brief and in no transaction.
cacheable    whether its result may be kept: it depends on the data alone; if not, why.
pins         what the server would be kept for beyond the statement.
effects      what it does to its session.
functions    which it calls, how volatile each is taken to be (pg_proc), and by what that is known: "builtin" for PostgreSQL's own,
             "catalog" for the database's. Of several of one name the most volatile counts.

Without a connection, functions, views and triggers of the database are unknown, and assumed to be none.

Examples:
  pgsluice explain "SELECT set_config('a.b', 'c', false)"
  pgsluice explain --json postgres://app@db.example.com/app "select * from orders"`;

/** Adds the command `explain`. */
export function registerExplain(program: Command): void {
  program
    .command("explain")
    .usage("[options] [connection] sql")
    .summary("show how a statement would be routed and pooled")
    .description("Shows what the pooler makes of SQL: its class, its effects, its route. Does not run it.")
    .argument("[connection]", "where to ask for functions, views and triggers")
    .argument("[sql]", "one or more statements")
    .option("--json", "one line of JSON")
    .option(
      "--config <file>",
      "whose lists of functions count (read_only_function_list, write_function_list)",
    )
    .option("--database <name>", "which of its databases, as clients call it, if that has lists of its own")
    .addHelpText("after", explanations)
    .action(run);
}

async function run(
  first: string | undefined,
  second: string | undefined,
  flags: ExplainFlags,
  command: Command,
): Promise<void> {
  const sql = second ?? first;
  if (sql === undefined) command.error("error: no SQL given");
  const found = second === undefined ? Catalog.assumed : await catalogOf(first ?? "");
  const catalog =
    flags.config === undefined ? found : found.with(await listsOf(flags.config, flags.database));
  const classifier = new Classifier(await Parser.load(), { now: () => systemClock.now() });
  const explanation = explain(classifier.classify(sql, catalog), catalog);
  process.stdout.write(
    flags.json === true ? `${JSON.stringify(explanation)}\n` : explanationTable(explanation),
  );
}

async function listsOf(file: string, database = ""): Promise<FunctionLists> {
  const { config } = await loadConfigFile(file);
  return functionListsFor(
    () => config,
    () => database,
  )();
}

async function catalogOf(target: string): Promise<Catalog> {
  await using connection = await connect(target);
  const reading = new CatalogReading();
  while (reading.query !== undefined) {
    const rows: CatalogRow[] = [];
    await connection.execute(reading.query, {
      rowMode: "text",
      onResult: (result: Result<unknown>) => rows.push(...(result.rows as CatalogRow[])),
    });
    reading.take(rows);
  }
  return reading.catalog;
}

const columnWidth = 13;

/** What is printed for people. */
export function explanationTable(explanation: Explanation): string {
  const effects = explanation.effects.map((effect) => JSON.stringify(effect));
  const functions = explanation.functions.map(
    ({ name, volatility, reason }) => `${name}: ${volatility} (${reason})`,
  );
  const rows: readonly (readonly [string, string])[] = [
    ["statements", explanation.statements.join(", ") || "none"],
    ["kind", explanation.kind],
    ["route", because(explanation.route, explanation.routeReason)],
    ["shareable", because(yesNo(explanation.shareable), explanation.shareableReason)],
    ["opaque", because(yesNo(explanation.opaque), explanation.opaqueReason)],
    ["multiplexed", because(yesNo(explanation.multiplexed), explanation.multiplexedReason)],
    ["cacheable", because(yesNo(explanation.cacheable), explanation.cacheableReason)],
    ["pins", explanation.reservations.join(", ") || "nothing"],
    ["effects", effects.join(`\n${" ".repeat(columnWidth)}`) || "none"],
    ["functions", functions.join(`\n${" ".repeat(columnWidth)}`) || "none"],
    ["relations", explanation.relations.join(", ") || "none"],
    ["hints", explanation.hints.join(", ") || "none"],
  ];
  return rows.map(([name, value]) => `${name.padEnd(columnWidth)}${value}\n`).join("");
}

function because(answer: string, reason: string | null): string {
  return reason === null ? answer : `${answer} (${reason})`;
}

function yesNo(value: boolean): string {
  return value ? "yes" : "no";
}
