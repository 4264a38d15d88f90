/**
 * `pgsluice bench`: flags and printing. What is measured and how is in lab/bench.
 *
 * Standard output gets the report, a table or with `--json` one line of JSON; progress and warnings go to
 * standard error.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { connectOptionsFromConninfo } from "../client/conninfo/conninfo.ts";
import {
  type BenchMode,
  type BenchUpstream,
  benchDefaults,
  benchModes,
  type DriverName,
  driverNames,
  type PeerName,
  peerNames,
  type ScenarioName,
  scenarioNames,
} from "../lab/bench/options.ts";
import { keepReport, type PeerResult, type ScenarioResult } from "../lab/bench/results.ts";
import { runBench } from "../lab/bench/run.ts";

interface BenchFlags {
  readonly scenario: readonly ScenarioName[];
  readonly clients?: readonly number[];
  readonly mode: BenchMode;
  readonly peers: readonly Exclude<PeerName, "pgsluice">[];
  readonly seconds: number;
  readonly rounds: number;
  readonly poolSize: number;
  readonly workers: number;
  readonly multiplex: "on" | "off";
  readonly delay: number;
  readonly scale: number;
  readonly copySize: number;
  readonly driver?: DriverName;
  readonly upstream?: BenchUpstream;
  readonly results?: string;
  readonly json?: true;
}

const examples = `
Examples:
  pgsluice bench
  pgsluice bench --scenario select-simple,select-prepared --clients 64 --seconds 10
  pgsluice bench --json --scenario select-simple --clients 64 --mode transaction --peers direct,pgbouncer --seconds 3 --rounds 3

Figures are medians over the rounds. CPU is the processor time of the pooler's processes, memory the most they held.`;

/** Adds the command `bench`. */
export function registerBench(program: Command): void {
  const defaults = benchDefaults;
  program
    .command("bench")
    .summary("compare pgsluice with other poolers on this machine")
    .description(
      "Starts PostgreSQL, pgsluice and the other poolers that are installed, and drives them side by side.",
    )
    .option(
      "--scenario <names>",
      `what to run: ${scenarioNames.join(", ")}`,
      namesFlag(scenarioNames),
      defaults.scenarios,
    )
    .option("--clients <numbers>", "numbers of clients (default: what fits the scenario)", numbersFlag)
    .addOption(new Option("--mode <mode>", "pool mode").choices([...benchModes]).default(defaults.mode))
    .option(
      "--peers <names>",
      `whom to compare with: ${otherPeers.join(", ")} (which is pgsluice again)`,
      namesFlag(otherPeers),
      defaults.peers,
    )
    .option("--seconds <number>", "length of one run", numberFlag, defaults.seconds)
    .option("--rounds <number>", "runs of each peer, interleaved", numberFlag, defaults.rounds)
    .option("--pool-size <number>", "server connections per pool", numberFlag, defaults.poolSize)
    .option("--workers <number>", "processes of pgsluice", numberFlag, defaults.workers)
    .addOption(
      new Option("--multiplex <state>", "whether reads share servers in auto mode")
        .choices(["on", "off"])
        .default("on"),
    )
    .option("--delay <milliseconds>", "make the network to PostgreSQL late", numberFlag, defaults.delay)
    .option("--scale <number>", "size of the tables, as pgbench's scale", numberFlag, defaults.scale)
    .option(
      "--copy-size <megabytes>",
      "size of one COPY of copy-out and copy-in",
      numberFlag,
      defaults.copySize,
    )
    .addOption(
      new Option("--driver <name>", "who makes the load (default: pgbench if installed)").choices([
        ...driverNames,
      ]),
    )
    .option(
      "--upstream <url>",
      "a PostgreSQL to use, without a password, instead of starting one",
      upstreamFlag,
    )
    .option("--results <folder>", "keep the report there (default: bench/results, if it exists)")
    .option("--json", "print one line of JSON")
    .addHelpText("after", examples)
    .action((flags: BenchFlags) => bench(flags, program.version() ?? "unknown"));
}

const otherPeers = peerNames.filter((name) => name !== "pgsluice");

