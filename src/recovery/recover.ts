/**
 * Makes a node anew as a standby of the primary (pgpool-II's online recovery), on the machine that its data directory is on:
 * checks, copy, settings, start, catching up, attaching. Everything that can be found out is, before anything is changed;
 * what there is in the data directory is never touched unless it was said what to do with it; and what was interrupted is begun again by
 * the same command. A temporary replication slot keeps the log from the beginning of the copy until the standby has caught up.
 */
import { realpath, stat } from "node:fs/promises";
import path from "node:path";
import { copyCluster, settleFolder } from "../backup/copy.ts";
import {
  clearFolder,
  clearUnfinished,
  type DataFolder,
  inspectDataFolder,
  moveAside,
  unmarkCopy,
} from "../backup/data-folder.ts";
import { writeStandbySettings } from "../backup/standby.ts";
import { Failure } from "../base/errors.ts";
import type { ConnectOptions } from "../client/conninfo/options.ts";
import { ServerError } from "../client/errors.ts";
import { connectReplication, type ReplicationConnection } from "../client/replication/connection.ts";
import type { Config } from "../config/schema.ts";
import type { Credentials } from "../server/credentials.ts";
import { HookCommand } from "../server/hook-command.ts";
import { attach, detach, primaryOf } from "./attach.ts";
import { untilCaughtUp } from "./catch-up.ts";
import { recoveryError } from "./errors.ts";
import { Places } from "./places.ts";
import { PoolerConsole } from "./pooler-console.ts";

/** In this order; `existing` only if there was something to be put away, `slot` only if one is left behind after a failure. */
export type RecoveryStep =
  | "check"
  | "detach"
  | "existing"
  | "copy"
  | "prepare"
  | "start"
  | "catch up"
  | "attach"
  | "slot";

export interface RecoverOptions {
  readonly config: Config;
  readonly credentials: Credentials;
  readonly node: string;
  /** The consoles of the poolers; the one of the configuration if none is named. */
  readonly consoles: readonly ConnectOptions[];
  /** Whether poolers are told, and asked who the primary is. */
  readonly attach: boolean;
  /** The node that is copied and followed; the primary that the pooler knows if not given. */
  readonly from: string | undefined;
  readonly dataDirectory: string | undefined;
  /** What becomes of a data directory that holds something. */
  readonly existing: "refuse" | "move" | "remove";
  /** False: the data directory is taken as it is. */
  readonly copy: boolean;
  /** False: ends when the data directory is complete. */
  readonly start: boolean;
  /** A replication slot for the standby, made if there is none. */
  readonly slot: string | undefined;
  readonly checkpoint: "fast" | "spread";
  readonly kilobytesPerSecondMax: number | undefined;
  readonly tablespaces: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
  /** Hears of each step that is done, and of the copy while it goes on. */
  readonly onStep: (step: RecoveryStep, text: string) => void;
  readonly onProgress: (bytes: bigint, total: bigint) => void;
}

/** Rejects with `recovery.…`, `backup.…` or as the client does. Until the step `check` is done nothing has been changed. */
export async function recover(options: RecoverOptions): Promise<void> {
  await using recovery = new Recovery(options);
  try {
    await recovery.run();
  } catch (error) {
    options.signal.throwIfAborted();
    if (error instanceof Failure || !(error instanceof Error) || !("syscall" in error)) throw error;
    throw recoveryError("recovery.file_failed", `a file cannot be read or written: ${error.message}`, {
      hint: "Run it as the user that PostgreSQL runs as; when the cause is gone, the same command begins anew.",
      cause: error,
    });
  }
}

/** The part of the process's life in which the log is kept for the standby. */
const temporarySlot = `pgsluice_recover_${process.pid}`;

class Recovery implements AsyncDisposable {
  readonly #options: RecoverOptions;
  readonly #places: Places;
  #folder: string;
  readonly #consoles: PoolerConsole[] = [];
  #connection: ReplicationConnection | undefined;
  #from = "";
  #systemId = "";
  /** Made here, and used by nobody yet. */
  #slotMade: string | undefined;

