/**
 * The client beside node-postgres and postgres.js: queries one after the other and all at once, rows, COPY, on
 * one connection each, interleaved over several rounds.
 *
 *   npm run bench:client                               all scenarios, five rounds
 *   npm run bench:client -- --rounds 3 --only rows     some of it
 *   npm run bench:client -- --json                     the report, for bench/results
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { describeMachine } from "../../src/lab/bench/machine.ts";
import { Lab } from "../../src/lab/index.ts";
import { type Driver, pgDriver, pgsluiceDriver, postgresDriver } from "./drivers.ts";

const queries = 20_000;
const rowsRead = 200_000;
const copyChunks = 400;

interface Scenario {
  readonly name: string;
  readonly unit: string;
  /** Units done, or undefined if the driver cannot. */
  run(driver: Driver): Promise<number | undefined>;
}

const copyChunk = Buffer.from(
  Array.from({ length: 1000 }, (_, i) => `${i}\tname of number ${i}\t${i * 1000}\ttrue\t2026-01-01\n`).join(
    "",
  ),
);

const scenarios: readonly Scenario[] = [
  {
    name: "sequential",
    unit: "queries/s",
    run: async (driver) => await done(driver.sequential(queries), queries),
  },
  {
    name: "pipelined",
    unit: "queries/s",
    run: async (driver) => await done(driver.pipelined(queries), queries),
  },
  { name: "rows", unit: "rows/s", run: async (driver) => await done(driver.rows(rowsRead), rowsRead) },
  {
    name: "copy-in",
    unit: "MB/s",
    run: async (driver) => megabytes(await driver.copyIn(copyChunk, copyChunks)),
  },
  { name: "copy-out", unit: "MB/s", run: async (driver) => megabytes(await driver.copyOut(rowsRead)) },
];

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    only: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const chosen = scenarios.filter(
  ({ name }) => values.only === undefined || values.only.split(",").includes(name),
);
const lab = await Lab.start();
try {
  await main();
} finally {
  await lab.stop();
}

async function main(): Promise<void> {
  const version = await prepare();
  const address = { host: lab.primary.host, port: lab.primary.port };
  const drivers = await Promise.all([pgsluiceDriver(address), pgDriver(address), postgresDriver(address)]);
  const figures = new Map<string, number[]>();
  // One round to warm up, which does not count.
  for (let round = 0; round <= Number(values.rounds); round++) {
    for (const scenario of chosen) {
      for (const driver of drivers) {
        const rate = await measure(scenario, driver);
        if (round === 0 || rate === undefined) continue;
        const key = `${scenario.name} ${driver.name}`;
        figures.set(key, [...(figures.get(key) ?? []), rate]);
      }
    }
  }
  for (const driver of drivers) await driver.close();
  report(figures, version);
}

async function prepare(): Promise<string> {
  const sql = `CREATE TABLE bench_point AS SELECT i AS id, 'name ' || i AS name FROM generate_series(0, 999) i;
    ALTER TABLE bench_point ADD PRIMARY KEY (id);
    CREATE TABLE bench_rows AS SELECT i AS a, 'name of number ' || i AS b, i::float8 / 7 AS c, i % 2 = 0 AS d,
      'row ' || md5(i::text) AS e FROM generate_series(1, ${rowsRead}) i;
    CREATE UNLOGGED TABLE bench_copy (a int, b text, c int, d bool, e date);
    VACUUM ANALYZE bench_rows`;
  for (const statement of sql.split(";")) await lab.primary.query(statement);
  return (await lab.primary.query("SHOW server_version")).rows[0]?.[0] ?? "";
}

async function measure(scenario: Scenario, driver: Driver): Promise<number | undefined> {
  const start = performance.now();
  const units = await scenario.run(driver);
  return units === undefined ? undefined : (units * 1000) / (performance.now() - start);
}

function report(figures: ReadonlyMap<string, number[]>, postgresql: string): void {
  const results = chosen.map(({ name, unit }) => {
    const rate = (driver: string): number | null => median(figures.get(`${name} ${driver}`)) ?? null;
    const rates = { pgsluice: rate("pgsluice"), pg: rate("pg"), postgres: rate("postgres") };
    const best = Math.max(rates.pg ?? 0, rates.postgres ?? 0);
    return {
      scenario: name,
      unit,
      ...rates,
      ratioToFaster: best === 0 ? null : (rates.pgsluice ?? 0) / best,
    };
  });
  const versions = {
    node: process.versions.node,
    postgresql,
    pg: versionOf("pg"),
    postgres: versionOf("postgres"),
  };
  const summary = {
    date: new Date().toISOString(),
    machine: describeMachine(),
    versions,
    rounds: Number(values.rounds),
    results,
  };
  if (values.json) return console.log(JSON.stringify(summary, null, 2));
  console.log(`${summary.machine.cpu}, ${summary.machine.cores} cores`, versions);
  console.table(
    results.map((row) => ({
      ...row,
      pgsluice: rounded(row.pgsluice),
      pg: rounded(row.pg),
      postgres: rounded(row.postgres),
      ratioToFaster: row.ratioToFaster?.toFixed(2) ?? "-",
    })),
  );
}

function versionOf(name: string): string {
  const file = new URL(`../../node_modules/${name}/package.json`, import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

function rounded(rate: number | null): number | string {
  return rate === null ? "-" : Math.round(rate);
}

function median(values: readonly number[] = []): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

async function done(work: Promise<void>, units: number): Promise<number> {
  await work;
  return units;
}

function megabytes(bytes: number | undefined): number | undefined {
  return bytes === undefined ? undefined : bytes / 1e6;
}
