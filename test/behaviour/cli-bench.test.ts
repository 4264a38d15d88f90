import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { BenchReport } from "../../src/lab/bench/results.ts";
import { CliProgram } from "./cli-program.ts";

const kept = mkdtempSync(path.join(tmpdir(), "pgsluice-kept-"));
afterAll(() => rmSync(kept, { recursive: true }));

/** As short as a benchmark can be, and without programs that may not be installed. */
const brief = [
  "bench",
  "--driver",
  "own",
  "--peers",
  "direct",
  "--clients",
  "2",
  "--scale",
  "1",
  "--results",
  kept,
];
const once = ["--seconds", "0.5", "--rounds", "1"];

describe("pgsluice bench", () => {
  test("measures pgsluice and its peers side by side, and keeps the report", async () => {
    const { code, stdout, stderr } = await CliProgram.run(
      ...brief,
      ...once,
      "--scenario",
      "select-prepared,idle,copy,copy-out,copy-in",
      "--copy-size",
      "2",
      "--json",
    );
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stdout.trim().split("\n")).toHaveLength(1);
    const report = JSON.parse(stdout) as BenchReport;
    expect(report.machine.cores).toBeGreaterThan(0);
    expect(report.versions.postgresql).toMatch(/^18\./);
    expect(report.scenarios.map(({ name }) => name)).toEqual([
      "select-prepared",
      "idle",
      "copy",
      "copy-out",
      "copy-in",
    ]);
    for (const { name, clients, mode, results, ratio } of report.scenarios) {
      expect({ clients, mode }).toEqual({ clients: 2, mode: "transaction" });
      const [ours, direct] = results;
      expect([ours?.peer, direct?.peer]).toEqual(["pgsluice", "direct"]);
      expect(ours?.error).toBeUndefined();
      if (name === "idle") continue;
      expect(ours?.tps).toBeGreaterThan(0);
      expect(ours?.p99Ms).toBeGreaterThanOrEqual(ours?.p50Ms ?? Number.NaN);
      expect(direct?.tps).toBeGreaterThan(0);
      if (name.startsWith("copy")) expect(ours?.copiedBytesPerSecond).toBeGreaterThan(0);
      expect(direct?.cpuMicrosPerTx).toBeNull();
      expect(ratio.direct).toBeGreaterThan(0);
      if (process.platform === "linux") expect(ours?.rssBytes).toBeGreaterThan(10_000_000);
    }
    const [file] = readdirSync(kept);
    expect(JSON.parse(readFileSync(path.join(kept, file ?? ""), "utf8"))).toEqual(report);
  });

  test("compares a mode with the mode transaction", async () => {
    const flags = ["--peers", "transaction-mode", "--mode", "auto", "--multiplex", "off"];
    const { code, stdout } = await CliProgram.run(
      ...[...brief, ...once, ...flags, "--scenario", "select-simple", "--json"],
    );
    expect(code).toBe(0);
    const report = JSON.parse(stdout) as BenchReport;
    expect(report.scenarios).toMatchObject([
      {
        mode: "auto",
        results: [
          { peer: "pgsluice", tps: expect.any(Number) as number },
          { peer: "transaction-mode", tps: expect.any(Number) as number },
        ],
        ratio: { "transaction-mode": expect.any(Number) as number },
      },
    ]);
  });

  test("prints a table, and why a peer is left out", async () => {
    const { code, stdout, stderr } = await CliProgram.run(
      ...brief,
      ...once,
      "--scenario",
      "tpcb",
      "--mode",
      "statement",
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^tpcb, 2 clients, mode statement\npeer +tps /m);
    expect(stdout).toMatch(/^direct +\d+ /m);
    expect(stderr).toContain("tpcb: pgsluice is left out: the mode statement has no transaction blocks");
  });

  test("refuses what it does not know, by name", async () => {
    const { code, stderr } = await CliProgram.run("bench", "--scenario", "select-nothing");
    expect(code).toBe(1);
    expect(stderr).toContain('"select-nothing" is none of select-simple');
  });
});
