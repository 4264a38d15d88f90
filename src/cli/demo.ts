/**
 * `pgsluice demo`: a primary, standbys and a pooler in front of them, from nothing, until Ctrl-C.
 *
 * Progress goes to standard error. Standard output gets what a person, or with `--json` a program, needs to
 * connect, once everything is ready.
 */
import { type Command, InvalidArgumentError } from "commander";
import { configFromUpstream, type Upstream } from "../config/load.ts";
import { Lab } from "../lab/lab.ts";
import { Pooler, type ShutdownMode } from "../server/app.ts";
import { integerFlag, type PoolerFlags, poolModeOption, settingFlag, settingsOfFlags } from "./flags.ts";
import { createLogger } from "./logger.ts";
import { explainListenError, requireFreePort } from "./ports.ts";
import { serveUntilSignalled } from "./signals.ts";

interface DemoFlags extends PoolerFlags {
  readonly port: number;
  readonly standbys: number;
  readonly data?: string;
  readonly json?: true;
}

const host = "127.0.0.1";
/** The superuser that the lab's clusters are made with; the machine's own programs are trusted. */
const user = "postgres";
const database = "postgres";
/** Exit code of a program that a second Ctrl-C ended (128 + SIGINT), as shells report it. */
const forcedExitCode = 130;

/** Adds the command `demo`. */
export function registerDemo(program: Command): void {
  program
    .command("demo")
    .summary("start PostgreSQL and a pooler, to try things out")
    .description("Starts PostgreSQL with a standby, and a pooler in front of them. Ctrl-C ends everything.")
    .option("--port <number>", "port of the pooler; 0: any free one", integerFlag(0, 65535), 6432)
    .option("--data <folder>", "keep the data in this folder (default: a temporary one)", folderFlag)
    .option("--standbys <number>", "streaming standbys beside the primary", integerFlag(0, 8), 1)
    .addOption(poolModeOption().default("auto"))
    .option(
      "--pool-size <number>",
      "server connections per pool (default_pool_size)",
      integerFlag(0, 100_000),
    )
    .option("--log-level <level>", "least important messages to log (log_level)", "warn")
    .option("--set <name=value>", "any other setting of [pgsluice]; may be given several times", settingFlag)
    .option("--json", "when ready, print one line of JSON: the URL, and the nodes with theirs")
    .action(demo);
}

async function demo(flags: DemoFlags): Promise<void> {
  const running = new Demo(flags);
  const stopped = serveUntilSignalled({ shutdown: (mode) => running.stop(mode) });
  await running.start();
  await stopped;
}

class Demo {
  readonly #flags: DemoFlags;
  readonly #startedAtMs = performance.now();
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #lab: Lab | undefined;
  #pooler: Pooler | undefined;

  constructor(flags: DemoFlags) {
    this.#flags = flags;
  }

  /** Starts everything and prints where it is; if anything fails, nothing is left running. */
  async start(): Promise<void> {
    this.#starting = this.#startAll();
    try {
      await this.#starting;
    } catch (error) {
      await this.#lab?.stop();
      throw error;
    }
  }

  /** Ends everything, also in the middle of the start. A second, more urgent call ends the process instead. */
  async stop(mode: ShutdownMode): Promise<void> {
    // The processes of the lab end with this one, in whatever way it ends.
    if (this.#stopping !== undefined) process.exit(forcedExitCode);
    // A demo has no clients worth waiting for.
    this.#stopping = this.#stopAll(mode === "immediate" ? mode : "fast");
    await this.#stopping;
  }

  async #startAll(): Promise<void> {
    const { data, port, standbys } = this.#flags;
    await requireFreePort(host, port);
    this.#lab = await Lab.start({ standbys, folder: data, onProgress: (text) => this.#progress(text) });
    if (this.#stopping !== undefined) return;
    const { primary, standbys: others } = this.#lab;
    const upstreams: Upstream[] = [primary, ...others].map((node) => ({
      name: node.name,
      host: node.host,
      port: node.port,
      user,
    }));
    const config = configFromUpstream(upstreams, {
      log_format: "text",
      max_client_conn: 10_000,
      // Whoever tries it may look into the console.
      admin_users: [user],
      ...settingsOfFlags(this.#flags),
    });
    this.#progress("starting the pooler");
    this.#pooler = await Pooler.start(config, { logger: createLogger(config.pgsluice) }).catch(
      (error: unknown) => {
        throw explainListenError(error, config.pgsluice);
      },
    );
    if (this.#stopping !== undefined) return;
    this.#progress("ready");
    this.#printAddresses(this.#lab, this.#pooler);
  }

  async #stopAll(mode: ShutdownMode): Promise<void> {
    this.#progress("stopping");
    // What has been started by then is stopped below; if starting fails, `start` reports it.
    await this.#starting?.catch(() => undefined);
    await this.#pooler?.shutdown(mode);
    await this.#lab?.stop();
    this.#progress("stopped");
  }

  #progress(text: string): void {
    const seconds = ((performance.now() - this.#startedAtMs) / 1000).toFixed(1);
    process.stderr.write(`[${seconds.padStart(5)} s] ${text}\n`);
  }

  #printAddresses(lab: Lab, pooler: Pooler): void {
    const url = `postgres://${user}@${host}:${pooler.address.port}/${database}`;
    const nodes = lab.nodes.map((node) => ({
      name: node.name,
      role: node.role,
      url: node.url(user, database),
    }));
    if (this.#flags.json === true) {
      process.stdout.write(`${JSON.stringify({ url, nodes })}\n`);
      return;
    }
    const lines = [
      "",
      "pgsluice is ready. Connect with",
      "",
      `    psql "${url}"`,
      `    ${url}`,
      "",
      "Behind it, without the pooler:",
      "",
      ...nodes.map((node) => `    ${node.name}  ${node.role.padEnd(7)}  ${node.url}`),
      "",
      "Ctrl-C ends everything.",
      "",
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  }
}

function folderFlag(text: string): string {
  if (text === "") throw new InvalidArgumentError("It must be the name of a folder.");
  return text;
}
