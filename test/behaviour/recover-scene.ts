/** A pooler in front of a lab whose nodes are made anew by `pgsluice recover`, run as a program of its own. */
import { existsSync } from "node:fs";
import { chown, mkdir, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { stringify } from "smol-toml";
import { Failure } from "../../src/base/errors.ts";
import { resolveConninfo } from "../../src/client/index.ts";
import { checkConfig } from "../../src/config/load.ts";
import type { Lab, LabNode } from "../../src/lab/index.ts";
import { type RecoverOptions, recover } from "../../src/recovery/recover.ts";
import { Credentials } from "../../src/server/credentials.ts";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";
import { waitUntil } from "../kit/wait.ts";
import { CliProgram } from "./cli-program.ts";
import { nodeRow, openConsole, startPooled, untilNodeState } from "./console-client.ts";
import { nodesOf, watched } from "./node-kit.ts";
import type { Client, Pooled } from "./pooled.ts";

/** A password that must not be seen anywhere. */
export const recoveryPassword = "sesame-never-shown";

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class RecoverScene implements AsyncDisposable {
  readonly lab: Lab;
  readonly pooled: Pooled;
  readonly console: Client;
  readonly folder: string;
  readonly #temp: TempFolder;

  private constructor(lab: Lab, pooled: Pooled, console: Client, temp: TempFolder) {
    this.lab = lab;
    this.pooled = pooled;
    this.console = console;
    this.folder = temp.path;
    this.#temp = temp;
  }

  static async open(lab: Lab): Promise<RecoverScene> {
    await lab.primary.query(
      `DO $$BEGIN CREATE ROLE rebuilder LOGIN REPLICATION PASSWORD '${recoveryPassword}';
       EXCEPTION WHEN duplicate_object THEN NULL; END$$`,
    );
    const settings = { pool_mode: "auto", load_balance_mode: true };
    const pooled = await startPooled(lab, watched(lab, { settings }));
    return new RecoverScene(lab, pooled, await openConsole(pooled), await tempFolder());
  }

  /**
   * Starts the program. Its start command makes a file and waits for another: between the two the lab starts the node, as
   * {@link finish} does.
   */
  async start(
    node: LabNode,
    args: readonly string[],
    settings: Record<string, unknown> = {},
  ): Promise<CliProgram> {
    const file = path.join(this.folder, "pgsluice.toml");
    await rm(this.#ready, { force: true });
    await rm(this.#started, { force: true });
    await writeFile(file, stringify(this.#config(settings)));
    const console = ["--console", this.#consoleUrl];
    const attach = args.includes("--no-attach") ? [] : console;
    return new CliProgram("recover", node.name, "--config", file, "--checkpoint", "fast", ...attach, ...args);
  }

  /** Starts the node when the program wants it started, and waits for the program's end. */
  async finish(node: LabNode, running: CliProgram): Promise<Outcome> {
    let ended = false;
    void running.exit.then(() => {
      ended = true;
    });
    await waitUntil(() => ended || existsSync(this.#ready), "the standby is to be started, or all is over");
    if (!ended) {
      await node.start();
      await writeFile(this.#started, "");
    }
    const code = await running.exit;
    return { code, stdout: running.stdout, stderr: running.stderr };
  }

  async recover(
    node: LabNode,
    args: readonly string[] = [],
    settings: Record<string, unknown> = {},
  ): Promise<Outcome> {
    await using running = await this.start(node, args, settings);
    return await this.finish(node, running);
  }

  /** Why it is refused, if it is called as a function: message, detail and hint. Fails if anything was done. */
  async refusal(
    node: LabNode,
    options: Partial<RecoverOptions> = {},
    settings: Record<string, unknown> = {},
  ): Promise<string> {
    const config = checkConfig(this.#config(settings), this.folder);
    const credentials = new Credentials();
    credentials.replace(await Credentials.secretsOf(config));
    const steps: string[] = [];
    const failure = await recover({
      ...{ config, credentials, node: node.name, consoles: [resolveConninfo(this.#consoleUrl)] },
      ...{
        attach: true,
        from: undefined,
        dataDirectory: undefined,
        existing: "refuse",
        copy: true,
        start: true,
      },
      ...{ slot: undefined, checkpoint: "fast", kilobytesPerSecondMax: undefined, tablespaces: new Map() },
      signal: new AbortController().signal,
      onStep: (step) => steps.push(step),
      onProgress: () => undefined,
      ...options,
    }).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (!(failure instanceof Failure) || steps.length > 0)
      throw new Error(`not refused: ${steps.join(", ")}`, { cause: failure });
    return `${failure.message}\n${failure.detail}\n${failure.hint}`;
  }

  /** Environment of the start command. */
  get readyFile(): string {
    return this.#ready;
  }

  async rowOf(node: LabNode): Promise<Record<string, string | null>> {
    return nodeRow(this.console, node.name);
  }

  async untilState(node: LabNode, state: string): Promise<void> {
    await untilNodeState(this.console, node.name, state);
  }

  /** An empty folder of the user that PostgreSQL runs as. */
  async emptyFolder(node: LabNode): Promise<void> {
    const { uid, gid } = await stat(path.dirname(node.dataFolder));
    await rm(node.dataFolder, { recursive: true, force: true });
    await mkdir(node.dataFolder, { mode: 0o700 });
    await chown(node.dataFolder, uid, gid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.console[Symbol.dispose]();
    await this.pooled[Symbol.asyncDispose]();
    await this.#temp[Symbol.asyncDispose]();
  }

  get #ready(): string {
    return path.join(this.folder, "ready");
  }

  get #started(): string {
    return path.join(this.folder, "started");
  }

  get #consoleUrl(): string {
    const { host, port } = this.pooled.place as { host: string; port: number };
    return `postgres://postgres@${host}:${port}/pgbouncer`;
  }

  #config(settings: Record<string, unknown>): Record<string, unknown> {
    const wait = 'env > "$1.new"; mv "$1.new" "$1"; while [ ! -e "$2" ]; do sleep 0.05; done';
    return {
      pgsluice: {
        health_check_user: "postgres",
        recovery_user: "rebuilder",
        recovery_password: recoveryPassword,
        recovery_timeout: 30,
        recovery_start_command: ["/bin/sh", "-c", wait, "sh", this.#ready, this.#started],
        ...settings,
      },
      nodes: Object.fromEntries(
        Object.entries(nodesOf(this.lab)).map(([name, own]) => [
          name,
          { ...own, data_directory: this.#dataOf(name) },
        ]),
      ),
    };
  }

  #dataOf(name: string): string {
    const node = this.lab.nodes.find((one) => one.name === name);
    if (node === undefined) throw new Error(`no ${name}`);
    return node.dataFolder;
  }
}
