#!/usr/bin/env node
/**
 * The command line. Flags and printing only: what commands do lives in the rooms below.
 *
 * Exit codes: 0 after a clean end, 1 for an error in the flags, the configuration or the start; `query` has more.
 */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { Exit } from "./exit.ts";
import { printError } from "./print-error.ts";

/** Adds a command to the program. */
type Register = (program: Command) => void;

/**
 * In the order of the help. Only the command that is called is loaded, so that it starts in the time of its own
 * modules: `query` needs half of what `start` does.
 */
const commands: ReadonlyMap<string, () => Promise<Register>> = new Map([
  ["start", async () => (await import("./start.ts")).registerStart],
  ["init", async () => (await import("./init.ts")).registerInit],
  ["check", async () => (await import("./check.ts")).registerCheck],
  ["convert", async () => (await import("./convert.ts")).registerConvert],
  ["recover", async () => (await import("./recover.ts")).registerRecover],
  ["demo", async () => (await import("./demo.ts")).registerDemo],
  ["query", async () => (await import("./query.ts")).registerQuery],
  ["explain", async () => (await import("./explain.ts")).registerExplain],
  ["bench", async () => (await import("./bench.ts")).registerBench],
]);

/** Runs the command line given by `argv`, in the form of process.argv. Returns the exit code; prints errors. */
async function main(argv: readonly string[]): Promise<number> {
  try {
    const program = await commandLine(argv[2]);
    await program.parseAsync([...argv]);
    return 0;
  } catch (error) {
    // Commander has printed its own errors, and help and version are "errors" with exit code 0.
    if (error instanceof CommanderError || error instanceof Exit) return error.exitCode;
    printError(error);
    return 1;
  }
}

/** A first word that names no command may be a file, a mistyped command or a flag: then all of them are known. */
async function commandLine(first: string | undefined): Promise<Command> {
  const program = new Command("pgsluice")
    .description("PostgreSQL connection pooler.")
    .version(version(), "-V, --version", "print the version")
    .showHelpAfterError("(pgsluice --help lists the commands, pgsluice COMMAND --help its flags)")
    .exitOverride()
    .configureHelp({ showGlobalOptions: false });
  const called = commands.get(first ?? "");
  if (called !== undefined) {
    (await called())(program);
    return program;
  }
  const { registerIni } = await import("./ini.ts");
  registerIni(program);
  for (const load of commands.values()) (await load())(program);
  return program;
}

function version(): string {
  const file = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

/** How long what is still open may keep a process that has done its work. */
const lingerMs = 2000;

// Not process.exit at once: what is still being written to a pipe would be lost.
process.exitCode = await main(process.argv);
setTimeout(() => process.exit(), lingerMs).unref();