  constructor(options: RecoverOptions) {
    this.#options = options;
    this.#places = new Places(options.config, options.credentials);
    const folder = options.dataDirectory ?? this.#places.node(options.node).data_directory ?? "";
    if (!path.isAbsolute(folder)) {
      throw recoveryError("recovery.refused", `the data directory of node "${options.node}" is not known`, {
        hint: `Set data_directory of [nodes.${options.node}], or give --data-directory: an absolute path.`,
      });
    }
    this.#folder = path.resolve(folder);
  }

  async run(): Promise<void> {
    const options = this.#options;
    this.#checkOptions();
    await this.#openConsoles();
    this.#from = await this.#source();
    const found = await this.#inspect();
    const owner = await ownerOf(this.#folder);
    const connection = await this.#connect();
    this.#checkSystem(found);
    const what = `node "${this.#from}" (system ${this.#systemId})`;
    options.onStep("check", `${what}, data directory ${this.#folder} (${found.kind})`);
    await detach(this.#consoles, options.node, (text) => options.onStep("detach", text));
    if (options.copy) {
      await this.#keepLog(connection);
      await this.#copy(connection, found);
      await this.#makeStandby(owner);
    }
    if (!options.start) return;
    if (found.kind !== "running") await this.#command("start", "recovery_start_command");
    await this.#follow();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const connection = this.#connection;
    if (connection !== undefined) {
      if (this.#slotMade !== undefined) await this.#dropSlot(connection, this.#slotMade);
      await connection.close();
    }
    for (const console of this.#consoles) await console[Symbol.asyncDispose]();
  }

  /** Nobody reads on from there, and the source would keep its log for it. */
  async #dropSlot(connection: ReplicationConnection, slot: string): Promise<void> {
    try {
      await connection.dropSlot(slot);
    } catch {
      const advice = "drop it, unless this command is run again";
      this.#options.onStep(
        "slot",
        `slot "${slot}" may be left on node "${this.#from}", whose log it keeps: ${advice}`,
      );
    }
  }

  async #follow(): Promise<void> {
    const { node, signal, onStep } = this.#options;
    await untilCaughtUp({
      node,
      standby: this.#places.sql(node),
      source: this.#places.sql(this.#from),
      systemId: this.#systemId,
      timeoutMs: this.#timeoutMs,
      signal,
    });
    onStep("catch up", `node "${node}" has replayed what "${this.#from}" had written`);
    const onDone = (text: string): void => onStep("attach", text);
    await attach(this.#consoles, node, { timeoutMs: this.#timeoutMs, signal, onDone });
  }

  get #timeoutMs(): number {
    return this.#options.config.pgsluice.recovery_timeout * 1000;
  }

  #checkOptions(): void {
    const { start, config, node, from } = this.#options;
    if (start && config.pgsluice.recovery_start_command.length === 0) {
      throw recoveryError("recovery.refused", "nothing says how the standby is started", {
        hint: "Set recovery_start_command, or give --no-start and start it yourself.",
      });
    }
    if (config.pgsluice.discovery === "patroni") {
      throw recoveryError("recovery.refused", "Patroni makes its members itself", {
        hint: `Use patronictl reinit with the member "${node}".`,
      });
    }
    if (from === node) throw recoveryError("recovery.refused", `node "${node}" cannot be copied from itself`);
  }

  async #openConsoles(): Promise<void> {
    const { attach: wanted, consoles, signal } = this.#options;
    if (!wanted) return;
    for (const place of consoles.length > 0 ? consoles : [this.#places.console()]) {
      this.#consoles.push(await PoolerConsole.connect(place, signal));
    }
  }

  /** The node that is copied. */
  async #source(): Promise<string> {
    const { node, from } = this.#options;
    this.#places.node(node);
    const primary = await primaryOf(this.#consoles, node);
    const source = from ?? primary;
    if (source === undefined) {
      throw recoveryError("recovery.refused", "nobody says which node is the primary", {
        hint: "Give --from NODE, or the console of a running pooler that watches the nodes.",
      });
    }
    this.#places.node(source);
    return source;
  }

