import { defineConfig } from "vitest/config";
import { SlowestFirst } from "./test/kit/slowest-first.ts";

/**
 * Three projects. `unit`: sans-IO rooms, no database, in threads that load each module once for all their files:
 * to load them anew for every file takes longer than the tests. `behaviour`: real PostgreSQL and real drivers, in
 * forked processes, two at a time. `fuzz`: properties with a time budget (FUZZ_SECONDS).
 */
export default defineConfig({
  test: {
    reporters: ["default"],
    sequence: { sequencer: SlowestFirst },
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/tidy.test.ts"],
          environment: "node",
          pool: "threads",
          isolate: false,
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "behaviour",
          sequence: { groupOrder: 1 },
          include: ["test/behaviour/**/*.test.ts", "test/drivers/**/*.test.ts"],
          environment: "node",
          globalSetup: ["test/kit/lab-template.ts"],
          pool: "forks",
          maxWorkers: 2,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: "fuzz",
          include: ["test/fuzz/**/*.test.ts"],
          environment: "node",
          testTimeout: 120_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
