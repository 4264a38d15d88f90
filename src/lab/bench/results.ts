/** From the samples of all rounds to what is reported: medians, ratios, and the file that keeps them. */
import { access, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Machine, Versions } from "./machine.ts";
import type { Sample } from "./measure.ts";
import { type BenchMode, type BenchOptions, copies, type PeerName, type ScenarioName } from "./options.ts";

/** A number that could not be measured, or has no meaning in the scenario, is null. */
export interface PeerResult {
  readonly peer: PeerName;
  readonly tps: number | null;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  /** Processor time of the pooler's processes per transaction. */
  readonly cpuMicrosPerTx: number | null;
  /** The most memory the pooler's processes held. */
  readonly rssBytes: number | null;
  /** `idle` only: memory; from the start of the process to a client's first answer; all clients logged in and answered. */
  readonly bytesPerClient?: number | null;
  readonly readyMs?: number | null;
  readonly crowdMs?: number | null;
  /** Of the scenarios of COPY only; the memory is that before and after a run. */
  readonly copiedBytesPerSecond?: number | null;
  readonly rssBeforeBytes?: number | null;
  readonly rssAfterBytes?: number | null;
  /** Why there are no figures. */
  readonly error?: string;
}

export interface ScenarioResult {
  readonly name: ScenarioName;
  readonly clients: number;
  readonly mode: BenchMode;
  readonly results: readonly PeerResult[];
  /** Transactions per second of pgsluice divided by those of each other peer. */
  readonly ratio: Partial<Record<Exclude<PeerName, "pgsluice">, number | null>>;
}

export interface BenchReport {
  /** ISO 8601, UTC. */
  readonly date: string;
  readonly machine: Machine;
  readonly versions: Versions;
  readonly settings: Pick<BenchOptions, "seconds" | "rounds" | "scale" | "copySize"> & {
    readonly poolSize: number;
    readonly workers: number;
    readonly multiplex: boolean;
    /** Of the network in front of PostgreSQL, in each direction. */
    readonly delayMs: number;
    readonly driver: string;
  };
  /** Programs that were asked for and are not installed. */
  readonly missing: readonly string[];
  readonly scenarios: readonly ScenarioResult[];
}

/** What all rounds of one scenario with one number of clients gave, by peer. */
export type CellSamples = ReadonlyMap<
  PeerName,
  { readonly samples: readonly Sample[]; readonly error?: string | undefined }
>;

export function summarise(
  name: ScenarioName,
  clients: number,
  mode: BenchMode,
  cell: CellSamples,
): ScenarioResult {
  const results: PeerResult[] = [];
  for (const [peer, { samples, error }] of cell) {
    results.push({
      peer,
      // A COPY of a gigabyte takes seconds.
      tps: medianOf(samples, "tps", copies(name) ? 4 : 1),
      p50Ms: medianOf(samples, "p50Ms", 3),
      p99Ms: medianOf(samples, "p99Ms", 3),
      cpuMicrosPerTx: medianOf(samples, "cpuMicrosPerTx", 2),
      rssBytes: medianOf(samples, "rssBytes", 0),
      ...(name === "idle" ? idleFigures(samples) : {}),
      ...(copies(name) ? copyFigures(samples) : {}),
      ...(error === undefined ? {} : { error }),
    });
  }
  return { name, clients, mode, results, ratio: ratios(results) };
}

function copyFigures(
  samples: readonly Sample[],
): Pick<PeerResult, "copiedBytesPerSecond" | "rssBeforeBytes" | "rssAfterBytes"> {
  return {
    copiedBytesPerSecond: medianOf(samples, "copiedBytesPerSecond", 0),
    rssBeforeBytes: medianOf(samples, "rssBeforeBytes", 0),
    rssAfterBytes: medianOf(samples, "rssAfterBytes", 0),
  };
}

function idleFigures(samples: readonly Sample[]): Pick<PeerResult, "bytesPerClient" | "readyMs" | "crowdMs"> {
  return {
    bytesPerClient: medianOf(samples, "bytesPerClient", 0),
    readyMs: medianOf(samples, "readyMs", 0),
    crowdMs: medianOf(samples, "crowdMs", 0),
  };
}

function ratios(results: readonly PeerResult[]): ScenarioResult["ratio"] {
  const ours = results.find((result) => result.peer === "pgsluice")?.tps ?? null;
  const ratio: Partial<Record<Exclude<PeerName, "pgsluice">, number | null>> = {};
  for (const { peer, tps } of results) {
    if (peer === "pgsluice") continue;
    ratio[peer] = ours === null || tps === null || tps === 0 ? null : round(ours / tps, 3);
  }
  return ratio;
}

/** Of an even number of values the mean of the two in the middle. */
export function median(numbers: readonly number[]): number | null {
  const sorted = [...numbers].sort((one, other) => one - other);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  return upper === undefined || lower === undefined ? null : (lower + upper) / 2;
}

function medianOf(samples: readonly Sample[], key: keyof Sample, digits: number): number | null {
  const value = median(samples.flatMap((sample) => sample[key] ?? []));
  return value === null ? null : round(value, digits);
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/**
 * Keeps a report as a file named by its date. Without a folder given it goes to `bench/results` of the working
 * folder, if that exists. Returns the file, or undefined if it was not kept.
 */
export async function keepReport(
  report: BenchReport,
  folder: string | undefined,
): Promise<string | undefined> {
  const chosen = folder ?? path.join("bench", "results");
  if (folder === undefined && !(await exists(chosen))) return undefined;
  await mkdir(chosen, { recursive: true });
  const mode = report.scenarios[0]?.mode ?? "none";
  const file = path.join(chosen, `${report.date.replaceAll(":", "-").slice(0, 19)}-${mode}.json`);
  await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
  return file;
}

function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
