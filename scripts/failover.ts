/**
 * Every fault of a primary and of a standby under writing and reading clients: `npm run failover -- [--writers N] [--readers N]
 * [--only TEXT]`. After each of them the ledger of acknowledged writes has to be complete, no read may have shown less than its
 * client had written, and errors have to be the promised ones. Prints how long it took; exits with 1 if anything is wrong.
 */
import { parseArgs } from "node:util";
import type { LabNode } from "../src/lab/index.ts";
import { ledgerOf } from "../test/behaviour/node-kit.ts";
import { Writers } from "../test/behaviour/writers.ts";
import { FloorReaders } from "../test/failover/floor-readers.ts";
import { type Scenario, scenarios } from "../test/failover/scenarios.ts";
import { Stage } from "../test/failover/stage.ts";

const { values } = parseArgs({
  options: {
    writers: { type: "string", default: "50" },
    readers: { type: "string", default: "200" },
    only: { type: "string", default: "" },
  },
});
const writersCount = Number(values.writers);
const readersCount = Number(values.readers);
const progressMs = 120_000;
const undisturbedMs = 3000;

/** Of a statement whose server was lost; never of one that no server was sent. */
const promised: ReadonlySet<string> = new Set(["57P01", "57P02", "08006", "08007", "closed"]);

interface Run {
  readonly stage: Stage;
  readonly writers: Writers;
  readonly readers: FloorReaders;
  readonly struckMs: number;
}

async function run(stage: Stage, scenario: Scenario, index: number): Promise<readonly string[]> {
  const { lab, pooled } = stage;
  const node = scenario.name.startsWith("standby") ? (lab.standbys[0] as LabNode) : lab.primary;
  const ledger = `ledger${index}`;
  await lab.primary.query(`create table ${ledger} (id int primary key)`);
  await lab.untilReplayed();
  await using writers = new Writers(pooled, ledger, progressMs);
  await using readers = new FloorReaders(pooled, ledger, progressMs);
  await writers.start(writersCount);
  await readers.start(readersCount);
  await Promise.all([writers.untilAcknowledged(200, progressMs), readers.untilAnswered(400, progressMs)]);
  stage.loses = scenario.expects === "failover" ? node : undefined;
  const struckMs = performance.now();
  const striking = scenario.strike(stage, node);
  const told = await follow({ stage, writers, readers, struckMs }, scenario, node, striking);
  stage.loses = undefined;
  await Promise.all([writers.stop(), readers.stop()]);
  const problems = await judge(scenario, ledger, stage, writers, readers);
  const errors = [...writers.errors.map(({ sqlstate }) => sqlstate), ...readers.writeErrors];
  console.log(
    [
      scenario.name.padEnd(26),
      told,
      `longest read ${ms(readers.longestReadMs)}`,
      `${writers.acknowledged.length} writes, ${readers.answered} reads`,
      `errors ${counted([...errors, ...readers.readErrors.map((code) => `${code} (read)`)])}`,
      problems.length === 0 ? "ok" : `WRONG: ${problems.join("; ")}`,
    ].join("; "),
  );
  return problems;
}

/** Until all of it works again, and the node that was struck is used as a standby. Returns the times. */
async function follow(
  { stage, writers, readers, struckMs }: Run,
  scenario: Scenario,
  node: LabNode,
  striking: Promise<void>,
): Promise<string> {
  const since = (): string => ms(performance.now() - struckMs);
  const goesOn = (): Promise<unknown> =>
    Promise.all([writers.untilAcknowledged(200, progressMs), readers.untilAnswered(400, progressMs)]);
  switch (scenario.expects) {
    case "nothing":
      await striking;
      await new Promise((resolve) => setTimeout(resolve, undisturbedMs));
      await goesOn();
      await scenario.end(stage, node);
      return "undisturbed";
    case "reads": {
      await stage.untilState(node, "down");
      const down = since();
      await striking;
      await goesOn();
      await scenario.end(stage, node);
      await stage.untilState(node, "up");
      return `down after ${down}`;
    }
    case "switchover": {
      await striking;
      await writers.untilAcknowledged(1, progressMs);
      const first = since();
      await goesOn();
      await stage.untilState(node, "fenced");
      await stage.takeBack(node);
      return `first write after ${first}`;
    }
    case "failover": {
      await stage.untilState(node, "down");
      const down = since();
      await striking;
      await stage.untilPrimary(() => stage.lab.nodes.find((one) => one !== node && one.role === "primary"));
      const found = since();
      await writers.untilAcknowledged(1, progressMs);
      const first = since();
      await goesOn();
      await scenario.end(stage, node);
      await stage.untilState(node, "fenced");
      await goesOn();
      await stage.takeBack(node);
      return `down after ${down}, new primary after ${found}, first write after ${first}`;
    }
  }
}

async function judge(
  { expects }: Scenario,
  ledger: string,
  { lab }: Stage,
  writers: Writers,
  readers: FloorReaders,
): Promise<readonly string[]> {
  const problems: string[] = [];
  const { lost, unexplained } = await ledgerOf(lab.primary, ledger, writers);
  if (lost.length > 0) problems.push(`${lost.length} acknowledged writes are lost`);
  if (unexplained.length > 0) problems.push(`${unexplained.length} writes are there that failed`);
  if (readers.belowFloor > 0) problems.push(`${readers.belowFloor} reads showed less than was written`);
  const codes = [...writers.errors.map(({ sqlstate }) => sqlstate), ...readers.writeErrors];
  const strange = expects === "failover" ? codes.filter((code) => !promised.has(code)) : codes;
  if (strange.length > 0) problems.push(`writes met ${counted(strange)}`);
  const reads =
    expects === "failover" ? readers.readErrors.filter((code) => !promised.has(code)) : readers.readErrors;
  if (reads.length > 0) problems.push(`reads met ${counted(reads)}`);
  return problems;
}

function counted(codes: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const code of codes) counts.set(code, (counts.get(code) ?? 0) + 1);
  return counts.size === 0 ? "none" : [...counts].map(([code, count]) => `${count} × ${code}`).join(", ");
}

function ms(value: number): string {
  return `${Math.round(value)} ms`;
}

await using stage = await Stage.start();
let wrong = 0;
const chosen = scenarios.filter(({ name }) => name.includes(values.only));
console.log(`${chosen.length} faults under ${writersCount} writing and ${readersCount} reading clients`);
for (const [index, scenario] of chosen.entries()) {
  const problems = await run(stage, scenario, index).catch((error: unknown) => [
    error instanceof Error ? error.message : String(error),
  ]);
  if (problems.length === 0) continue;
  wrong++;
  console.log(`${scenario.name}: ${problems.join("; ")}`);
}
console.log(wrong === 0 ? "all as promised" : `${wrong} faults were not dealt with as promised`);
process.exitCode = wrong === 0 ? 0 : 1;
