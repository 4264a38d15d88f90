/** `pgsluice recover`: a node is made anew as a standby of the primary, step by step. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { Failure, OperationError } from "../base/errors.ts";
import { resolveConninfo } from "../client/index.ts";
import { loadConfigFile } from "../config/file.ts";
import { type RecoveryStep, recover } from "../recovery/recover.ts";
import { Credentials } from "../server/credentials.ts";
import { findOnce } from "../server/discovery/discovery.ts";
import { Exit } from "./exit.ts";
import { integerFlag, repeatedFlag } from "./flags.ts";
import { printError } from "./print-error.ts";

interface RecoverFlags {
  readonly config: string;
  readonly console?: readonly string[];
  readonly attach: boolean;
  readonly from?: string;
  readonly dataDirectory?: string;
  readonly existing: "refuse" | "move" | "remove";
  readonly copy: boolean;
  readonly start: boolean;
  readonly slot?: string;
  readonly checkpoint: "fast" | "spread";
  readonly maxRate?: number;
  readonly tablespaceMapping?: ReadonlyMap<string, string>;
  readonly json?: true;
}

const explanation = `
To be run on the machine of the node, as the user that PostgreSQL runs as. Nothing that is in the data directory is
touched unless --existing says what becomes of it. What was interrupted is begun again by the same command.

Exit code 0: the node is a standby that is in use (with --no-start: its data directory is complete); 1: nothing was
changed; 2: something was. The message says what to do, and the node stays detached until it is done.

Examples:
  pgsluice recover b --config pgsluice.toml
  pgsluice recover old --config pgsluice.toml --existing move --slot old
  pgsluice recover b --config pgsluice.toml --console "postgres://admin@pooler:6432/pgbouncer"`;

/** Adds the command `recover`. */
export function registerRecover(program: Command): void {
  program
    .command("recover")
    .summary("make a node anew as a standby: copy the primary, start, catch up, attach")
    .description(
      "Makes a node anew as a standby of the primary: a base backup, the settings of a standby, its start, and when it has caught up the running pooler uses it.",
    )
    .argument("<node>", "its name, as in [nodes.NAME]")
    .requiredOption("--config <file>", "config file of the pooler")
    .option("--console <connection>", "a pooler's console; may be given several times", repeatedFlag)
    .option("--no-attach", "leave poolers alone")
    .option("--from <node>", "the node to copy and follow (the primary that the pooler knows)")
    .option("--data-directory <path>", "the node's data directory (data_directory of the node)")
    .addOption(
      new Option("--existing <what>", "what becomes of a data directory that holds something")
        .choices(["refuse", "move", "remove"])
        .default("refuse"),
    )
    .option("--no-copy", "go on from a data directory that is complete")
    .option("--no-start", "end when the data directory is complete")
    .option("--slot <name>", "replication slot of the standby; made if there is none")
    .addOption(
      new Option("--checkpoint <how>", "the checkpoint that the copy begins with")
        .choices(["fast", "spread"])
        .default("spread"),
    )
    .option("--max-rate <kB/s>", "copy no faster than this", integerFlag(32, 1_048_576))
    .option("--tablespace-mapping <old=new>", "where a tablespace goes; may be given several times", mapping)
    .option("--json", "print one JSON object for each step, for programs")
    .addHelpText("after", explanation)
    .action(run);
}

async function run(node: string, flags: RecoverFlags): Promise<void> {
  const printer = new Printer(flags.json === true);
  const interruption = new AbortController();
  const interrupt = (signal: NodeJS.Signals): void => interruption.abort(interrupted(signal));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, interrupt);
  try {
    const config = await findOnce((await loadConfigFile(flags.config)).config);
    const credentials = new Credentials();
    credentials.replace(await Credentials.secretsOf(config));
    const consoles = (flags.console ?? []).map((text) => resolveConninfo(text));
    await recover({
      ...{ config, credentials, node, consoles },
      attach: flags.attach,
      from: flags.from,
      dataDirectory: flags.dataDirectory,
      existing: flags.existing,
      copy: flags.copy,
      start: flags.start,
      slot: flags.slot,
      checkpoint: flags.checkpoint,
      kilobytesPerSecondMax: flags.maxRate,
      tablespaces: flags.tablespaceMapping ?? new Map<string, string>(),
      signal: interruption.signal,
      onStep: (step, text) => printer.step(step, text),
      onProgress: (bytes, total) => printer.progress(bytes, total),
    });
  } catch (error) {
    if (flags.json === true) printer.failure(error);
    // What failed before is told as any other command's failure is.
    if (!printer.changed) throw error;
    printError(error);
    throw new Exit(2);
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, interrupt);
  }
}

/** A copy takes long: whoever looks sees it go on. */
const progressEveryMs = 1000;

class Printer {
  readonly #json: boolean;
  #toldAt = Number.NEGATIVE_INFINITY;
  /** From the first step on that is told something may be different. */
  changed = false;

  constructor(json: boolean) {
    this.#json = json;
  }

  step(step: RecoveryStep, text: string): void {
    this.changed = true;
    this.#write({ step, text }, `${step}: ${text}`);
  }

  progress(bytes: bigint, total: bigint): void {
    const now = performance.now();
    if (now - this.#toldAt < progressEveryMs) return;
    this.#toldAt = now;
    const whole = total === 0n ? "" : ` of about ${megabytes(total)}`;
    this.#write(
      { step: "copy", bytes: Number(bytes), total: Number(total) },
      `copying: ${megabytes(bytes)}${whole}`,
    );
  }

  failure(error: unknown): void {
    const { message, code, detail, hint }: Partial<Failure> =
      error instanceof Failure ? error : { message: String(error) };
    process.stdout.write(`${JSON.stringify({ error: { code, message, detail, hint } })}\n`);
  }

  #write(object: Readonly<Record<string, unknown>>, text: string): void {
    process.stdout.write(`${this.#json ? JSON.stringify(object) : text}\n`);
  }
}

function megabytes(bytes: bigint): string {
  return `${(Number(bytes) / 1_000_000).toFixed(0)} MB`;
}

/** As pg_basebackup takes it. */
function mapping(text: string, before: ReadonlyMap<string, string> | undefined): Map<string, string> {
  const [old = "", given = ""] = text.split("=");
  if (!old.startsWith("/") || !given.startsWith("/")) {
    throw new InvalidArgumentError("It must have the form /old/folder=/new/folder.");
  }
  return new Map([...(before ?? []), [old, given]]);
}

function interrupted(signal: NodeJS.Signals): OperationError {
  return new OperationError(`the recovery was ended by ${signal}`, {
    code: "cli.interrupted",
    sqlstate: "57014",
    source: "internal",
    hint: "Run the command again to begin anew.",
  });
}