async function bench(flags: BenchFlags, version: string): Promise<void> {
  const table = new Table(flags.json === undefined);
  const {
    scenario: scenarios,
    multiplex,
    clients,
    driver,
    upstream,
    results: folder,
    json,
    ...others
  } = flags;
  const options = { ...others, scenarios, multiplex: multiplex === "on", clients, driver, upstream };
  const report = await runBench(options, version, {
    onProgress: (text) => process.stderr.write(`${text}\n`),
    onWarning: (text) => process.stderr.write(`warning: ${text}\n`),
    onScenario: (result) => table.print(result),
  });
  const file = await keepReport(report, folder);
  if (file !== undefined) process.stderr.write(`kept in ${file}\n`);
  if (json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
  else
    table.printFooter(
      `${report.machine.cpu}, ${report.machine.cores} cores; ${versionsLine(report.versions)}`,
    );
}

/** Prints each scenario as soon as it is done, because a whole run takes a while. */
class Table {
  readonly #on: boolean;

  constructor(on: boolean) {
    this.#on = on;
  }

  print(scenario: ScenarioResult): void {
    if (!this.#on) return;
    const rows = scenario.results.map((result) => row(result, scenario));
    const widths = headings.map((heading, column) =>
      Math.max(heading.length, ...rows.map((cells) => cells[column]?.length ?? 0)),
    );
    const lines = [headings, ...rows].map((cells) =>
      cells
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join("  "),
    );
    process.stdout.write(
      `\n${scenario.name}, ${scenario.clients} clients, mode ${scenario.mode}\n${lines.join("\n")}\n`,
    );
    for (const { peer, error } of scenario.results) {
      if (error !== undefined) process.stdout.write(`  ${peer}: ${error}\n`);
    }
  }

  printFooter(text: string): void {
    if (this.#on) process.stdout.write(`\n${text}\n`);
  }
}

const headings = [
  "peer",
  "tps",
  "p50 ms",
  "p99 ms",
  "CPU µs/tx",
  "memory MB",
  "of pgbouncer",
  "of direct",
  "",
];

function row(result: PeerResult, scenario: ScenarioResult): string[] {
  const tpsOf = (peer: PeerName): number | null =>
    scenario.results.find((other) => other.peer === peer)?.tps ?? null;
  return [
    result.peer,
    figure(result.tps, result.tps !== null && result.tps < 10 ? 2 : 0),
    figure(result.p50Ms, 3),
    figure(result.p99Ms, 3),
    figure(result.cpuMicrosPerTx, 1),
    figure(result.rssBytes === null ? null : result.rssBytes / 1_000_000, 1),
    quotient(result.tps, tpsOf("pgbouncer")),
    quotient(result.tps, tpsOf("direct")),
    extra(result),
  ];
}

function extra(result: PeerResult): string {
  if (typeof result.bytesPerClient === "number")
    return `${(result.bytesPerClient / 1000).toFixed(1)} kB/client, ready after ${figure(result.readyMs ?? null, 0)} ms, all in after ${figure(result.crowdMs ?? null, 0)} ms`;
  if (typeof result.copiedBytesPerSecond === "number")
    return `${(result.copiedBytesPerSecond / 1e6).toFixed(0)} MB/s${memoryOverTime(result)}`;
  return "";
}

/** Whether what a long COPY takes is given back, or taken again. */
function memoryOverTime({ rssBeforeBytes: before, rssAfterBytes: after }: PeerResult): string {
  if (typeof before !== "number" || typeof after !== "number") return "";
  return `, ${(before / 1e6).toFixed(0)} MB before, ${(after / 1e6).toFixed(0)} after`;
}

function figure(value: number | null, digits: number): string {
  return value === null ? "-" : value.toFixed(digits);
}

function quotient(value: number | null, reference: number | null): string {
  return value === null || reference === null || reference === 0 ? "-" : (value / reference).toFixed(2);
}

function versionsLine(versions: Readonly<Record<string, string | undefined>>): string {
  return Object.entries(versions)
    .flatMap(([name, version]) => (version === undefined ? [] : [`${name} ${version}`]))
    .join(", ");
}

function namesFlag<Name extends string>(names: readonly Name[]): (text: string) => Name[] {
  return (text) =>
    text.split(",").map((part) => {
      const found = names.find((name) => name === part.trim());
      if (found === undefined) throw new InvalidArgumentError(`"${part}" is none of ${names.join(", ")}.`);
      return found;
    });
}

function numberFlag(text: string): number {
  const number = Number(text);
  if (text.trim() === "" || !Number.isFinite(number)) throw new InvalidArgumentError("It must be a number.");
  return number;
}

function numbersFlag(text: string): number[] {
  return text.split(",").map(numberFlag);
}

function upstreamFlag(text: string): BenchUpstream {
  const { hosts, user } = connectOptionsFromConninfo(text);
  const [first] = hosts;
  if (first === undefined) throw new InvalidArgumentError("It must name a host.");
  return { host: first.host, port: first.port, user };
}
