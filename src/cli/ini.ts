/**
 * `pgsluice FILE`, with PgBouncer's command line: what a service file calls is PgBouncer or pgsluice, with the same
 * arguments.
 */
import { existsSync } from "node:fs";
import { type Command, Option } from "commander";
import { OperationError } from "../base/errors.ts";
import { loadConfigFile } from "../config/file.ts";
import { nearestName } from "../config/nearest.ts";
import { detachedFlag, reportFailure, reportReady, startInBackground } from "./daemon.ts";
import { serve } from "./serve.ts";

interface IniFlags {
  readonly daemon?: true;
  readonly quiet?: true;
  readonly user?: string;
  readonly verbose: number;
  readonly detached?: true;
}

const examples = `
In PgBouncer's place:
  pgsluice /etc/pgbouncer/pgbouncer.ini
  pgsluice -d -u postgres /etc/pgbouncer/pgbouncer.ini`;

/** Makes the program itself take a file. */
export function registerIni(program: Command): void {
  program
    // What stands behind a command is the command's.
    .enablePositionalOptions()
    .argument("[file]", "PgBouncer's pgbouncer.ini, or a pgsluice.toml: start a pooler with it")
    .option("-d, --daemon", "run in the background; needs pidfile and logfile in the file")
    .option("-q, --quiet", "write nothing to standard error")
    .option("-u, --user <name>", "become this user of the system, if started as root (user)")
    .option("-v, --verbose", "log more; given twice: all", (_: string, before: number) => before + 1, 0)
    .addOption(new Option(detachedFlag).hideHelp())
    .addHelpText("after", examples)
    .action((file: string | undefined, flags: IniFlags) => start(program, file, flags));
}

async function start(program: Command, file: string | undefined, flags: IniFlags): Promise<void> {
  if (file === undefined) program.help({ error: true });
  refuseUnknownCommand(program, file);
  const overrides: Record<string, unknown> = {};
  if (flags.user !== undefined) overrides["user"] = flags.user;
  if (flags.verbose > 0) overrides["log_level"] = flags.verbose === 1 ? "debug" : "trace";
  const read = (): ReturnType<typeof loadConfigFile> => loadConfigFile(file, overrides);
  const version = program.version() ?? "unknown";
  if (flags.detached === true) {
    await serve({ read, version, signals: "pgbouncer", quiet: true, onReady: reportReady }).catch(
      (error: unknown) => {
        reportFailure(error);
        throw error;
      },
    );
  } else if (flags.daemon === true) {
    const { config } = await read();
    await startInBackground(config.pgsluice);
  } else {
    await serve({ read, version, signals: "pgbouncer", quiet: flags.quiet === true });
  }
}

/** A word that is neither a file nor a command is taken for a mistyped command. */
function refuseUnknownCommand(program: Command, word: string): void {
  if (/[./\\]/.test(word) || existsSync(word)) return;
  const nearest = nearestName(
    word,
    program.commands.map((command) => command.name()),
  );
  throw new OperationError(`there is no file and no command "${word}"`, {
    code: "cli.unknown_command",
    sqlstate: "F0000",
    source: "internal",
    hint: nearest === undefined ? "pgsluice --help lists the commands." : `Did you mean ${nearest}?`,
  });
}
