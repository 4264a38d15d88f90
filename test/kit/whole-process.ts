/**
 * The test files that judge the process they run in: its sockets and timers, of which a test requires that none is
 * left, and its memory. They need a process of their own; for all others a process of several files does, which has
 * loaded the modules already.
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

const judging = /getActiveResourcesInfo|memoryUsage|client-traces/;

/** Paths below the folder `root`, with forward slashes, of files below `folder` in it. */
export function filesThatJudgeTheirProcess(root: string, folder: string): string[] {
  return readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .map((name) => path.join(folder, name).replaceAll(path.sep, "/"))
    .filter((name) => name.endsWith(".test.ts") && judging.test(readFileSync(path.join(root, name), "utf8")));
}
