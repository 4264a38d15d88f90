/**
 * `pgsluice explain`: what the pooler would make of a text of SQL. Nothing is run; without a connection nothing is
 * known of the database, and one without functions, views and triggers of its own is assumed.
 */
import type { Command } from "commander";
import { systemClock } from "../base/clock.ts";
import { Catalog, Classifier, type Explanation, explain, Parser } from "../sql/index.ts";

interface ExplainFlags {
  readonly json?: true;
}

/** Adds the command `explain`. */
export function registerExplain(program: Command): void {
  program
    .command("explain")
    .summary("show how a statement would be routed and pooled")
    .description("Shows what the pooler makes of SQL: its class, its effects, its route. Runs nothing.")
    .argument("<sql>", "one or more statements")
    .option("--json", "JSON on one line")
    .action(run);
}

async function run(sql: string, flags: ExplainFlags): Promise<void> {
  const classifier = new Classifier(await Parser.load(), { now: () => systemClock.now() });
  const explanation = explain(classifier.classify(sql, Catalog.assumed));
  const text = flags.json === true ? `${JSON.stringify(explanation)}\n` : table(explanation);
  process.stdout.write(text);
}

function table(explanation: Explanation): string {
  const rows: [string, string][] = [
    ["statements", explanation.statements.join(", ") || "none"],
    ["kind", explanation.kind],
    ["route", because(explanation.route, explanation.routeReason)],
    ["shareable", because(yesNo(explanation.shareable), explanation.shareableReason)],
    ["opaque", because(yesNo(explanation.opaque), explanation.opaqueReason)],
    ["multiplexed", yesNo(explanation.multiplexed)],
    ["cacheable", yesNo(explanation.cacheable)],
    ["pins", explanation.reservations.join(", ") || "no"],
    [
      "effects",
      explanation.effects.map((effect) => JSON.stringify(effect)).join("\n             ") || "none",
    ],
    ["functions", explanation.functions.join(", ") || "none"],
    ["relations", explanation.relations.join(", ") || "none"],
    ["hints", explanation.hints.join(", ") || "none"],
  ];
  return rows.map(([name, value]) => `${name.padEnd(12)} ${value}\n`).join("");
}

function because(answer: string, reason: string | null): string {
  return reason === null ? answer : `${answer} (${reason})`;
}

function yesNo(value: boolean): string {
  return value ? "yes" : "no";
}
