/**
 * The settings that follow a client from server to server.
 *
 * PostgreSQL reports some parameters by ParameterStatus whenever they change (GUC_REPORT). Those that a
 * session may set are *tracked*: a client has a vector of them, a server has the vector that it really holds,
 * and where the two differ the difference is applied before the client's next statement, in the same write.
 * In auto mode a vector also holds what else the session has set, as read from the server's catalogs, and whose
 * rights it acts with (`session_authorization`, `role`). A setting that is not tracked and not in a vector has the
 * value that a new session has. Only values that a server has reported or shown enter a vector, so equal
 * settings are equal strings.
 */
import { assert } from "../base/assert.ts";
import { protocolViolation } from "../base/errors.ts";
import { LruMap } from "../base/lru.ts";
import { reportedParametersMax } from "../wire/constants.ts";
import { encodeQuery } from "../wire/encode-frontend.ts";
import type { SessionDefaults } from "./defaults.ts";

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

/** Settings that say the same, in the order in which they are applied: the role is one that the user may take. */
const identitySettings = ["session_authorization", "role"] as const;

/** The reported spelling of a tracked parameter, or undefined if `name` is not tracked. */
export function trackedName(name: string): string | undefined {
  return trackedNames.get(name.toLowerCase());
}

/** As {@link trackedName}, for a startup parameter. */
export function trackedStartupName(name: string): string | undefined {
  const tracked = trackedName(name);
  return tracked === undefined || notAtStartup.has(tracked) ? undefined : tracked;
}

/** Whether a server that has `reported` these tells when this one changes, so that it follows a client. */
export function isFollowed(name: string, reported: ReadonlyMap<string, string>): boolean {
  return reported.has(name) && trackedNames.has(name.toLowerCase());
}

/**
 * The value of a parameter that nobody has declared (`a.b`), and that exists without one: it is shown as an empty text, and is what a
 * library that declares the parameter will give to it. An empty text could be one that the library does not take.
 */
