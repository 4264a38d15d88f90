/**
 * The settings that follow a client from server to server.
 *
 * PostgreSQL reports some parameters by ParameterStatus whenever they change (GUC_REPORT). Those that a
 * session may set are *tracked*: a client has a vector of them, a server has the vector that it really holds,
 * and where the two differ the difference is applied before the client's next statement, in the same write.
 * Only values that a server has reported enter a vector, so equal settings are equal strings.
 */
import { protocolViolation } from "../base/errors.ts";
import { LruMap } from "../base/lru.ts";
import { reportedParametersMax } from "../wire/constants.ts";
import { encodeQuery } from "../wire/encode-frontend.ts";

/**
 * Tracked parameters in the spelling of ParameterStatus, by lower-cased name (guc_tables.c, GUC_REPORT and
 * settable by a session). search_path is reported since PostgreSQL 18.
 */
const trackedNames: ReadonlyMap<string, string> = new Map(
  [
    "client_encoding",
    "DateStyle",
    "TimeZone",
    "IntervalStyle",
    "standard_conforming_strings",
    "application_name",
    "default_transaction_read_only",
    "search_path",
  ].map((name) => [name.toLowerCase(), name]),
);

/**
 * Tracked, but as startup parameters part of what makes a pool: servers before PostgreSQL 18 (search_path) or
 * 14 do not report them, so they could not be read back.
 */
const notAtStartup: ReadonlySet<string> = new Set(["search_path", "default_transaction_read_only"]);

/** Reported parameters that say on whose behalf a session acts: a server on which they changed is not shared. */
const identityNames: ReadonlySet<string> = new Set(["session_authorization", "is_superuser"]);

/** The reported spelling of a tracked parameter, or undefined if `name` is not tracked. */
export function trackedName(name: string): string | undefined {
  return trackedNames.get(name.toLowerCase());
}

/** As {@link trackedName}, for a startup parameter. */
export function trackedStartupName(name: string): string | undefined {
  const tracked = trackedName(name);
  return tracked === undefined || notAtStartup.has(tracked) ? undefined : tracked;
}

/** Different vectors that one pool remembers. */
const vectorsMax = 256;

/** Names and values, never changed once made, and one text that is equal if they are. */
class Values {
  readonly map: ReadonlyMap<string, string>;
  #key: string | undefined;

  constructor(map: ReadonlyMap<string, string>) {
    this.map = map;
  }

  get key(): string {
    this.#key ??= [...this.map]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => `${name}\0${value}`)
      .join("\0");
    return this.#key;
  }
}

const nothing = new Values(new Map());

/** Vectors that are equal, kept once: ten thousand clients rarely have more than a few different ones. */
export class VectorCache {
  readonly #values = new LruMap<string, Values>(vectorsMax);

  /** @internal */
  shared(values: Values): Values {
    const known = this.#values.get(values.key);
    if (known !== undefined) return known;
    this.#values.set(values.key, values);
    return values;
  }
}

/** The tracked parameters a client or a server has, comparable in one step. Copies share what they hold. */
export class ParameterVector {
  #values = nothing;

  /** The tracked ones of what a server has reported. */
  static of(reported: ReadonlyMap<string, string>): ParameterVector {
    const values = new Map<string, string>();
    for (const [name, value] of reported) {
      const tracked = trackedName(name);
      if (tracked !== undefined) values.set(tracked, value);
    }
    const vector = new ParameterVector();
    vector.#values = new Values(values);
    return vector;
  }

  static copyOf(other: ParameterVector): ParameterVector {
    const copy = new ParameterVector();
    copy.#values = other.#values;
    return copy;
  }

  get(name: string): string | undefined {
    return this.#values.map.get(name);
  }

  set(name: string, value: string): void {
    if (this.#values.map.get(name) === value) return;
    this.#values = new Values(new Map(this.#values.map).set(name, value));
  }

  entries(): IterableIterator<[string, string]> {
    return this.#values.map.entries();
  }

  equals(other: ParameterVector): boolean {
    return this.#values === other.#values || this.#values.key === other.#values.key;
  }

  /** From now on holds the same values as every equal vector that was shared by this cache. */
  shareBy(cache: VectorCache): void {
    this.#values = cache.shared(this.#values);
  }
}

/** Everything one server has reported: the tracked vector and the rest. */
export class ServerParameters {
  readonly tracked: ParameterVector = new ParameterVector();
  readonly #all = new Map<string, string>();
  readonly #identity = new Map<string, string>();
  #identityUnchanged = true;

  constructor(reported: ReadonlyMap<string, string>) {
    for (const [name, value] of reported) this.set(name, value);
    for (const name of identityNames) {
      const value = reported.get(name);
      if (value !== undefined) this.#identity.set(name, value);
    }
  }

  /** The last value that the server has reported. */
  reported(name: string): string | undefined {
    return this.#all.get(name);
  }

  /** Throws PeerError 08P01 if the server reports more different parameters than any server has. */
  set(name: string, value: string): void {
    this.#all.set(name, value);
    if (this.#all.size > reportedParametersMax) {
      throw protocolViolation("server reports too many parameters", { source: "server" });
    }
    const tracked = trackedName(name);
    if (tracked !== undefined) this.tracked.set(tracked, value);
    else if (identityNames.has(name)) this.#judgeIdentity();
  }

  #judgeIdentity(): void {
    this.#identityUnchanged = true;
    for (const [name, value] of this.#identity) {
      if (this.#all.get(name) !== value) this.#identityUnchanged = false;
    }
  }

  /** False while SET SESSION AUTHORIZATION or SET ROLE makes this session another user's. */
  get identityUnchanged(): boolean {
    return this.#identityUnchanged;
  }

  entries(): IterableIterator<[string, string]> {
    return this.#all.entries();
  }
}

/**
 * The Query messages that turn `from` into `to`, and how many they are. `set_config` rather than SET:
 * it takes the reported text as it is, also that of search_path, which is a list of quoted names.
 * client_encoding goes first and alone, since it decides how the rest is read.
 */
export function settingsQueries(from: ParameterVector, to: ParameterVector): Buffer[] {
  const calls: string[] = [];
  const queries: Buffer[] = [];
  for (const [name, value] of to.entries()) {
    if (from.get(name) === value) continue;
    const call = `pg_catalog.set_config('${name}', ${quoteLiteral(value)}, false)`;
    if (name === "client_encoding") queries.push(encodeQuery(`SELECT ${call}`));
    else calls.push(call);
  }
  if (calls.length > 0) queries.push(encodeQuery(`SELECT ${calls.join(", ")}`));
  return queries;
}

/** A string literal that means the same whatever standard_conforming_strings says. */
function quoteLiteral(value: string): string {
  const doubled = value.replaceAll("'", "''");
  return doubled.includes("\\") ? `E'${doubled.replaceAll("\\", "\\\\")}'` : `'${doubled}'`;
}

/** What a new client is told about its session, and the settings it starts with. */
export interface Welcome {
  /** What the newest server reported when this was composed; another one makes this out of date. */
  readonly base: ReadonlyMap<string, string>;
  readonly vector: ParameterVector;
  /** ParameterStatus messages for everything that is reported. */
  readonly messages: Buffer;
}