  async #inspect(): Promise<DataFolder> {
    const { existing, copy } = this.#options;
    // What is renamed or emptied is the folder itself, and not a link to it.
    this.#folder = await realpath(this.#folder).catch(() => this.#folder);
    const found = await inspectDataFolder(this.#folder);
    const refuse = (message: string, hint: string): Error =>
      recoveryError("recovery.refused", `${this.#folder} ${message}; nothing was changed`, { hint });
    if (found.kind === "copying") {
      throw refuse(`is being copied into by process ${found.pid}`, "Wait for it, or end it.");
    }
    if (!copy) {
      if (found.kind === "cluster" || found.kind === "running") return found;
      throw refuse(`is ${found.kind}: there is nothing to go on from`, "Leave out --no-copy.");
    }
    switch (found.kind) {
      case "running":
        throw refuse(
          `is in use: PostgreSQL runs there as process ${found.pid}`,
          "Stop it first. If it is the primary, promote another node before.",
        );
      case "cluster":
        if (existing !== "refuse" || this.#ownCopy) return found;
        throw refuse(
          `holds a database cluster of version ${found.version}`,
          "Give --existing move to have it renamed, or --existing remove to have it deleted for ever.",
        );
      case "foreign":
        if (existing === "move") return found;
        throw refuse(
          `holds something else than a database cluster, such as ${found.example}`,
          "Check the path. --existing move has it renamed.",
        );
      default:
        return found;
    }
  }

  /** A command of one's own copies; what is there is its affair. */
  get #ownCopy(): boolean {
    return this.#options.config.pgsluice.recovery_copy_command.length > 0;
  }

