/**
 * The ledger: one query that reads what a session really holds, and what its rows say.
 *
 * It runs after the transaction whose statements may have changed something, so that what was rolled back is not
 * there. Every name in it is qualified, operators too: a client's search_path must not change what it means.
 * Sources: pg_settings shows no parameter that is GUC_NO_SHOW_ALL (`role`, and those of extensions that nobody
 * has declared, `a.b`), so these are asked for by name (guc_tables.c, guc.c add_placeholder_variable).
 */
import { fingerprintKind, fingerprintRow } from "../../pool/defaults.ts";
import { isAscii, isUtf8, valueless } from "../../pool/parameters.ts";
import { rowsOf } from "../../pool/unseen.ts";
import { encodeQuery } from "../../wire/encode-frontend.ts";
import { customSettingsPart, hidingFunctionsPart, isUndeclared } from "./custom-names.ts";
import { Reservation, Touch } from "./reservations.ts";

/** Bytes of rows that are taken: more is no session's state, and is not understood. */
const rowsBytesMax = 1024 * 1024;

const equals = "OPERATOR(pg_catalog.=)";
/** These end with their transaction, although they are listed as the session's. */
const ofTransactions =
  "'{transaction_isolation,transaction_read_only,transaction_deferrable}'::pg_catalog.text[]";
/** Read once, however many parts refer to it: it is what costs most. */
const declared = "WITH declared AS (SELECT name, setting, context, source FROM pg_catalog.pg_settings) ";
const settingsPart = `SELECT 's', name, setting, context FROM declared WHERE source ${equals} 'session' AND name OPERATOR(pg_catalog.<>) ALL (${ofTransactions}) UNION ALL SELECT 's', 'role', pg_catalog.current_setting('role'), 'user'`;
const preparedPart = `SELECT 'p', name, CASE WHEN from_sql THEN statement ELSE '' END, from_sql::pg_catalog.text FROM pg_catalog.pg_prepared_statements WHERE NOT pg_catalog.starts_with(name, 'pgsluice_') UNION ALL SELECT 'c', '', pg_catalog.count(*)::pg_catalog.text, '' FROM pg_catalog.pg_prepared_statements WHERE pg_catalog.starts_with(name, 'pgsluice_')`;
/** Everything in a schema depends on it. */
const temporaryPart = `(SELECT 't', '', '', '' FROM pg_catalog.pg_depend WHERE refclassid ${equals} 2615 AND refobjid ${equals} pg_catalog.pg_my_temp_schema() LIMIT 1)`;
const locksPart = `(SELECT 'l', '', '', '' FROM pg_catalog.pg_locks WHERE locktype ${equals} 'advisory' AND pid ${equals} pg_catalog.pg_backend_pid() LIMIT 1)`;
const cursorsPart = "(SELECT 'h', '', '', '' FROM pg_catalog.pg_cursors WHERE is_holdable LIMIT 1)";
const originPart = "SELECT 'o', '', '', '' WHERE pg_catalog.pg_replication_origin_session_is_setup()";
const slotsPart = `(SELECT 'r', '', '', '' FROM pg_catalog.pg_get_replication_slots() AS slot WHERE slot.temporary AND slot.active_pid ${equals} pg_catalog.pg_backend_pid() LIMIT 1)`;
const channelsPart = "SELECT 'n', channel, '', '' FROM pg_catalog.pg_listening_channels() AS channel";

/** The text of what SQL prepared; undefined for what the protocol prepared. */
export type FoundStatements = ReadonlyMap<string, string | undefined>;

/** What the ledger found. */
export interface Findings {
  /** Parts of the state that were looked at. */
  readonly touches: number;
  /** Reservations found in them. */
  readonly reservations: number;
  /** Settings of the session by name; undefined if they were not looked at. */
  readonly settings: ReadonlyMap<string, string> | undefined;
  /** Among the settings are some that only a superuser may set. */
  readonly privileged: boolean;
  /** Functions that set parameters whose names nobody knows, if these were asked for. */
  readonly hidingFunctions: readonly string[];
  /** Prepared statements other than shared ones, by their names (latin1, byte for byte); undefined if they were not looked at. */
  readonly prepared: FoundStatements | undefined;
  /** How many shared statements there are; undefined if they were not looked at. */
  readonly sharedCount: number | undefined;
  /** What the session listens to; undefined: not looked at. */
  readonly channels: readonly string[] | undefined;
  /** What tells whether new sessions begin with other settings than before (pool/defaults.ts); undefined: not looked at. */
  readonly fingerprint: string | null | undefined;
}

/** Query messages of one database, made once for each set of parts and names. */
export class LedgerQueries {
  readonly #queries = new Map<number, Buffer>();
  /** Parameters of extensions that nobody has declared, as far as they have been heard of. */
  readonly #names = new Set<string>();

  /** More are not asked for: a database that has seen them all is someone's experiment. */
  static readonly namesMax = 200;

