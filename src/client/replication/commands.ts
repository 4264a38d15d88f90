/**
 * The texts of the replication commands (docs 54.4). Their grammar is not SQL's: names are quoted as in SQL, but
 * a backslash in a text means itself.
 */
import { badOption } from "../conninfo/options.ts";
import { escapeIdentifier } from "../query/quoting.ts";
import { formatLsn } from "./lsn.ts";

export interface PhysicalSlotOptions {
  /** It goes with the connection. */
  readonly temporary?: boolean | undefined;
  /** The log is kept from now on, not only from the first stream on. */
  readonly reserveWal?: boolean | undefined;
}

export interface LogicalSlotOptions {
  /** The output plugin, such as `pgoutput`. */
  readonly plugin: string;
  /** It goes with the connection. */
  readonly temporary?: boolean | undefined;
  /** What becomes of the snapshot in which the slot begins; the server exports it if not given. */
  readonly snapshot?: "export" | "use" | "nothing" | undefined;
  /** Prepared transactions are sent when they are prepared. */
  readonly twoPhase?: boolean | undefined;
  /** Standbys keep it up to date, to be used after a failover; from PostgreSQL 17. */
  readonly failover?: boolean | undefined;
}

/** Options of an output plugin by name, such as `proto_version` and `publication_names` of pgoutput. */
export type PluginOptions = Readonly<Record<string, string | number | boolean>>;

export interface BaseBackupOptions {
  /** Written into backup_label; `base backup` if not given. */
  readonly label?: string | undefined;
  /** Whether the checkpoint that it begins with is made at once, or slowly; `spread` if not given. */
  readonly checkpoint?: "fast" | "spread" | undefined;
  /** Whether the log that makes it consistent is put into the archive; if not, stream it or fetch it. */
  readonly wal?: boolean | undefined;
  /** Whether it waits until that log has been archived, where there is an archive; true if not given. */
  readonly wait?: boolean | undefined;
  /** The server sends no more than so many kilobytes a second: 32 to 1048576. */
  readonly kilobytesPerSecondMax?: number | undefined;
  /** Whether tablespaces are listed in a file tablespace_map, instead of links in pg_tblspc. */
  readonly tablespaceMap?: boolean | undefined;
  /** Whether the server looks at the checksums of what it reads; true if not given. */
  readonly verifyChecksums?: boolean | undefined;
  /** Whether a manifest is sent; no if not given. `force-encode` writes all its file names in hexadecimal. */
  readonly manifest?: boolean | "force-encode" | undefined;
  /** CRC32C if not given. */
  readonly manifestChecksums?: "NONE" | "CRC32C" | "SHA224" | "SHA256" | "SHA384" | "SHA512" | undefined;
  /** Whether the server says how much there is, and how far it is. */
  readonly progress?: boolean | undefined;
}

/**
 * A name in double quotes. The grammar knows no way to write a double quote in it (repl_scanner.l, xd). Throws
 * OperationError `client.bad_option` (22023) for one that has such.
 */
function quotedName(text: string): string {
  if (!text.includes('"')) return escapeIdentifier(text);
  throw badOption(`a name in a replication command cannot hold a double quote: ${text}`);
}

/** A text of the replication grammar (repl_scanner.l, xq). */
function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function listed(options: readonly (string | undefined)[]): string {
  const given = options.filter((option) => option !== undefined);
  return given.length === 0 ? "" : ` (${given.join(", ")})`;
}

const flag = (name: string, value: boolean | undefined): string | undefined =>
  value === undefined ? undefined : `${name} ${value}`;
const word = (name: string, value: string | undefined): string | undefined =>
  value === undefined ? undefined : `${name} ${literal(value)}`;

export function createSlotCommand(name: string, options: PhysicalSlotOptions | LogicalSlotOptions): string {
  const temporary = options.temporary === true ? " TEMPORARY" : "";
  const kind = "plugin" in options ? `LOGICAL ${quotedName(options.plugin)}` : "PHYSICAL";
  const list =
    "plugin" in options
      ? listed([
          word("SNAPSHOT", options.snapshot),
          flag("TWO_PHASE", options.twoPhase),
          flag("FAILOVER", options.failover),
        ])
      : listed([flag("RESERVE_WAL", options.reserveWal)]);
  return `CREATE_REPLICATION_SLOT ${quotedName(name)}${temporary} ${kind}${list}`;
}

/** With `wait`, an active slot is waited for; else it is an error. */
export function dropSlotCommand(name: string, wait: boolean): string {
  return `DROP_REPLICATION_SLOT ${quotedName(name)}${wait ? " WAIT" : ""}`;
}

export function readSlotCommand(name: string): string {
  return `READ_REPLICATION_SLOT ${quotedName(name)}`;
}

export function timelineHistoryCommand(timeline: number): string {
  return `TIMELINE_HISTORY ${checkedNumber("timeline", timeline, 1, 0xffff_ffff)}`;
}

export function startPhysicalCommand(
  slot: string | undefined,
  position: bigint,
  timeline: number | undefined,
): string {
  const from = slot === undefined ? "" : ` SLOT ${quotedName(slot)}`;
  const on = timeline === undefined ? "" : ` TIMELINE ${checkedNumber("timeline", timeline, 1, 0xffff_ffff)}`;
  return `START_REPLICATION${from} PHYSICAL ${formatLsn(position)}${on}`;
}

export function startLogicalCommand(slot: string, position: bigint, options: PluginOptions): string {
  const list = Object.entries(options).map(([name, value]) => word(quotedName(name), String(value)));
  return `START_REPLICATION SLOT ${quotedName(slot)} LOGICAL ${formatLsn(position)}${listed(list)}`;
}

/** A stream that no server begins: it would be behind the end of any log. */
export const impossibleStreamCommand: string = startPhysicalCommand(
  undefined,
  0xffff_ffff_ffff_ffffn,
  undefined,
);

export function baseBackupCommand(options: BaseBackupOptions): string {
  const { manifest, kilobytesPerSecondMax: rate } = options;
  const list = listed([
    word("LABEL", options.label),
    word("CHECKPOINT", options.checkpoint),
    flag("WAL", options.wal),
    flag("WAIT", options.wait),
    rate === undefined
      ? undefined
      : `MAX_RATE ${checkedNumber("kilobytesPerSecondMax", rate, 32, 1_048_576)}`,
    flag("TABLESPACE_MAP", options.tablespaceMap),
    flag("VERIFY_CHECKSUMS", options.verifyChecksums),
    word("MANIFEST", typeof manifest === "boolean" ? (manifest ? "yes" : "no") : manifest),
    word("MANIFEST_CHECKSUMS", options.manifestChecksums),
    flag("PROGRESS", options.progress),
  ]);
  return `BASE_BACKUP${list}`;
}

function checkedNumber(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw badOption(`${name} is a whole number from ${min} to ${max}, not ${value}`);
}