  async #connect(): Promise<ReplicationConnection> {
    const { signal } = this.#options;
    const options = this.#places.replication(this.#from);
    try {
      this.#connection = await connectReplication(options, { mode: "physical", signal });
    } catch (error) {
      signal.throwIfAborted();
      throw recoveryError("recovery.refused", `node "${this.#from}" cannot be copied; nothing was changed`, {
        detail: error instanceof Error ? error.message : String(error),
        hint: `User "${options.user}" (recovery_user) needs LOGIN and REPLICATION there, its password in recovery_password, and a line for the database "replication" in pg_hba.conf.`,
        cause: error,
      });
    }
    const { systemId } = await this.#connection.identifySystem();
    this.#systemId = systemId;
    return this.#connection;
  }

  /** What is deleted for ever, or gone on from, has to be of the cluster that is meant. */
  #checkSystem(found: DataFolder): void {
    const { existing, copy } = this.#options;
    if (found.kind !== "cluster" || found.systemId === this.#systemId) return;
    if (copy && (this.#ownCopy || existing !== "remove")) return;
    throw recoveryError(
      "recovery.refused",
      `${this.#folder} is no copy of this cluster; nothing was changed`,
      {
        detail: `Its system identifier is ${found.systemId ?? "unreadable"}, and that of node "${this.#from}" is ${this.#systemId}.`,
        hint: "Check the path. --existing move has it renamed.",
      },
    );
  }

  /** From now on the source keeps its log for the copy; and for the standby, if it is to have a slot. */
  async #keepLog(connection: ReplicationConnection): Promise<void> {
    const { slot } = this.#options;
    try {
      await connection.createSlot(temporarySlot, { temporary: true, reserveWal: true });
      if (slot !== undefined && (await connection.readSlot(slot)) === undefined) {
        await connection.createSlot(slot, { reserveWal: true });
        this.#slotMade = slot;
      }
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      throw recoveryError("recovery.refused", `node "${this.#from}" has no replication slot to give`, {
        detail: error.message,
        hint: "It takes a free one for the time of the recovery: raise max_replication_slots.",
        cause: error,
      });
    }
  }

  async #copy(connection: ReplicationConnection, found: DataFolder): Promise<void> {
    const { onStep, ...options } = this.#options;
    if (this.#ownCopy) {
      await this.#command("copy", "recovery_copy_command");
      return;
    }
    await this.#putAway(found);
    try {
      const { bytes, start } = await copyCluster(connection, { ...options, folder: this.#folder });
      onStep("copy", `${bytes} bytes of timeline ${start.timeline}`);
    } catch (error) {
      options.signal.throwIfAborted();
      const detail = error instanceof Failure ? [error.detail, error.hint].filter(Boolean).join(" ") : "";
      const reason = error instanceof Error ? error.message : String(error);
      throw recoveryError("recovery.copy_failed", `the copy of node "${this.#from}" failed: ${reason}`, {
        ...(detail === "" ? {} : { detail }),
        hint: "What has come of it is marked as unfinished, and removed when the same command is run again.",
        cause: error,
      });
    }
  }

  async #putAway(found: DataFolder): Promise<void> {
    const { existing, onStep } = this.#options;
    if (found.kind === "unfinished") {
      await clearUnfinished(this.#folder, found.tablespaces);
      onStep("existing", `an unfinished copy in ${this.#folder} was removed`);
    } else if (found.kind === "foreign" || (found.kind === "cluster" && existing === "move")) {
      onStep("existing", `${this.#folder} is ${await moveAside(this.#folder, new Date())} now`);
    } else if (found.kind === "cluster") {
      await clearFolder(this.#folder);
      onStep("existing", `the old database cluster in ${this.#folder} was deleted`);
    }
  }

  async #makeStandby(owner: Owner): Promise<void> {
    const { node, slot, config } = this.#options;
    const source = this.#places.replication(this.#from);
    await writeStandbySettings(this.#folder, { source, applicationName: node, slot });
    await settleFolder(this.#folder, owner);
    // From here on it is a data directory that somebody may use.
    await unmarkCopy(this.#folder);
    this.#slotMade = undefined;
    if (config.pgsluice.recovery_prepare_command.length > 0) {
      await this.#command("prepare", "recovery_prepare_command");
    }
  }

  async #command(
    step: "copy" | "prepare" | "start",
    setting: "recovery_copy_command" | "recovery_prepare_command" | "recovery_start_command",
  ): Promise<void> {
    const { config, signal, onStep, node, slot } = this.#options;
    const command = config.pgsluice[setting];
    const hook = new HookCommand("recovery_timeout");
    const stop = (): void => hook.end();
    signal.addEventListener("abort", stop, { once: true });
    const limitMs = step === "copy" ? undefined : this.#timeoutMs;
    const { output, problem } = await hook.run(command, this.#variables(step, node, slot), limitMs);
    signal.removeEventListener("abort", stop);
    signal.throwIfAborted();
    if (problem === undefined) {
      onStep(step, `${command[0]} has ended well`);
      return;
    }
    throw recoveryError("recovery.command_failed", `${setting} failed: ${problem}`, {
      ...(output === "" ? {} : { detail: output }),
      hint:
        step === "start"
          ? "The data directory is complete: --no-copy goes on from there."
          : "The data directory is not complete. Run the command again when the cause is gone.",
    });
  }

  #variables(step: string, name: string, slot: string | undefined): Record<string, string> {
    const node = this.#places.node(name);
    const source = this.#places.node(this.#from);
    return {
      PGSLUICE_EVENT: `recovery_${step}`,
      PGSLUICE_NODE: name,
      PGSLUICE_NODE_HOST: node.hostaddr ?? node.host,
      PGSLUICE_NODE_PORT: String(node.port),
      PGSLUICE_PRIMARY: this.#from,
      PGSLUICE_PRIMARY_HOST: source.hostaddr ?? source.host,
      PGSLUICE_PRIMARY_PORT: String(source.port),
      PGSLUICE_DATA_DIRECTORY: this.#folder,
      PGSLUICE_SLOT: slot ?? "",
    };
  }
}

type Owner = { readonly uid: number; readonly gid: number } | undefined;

/**
 * Whose the data directory has to be: whose it is, or whose the folder around it is. Undefined: ours, as everything we
 * make. PostgreSQL does not run as root.
 */
async function ownerOf(folder: string): Promise<Owner> {
  if (process.getuid?.() !== 0) return undefined;
  for (const place of [folder, path.dirname(folder)]) {
    const found = await stat(place).catch(() => undefined);
    if (found !== undefined && found.uid !== 0) return { uid: found.uid, gid: found.gid };
  }
  throw recoveryError("recovery.refused", `${folder} belongs to root, as whom PostgreSQL does not run`, {
    hint: "Run it as the user that PostgreSQL runs as, or give that user the folder around it.",
  });
}
