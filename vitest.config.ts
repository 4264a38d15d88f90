import { defineConfig } from "vitest/config";
import { SlowestFirst } from "./test/kit/slowest-first.ts";
import { filesThatJudgeTheirProcess } from "./test/kit/whole-process.ts";

const alone = filesThatJudgeTheirProcess(import.meta.dirname, "test/behaviour");

/** Under Bun, Vitest takes an ES module that also has a default export (zod) for a CommonJS one. */
const modules = "bun" in process.versions ? { deps: { interopDefault: false } } : {};

/** Real PostgreSQL and real drivers. */
const behaviour = {
  ...modules,
  environment: "node",
  globalSetup: "test/kit/lab-template.ts",
  pool: "forks",
  maxWorkers: 2,
  testTimeout: 60_000,
  hookTimeout: 120_000,
  sequence: { groupOrder: 1 },
} as const;

/**
 * Everything runs two files at a time. `unit`: sans-IO rooms, no database, in threads. `behaviour`: with a database,
 * in forked processes. Both load each module once for all their files: to load it anew for each takes as long as the
 * tests. `alone`: those of the same kind that judge the process they run in, each in a new one. `fuzz`: properties
 * with a time budget (FUZZ_SECONDS).
 */
export default defineConfig({
  test: {
    reporters: ["default"],
    sequence: { sequencer: SlowestFirst },
    projects: [
      {
        test: {
          ...modules,
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/tidy.test.ts"],
          environment: "node",
          pool: "threads",
          isolate: false,
          maxWorkers: 2,
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...behaviour,
          name: "behaviour",
          include: ["test/behaviour/**/*.test.ts", "test/drivers/**/*.test.ts"],
          exclude: alone,
          isolate: false,
        },
      },
      { test: { ...behaviour, name: "alone", include: alone, testTimeout: 180_000 } },
      {
        test: {
          ...modules,
          name: "fuzz",
          include: ["test/fuzz/**/*.test.ts"],
          environment: "node",
          maxWorkers: 2,
          testTimeout: 120_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