  /** A name that may be set, in any spelling. Returns whether it will be asked for. */
  addName(name: string): boolean {
    const folded = name.toLowerCase();
    if (this.#names.has(folded)) return true;
    if (!isCustomName(folded) || this.#names.size >= LedgerQueries.namesMax) return false;
    this.#names.add(folded);
    this.#queries.clear();
    return true;
  }

  /** `user`: who logged in. `namesKnown`: the names in functions have been read; else they are looked for in the same query. */
  get(touches: number, user: string, namesKnown: boolean): Buffer {
    if (!namesKnown) return encodeQuery(this.#compose(touches, user, false));
    let query = this.#queries.get(touches);
    if (query === undefined) {
      query = encodeQuery(this.#compose(touches, user, true));
      this.#queries.set(touches, query);
    }
    return query;
  }

  #compose(touches: number, user: string, namesKnown: boolean): string {
    const parts: string[] = [];
    if ((touches & Touch.settings) !== 0) {
      parts.push(settingsPart);
      if (!namesKnown) parts.push(customSettingsPart, hidingFunctionsPart);
      for (const name of this.#names) parts.push(namedPart(name));
    }
    if ((touches & Touch.prepared) !== 0) parts.push(preparedPart);
    if ((touches & Touch.temporary) !== 0) parts.push(temporaryPart);
    if ((touches & Touch.locks) !== 0) parts.push(locksPart);
    if ((touches & Touch.cursors) !== 0) parts.push(cursorsPart);
    if ((touches & Touch.channels) !== 0) parts.push(channelsPart);
    if ((touches & Touch.origin) !== 0) parts.push(originPart);
    if ((touches & Touch.slots) !== 0) parts.push(slotsPart);
    if ((touches & Touch.defaults) !== 0) parts.push(fingerprintRow(user));
    return `${(touches & Touch.settings) === 0 ? "" : declared}${parts.join(" UNION ALL ")}`;
  }
}

/**
 * Reads one setting, if nobody has declared it by now: else it is among the others, and who may set it is known. In whatever encoding the
 * client's texts are: its name is written in ASCII alone, and is answered so.
 */
function namedPart(name: string): string {
  if (!isUtf8(name)) {
    const plain = `'${name}'`;
    return `SELECT 's', ${plain}, pg_catalog.current_setting(${plain}, true), 'user' WHERE ${isUndeclared(plain)}`;
  }
  const escaped = name.replace(
    /[^ -~]/gu,
    (character) => `\\U${character.codePointAt(0)?.toString(16).padStart(8, "0")}`,
  );
  const literal = isAscii(name) ? `'${name}'` : `E'${escaped}'`;
  return `SELECT 'u', '${encodeURIComponent(name)}', pg_catalog.current_setting(${literal}, true), '' WHERE ${isUndeclared(literal)}`;
}

/** A name as PostgreSQL takes it for a parameter that nobody has declared (guc.c valid_custom_variable_name). */
function isCustomName(name: string): boolean {
  return (
    /^[a-z_\u0080-\uffff][\w$\u0080-\uffff]*(?:\.[a-z_\u0080-\uffff][\w$\u0080-\uffff]*)+$/i.test(name) &&
    name.length < 128
  );
}

/** Takes the rows of one ledger query as they come. */
export class LedgerReader {
  readonly touches: number;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(touches: number) {
    this.touches = touches;
  }

  take(bytes: Buffer): void {
    this.#bytes += bytes.length;
    if (this.#bytes <= rowsBytesMax) this.#chunks.push(Buffer.from(bytes));
  }

  /** What the rows say; undefined if there were too many of them. */
  findings(): Findings | undefined {
    if (this.#bytes > rowsBytesMax) return undefined;
    const settings = new Map<string, string>();
    const prepared = new Map<string, string | undefined>();
    const channels: string[] = [];
    const hidingFunctions: string[] = [];
    let reservations = 0;
    let privileged = false;
    let fingerprint: string | null | undefined;
    let sharedCount: number | undefined;
    for (const [kind, bytes, ...others] of rowsOf(Buffer.concat(this.#chunks), "latin1")) {
      const [name, value, detail] = [bytes, ...others].map(inUtf8);
      switch (kind) {
        case "u":
          if (value !== null) settings.set(decodeURIComponent(name ?? ""), value || valueless);
          break;
        case "s":
          if (value === null || (name === "role" && value === "none")) break;
          settings.set(name ?? "", value ?? "");
          if (detail !== "user") privileged = true;
          break;
        case "p":
          // It may end within a character.
          prepared.set(bytes ?? "", detail === "true" ? (value ?? "") : undefined);
          break;
        case "c":
          sharedCount = Number(value);
          break;
        case "t":
          reservations |= Reservation.temp_object;
          break;
        case "l":
          reservations |= Reservation.advisory_lock;
          break;
        case "h":
          reservations |= Reservation.with_hold_cursor;
          break;
        case "o":
          reservations |= Reservation.replication_origin;
          break;
        case "r":
          reservations |= Reservation.replication_slot;
          break;
        case "f":
          hidingFunctions.push(name ?? "");
          break;
        case "n":
          channels.push(name ?? "");
          break;
        case fingerprintKind:
          fingerprint = value;
          break;
        default:
      }
    }
    const { touches } = this;
    return {
      touches,
      reservations,
      settings: (touches & Touch.settings) === 0 ? undefined : settings,
      privileged,
      hidingFunctions,
      prepared: (touches & Touch.prepared) === 0 ? undefined : prepared,
      sharedCount,
      channels: (touches & Touch.channels) === 0 ? undefined : channels,
      fingerprint,
    };
  }
}

function inUtf8(bytes: string | null | undefined): string | null {
  return bytes === null || bytes === undefined ? null : Buffer.from(bytes, "latin1").toString();
}
