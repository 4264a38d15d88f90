/** `pgsluice start`: a pooler in front of one's own PostgreSQL, until a signal ends it. */
import { type Command, Option } from "commander";
import { OperationError } from "../base/errors.ts";
import { type LoadedConfig, loadConfigFile } from "../config/file.ts";
import { configFromUpstream } from "../config/load.ts";
import {
  integerFlag,
  type PoolerFlags,
  poolModeOption,
  repeatedFlag,
  settingFlag,
  settingsOfFlags,
} from "./flags.ts";
import { serve } from "./serve.ts";
import { upstreamsOf } from "./upstream.ts";

interface StartFlags extends PoolerFlags {
  readonly upstream?: readonly string[];
  readonly config?: string;
  readonly listen?: string;
}

const examples = `
Examples:
  pgsluice start --upstream postgres://app:secret@db.example.com/app
  pgsluice start --upstream postgres://app:secret@primary/app --upstream postgres://app:secret@standby/app
  pgsluice start --config pgsluice.toml --mode session

Signals: TERM waits for the clients to leave, INT disconnects them, QUIT stops at once, HUP reloads.`;

/** Adds the command `start`. */
export function registerStart(program: Command): void {
  program
    .command("start")
    .summary("start a pooler in front of your PostgreSQL")
    .description("Starts a pooler in front of your own PostgreSQL, from a config file or just from a URL.")
    .addOption(
      new Option("--upstream <url>", "PostgreSQL to connect to; given again: its standbys")
        .argParser(repeatedFlag)
        .conflicts("config"),
    )
    .option("--config <file>", "config file: pgsluice.toml, or PgBouncer's pgbouncer.ini")
    .option("--listen <addresses>", "addresses to listen on (listen_addr)")
    .option("--port <number>", "port to listen on (listen_port)", integerFlag(0, 65535))
    .addOption(poolModeOption())
    .option(
      "--pool-size <number>",
      "server connections per pool (default_pool_size)",
      integerFlag(0, 100_000),
    )
    .option("--log-level <level>", "least important messages to log (log_level)")
    .option("--set <name=value>", "any other setting of [pgsluice]; may be given several times", settingFlag)
    .addHelpText("after", examples)
    .action((flags: StartFlags) => start(flags, program.version() ?? "unknown"));
}

async function start(flags: StartFlags, version: string): Promise<void> {
  await serve({ read: () => configOf(flags), version, signals: "postgres" });
}

async function configOf(flags: StartFlags): Promise<LoadedConfig> {
  const settings = settingsOfFlags(flags);
  if (flags.listen !== undefined) settings["listen_addr"] = flags.listen;
  if (flags.config !== undefined) return loadConfigFile(flags.config, settings);
  if (flags.upstream !== undefined) {
    return {
      config: configFromUpstream(flags.upstream.flatMap(upstreamsOf), settings),
      notices: [],
      secretFiles: [],
    };
  }
  throw new OperationError("no PostgreSQL to connect to", {
    code: "cli.no_upstream",
    sqlstate: "F0000",
    source: "internal",
    hint: "Give --upstream postgres://user:password@host/database or --config FILE. `pgsluice demo` brings its own PostgreSQL.",
  });
}
