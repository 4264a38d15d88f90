#!/usr/bin/env node
/**
 * The command line. Flags and printing only: what commands do lives in the rooms below.
 *
 * Exit codes: 0 after a clean end, 1 for an error in the flags, the configuration or the start; `query` has more.
 */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { Failure } from "../base/errors.ts";
import { registerBench } from "./bench.ts";
import { registerCheck } from "./check.ts";
import { registerConvert } from "./convert.ts";
import { registerDemo } from "./demo.ts";
import { Exit } from "./exit.ts";
import { registerExplain } from "./explain.ts";
import { registerIni } from "./ini.ts";
import { registerInit } from "./init.ts";
import { registerQuery } from "./query.ts";
import { registerStart } from "./start.ts";

/** Runs the command line given by `argv`, in the form of process.argv. Returns the exit code; prints errors. */
async function main(argv: readonly string[]): Promise<number> {
  try {
    await commandLine().parseAsync([...argv]);
    return 0;
  } catch (error) {
    // Commander has printed its own errors, and help and version are "errors" with exit code 0.
    if (error instanceof CommanderError || error instanceof Exit) return error.exitCode;
    printError(error);
    return 1;
  }
}

function commandLine(): Command {
  const program = new Command("pgsluice")
    .description("PostgreSQL connection pooler.")
    .version(version(), "-V, --version", "print the version")
    .showHelpAfterError("(pgsluice --help lists the commands, pgsluice COMMAND --help its flags)")
    .exitOverride()
    .configureHelp({ showGlobalOptions: false });
  registerIni(program);
  registerStart(program);
  registerInit(program);
  registerCheck(program);
  registerConvert(program);
  registerDemo(program);
  registerQuery(program);
  registerExplain(program);
  registerBench(program);
  return program;
}

function version(): string {
  const file = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

/** Failures that are foreseen say what is wrong and what helps; anything else is ours and shows its stack. */
function printError(error: unknown): void {
  if (!(error instanceof Failure)) {
    console.error(error);
    return;
  }
  console.error(`pgsluice: ${error.message}`);
  if (error.detail !== undefined) console.error(`detail: ${error.detail}`);
  if (error.hint !== undefined) console.error(`hint: ${error.hint}`);
}

/** How long what is still open may keep a process that has done its work. */
const lingerMs = 2000;

// Not process.exit at once: what is still being written to a pipe would be lost.
process.exitCode = await main(process.argv);
setTimeout(() => process.exit(), lingerMs).unref();