export const valueless = "\0";

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
  /** In auto mode: what the client's session began with, where nothing is set. */
  defaults: SessionDefaults | undefined;
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
    copy.defaults = other.defaults;
    return copy;
  }

  /** The values that a vector had when this was its `version`. */
  static ofVersion(version: object): ParameterVector {
    const vector = new ParameterVector();
    assert(version instanceof Values, "a version is one of a vector");
    vector.#values = version;
    return vector;
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

  /** All values are those of `other`. */
  become(other: ParameterVector): void {
    this.#values = other.#values;
  }

  /** The same object as long as nothing changes: what was found out about the values still holds. */
  get version(): object {
    return this.#values;
  }

  /** What is in it beyond the tracked parameters that are `reported` is this from now on. */
  replaceUntracked(settings: ReadonlyMap<string, string>, reported: ReadonlyMap<string, string>): void {
    if (settings.size === 0 && !this.#holdsOthers(reported)) return;
    const values = new Map<string, string>();
    for (const [name, value] of this.#values.map) if (isFollowed(name, reported)) values.set(name, value);
    for (const [name, value] of settings) values.set(name, value);
    this.#values = new Values(values);
  }

  #holdsOthers(reported: ReadonlyMap<string, string>): boolean {
    for (const name of this.#values.map.keys()) if (!isFollowed(name, reported)) return true;
    return false;
  }

  /** Whether it says that the session acts as somebody else than who logged in. */
  get hasIdentity(): boolean {
    return identitySettings.some((name) => this.#values.map.has(name));
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
    this.takeIdentity();
  }

  /** On whose behalf the session acts now is on whose behalf it is to act. */
  takeIdentity(): void {
    for (const name of identityNames) {
      const value = this.#all.get(name);
      if (value !== undefined) this.#identity.set(name, value);
    }
    this.#judgeIdentity();
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

  /** The user whose session it is now, if that is not who logged in. */
  get otherUser(): string | undefined {
    const now = this.#all.get("session_authorization");
    return now === this.#identity.get("session_authorization") ? undefined : now;
  }

  /** What it is now, and that it can be undone, is known. */
  get identityKnown(): boolean {
    return this.#identityUnchanged || this.tracked.hasIdentity;
  }

  entries(): IterableIterator<[string, string]> {
    return this.#all.entries();
  }
}

/**
 * The Query messages that turn `from` into `to`, and how many they are. `set_config` rather than SET:
 * it takes the reported text as it is, also that of search_path, which is a list of quoted names.
 * client_encoding goes first and alone, since it decides how the rest is read. Somebody else's rights are given up
 * before, and taken on behind all others: the settings were made with whatever rights they need.
 */
export function settingsQueries(from: ParameterVector, to: ParameterVector): Buffer[] {
  const encoding = to.get("client_encoding");
  const encodes = encoding !== undefined && from.get("client_encoding") !== encoding;
  const calls: string[] = [];
  if (from.hasIdentity) {
    if (from.get("role") !== undefined) calls.push(setConfig("role", "none"));
    if (from.get("session_authorization") !== undefined) calls.push(setConfig("session_authorization", null));
  }
  for (const [name] of from.entries()) {
    if (to.get(name) === undefined && !isIdentity(name)) calls.push(setConfig(name, null));
  }
  const reported: string[] = [];
  for (const [name, value] of to.entries()) {
    if (from.get(name) === value || isIdentity(name) || name === "client_encoding") continue;
    const given = value === valueless ? null : value;
    (trackedName(name) === undefined ? calls : reported).push(setConfig(name, given));
  }
  const identity: string[] = [];
  for (const name of identitySettings) {
    const value = to.get(name);
    if (value !== undefined) identity.push(setConfig(name, value));
  }
  const encode = (name: string): Buffer => encodeQuery(`SELECT ${setConfig("client_encoding", name)}`);
  const apply = (all: readonly string[]): Buffer[] =>
    all.length === 0 ? [] : [encodeQuery(`SELECT ${all.join(", ")}`)];
  if (encoding === undefined || encoding === "UTF8" || isAscii([...calls, ...identity].join(""))) {
    return [...(encodes ? [encode(encoding)] : []), ...apply([...calls, ...reported, ...identity])];
  }
  // What was read from the catalogs is kept as UTF-8; what was reported as it came, in the client's encoding.
  (isUtf8(identity.join("")) ? calls : reported).push(...identity);
  const unread = from.get("client_encoding") === "UTF8" ? [] : [encode("UTF8")];
  return [...unread, ...apply(calls), encode(encoding), ...apply(reported)];
}

/** Whether it has no bytes that are not (wire/text.ts). */
export function isUtf8(text: string): boolean {
  return !/[\udc80-\udcff]/u.test(text);
}

export function isAscii(text: string): boolean {
  return Buffer.byteLength(text) === text.length;
}

function isIdentity(name: string): boolean {
  return name === "role" || name === "session_authorization";
}

/** A call that sets a parameter for the session, or for the transaction; null: to what a new session has. */
export function setConfig(name: string, value: string | null, local = false): string {
  return `pg_catalog.set_config(${quoteLiteral(name)}, ${value === null ? "NULL" : quoteLiteral(value)}, ${local})`;
}

/** A string literal that means the same whatever standard_conforming_strings says. */
export function quoteLiteral(value: string): string {
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

/** Start-up settings that are remembered. */
const welcomesMax = 1000;

/** What the clients of a pool were welcomed with. */
export class Welcomes {
  /** What they were told, by the startup settings they asked for. */
  readonly told: LruMap<string, Welcome> = new LruMap(welcomesMax);
  /** Start-up settings as a server reports them, by `name NUL value` as a client sends them. */
  readonly canonical: LruMap<string, string> = new LruMap(welcomesMax);
}
