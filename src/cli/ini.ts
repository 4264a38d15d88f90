/**
 * `pgsluice FILE`, with PgBouncer's command line: what a service file calls is PgBouncer or pgsluice, with the same
 * arguments. And `pgsluice convert`.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { type Command, Option } from "commander";
import { OperationError } from "../base/errors.ts";
import { loadConfigFile } from "../config/file.ts";
import { convertIni } from "../config/ini/convert.ts";
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

/** Makes the program itself take a file, and adds the command `convert`. */
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
  program
    .command("convert")
    .summary("write the pgsluice.toml that means the same as a pgbouncer.ini")
    .description(
      "Writes to standard output the pgsluice.toml that means the same as a pgbouncer.ini, with comments on what has no counterpart. Other files, such as pgpool.conf, cannot be converted yet.",
    )
    .argument("<file>", "pgbouncer.ini")
    .action(convert);
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

async function convert(file: string): Promise<void> {
  if (path.basename(file).startsWith("pgpool")) {
    throw new OperationError("pgpool.conf cannot be converted yet", {
      code: "cli.convert_pgpool",
      sqlstate: "F0000",
      source: "internal",
      hint: "Only a pgbouncer.ini can.",
    });
  }
  process.stdout.write(await convertIni(file));
}
