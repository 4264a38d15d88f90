/**
 * What sessions begin with: the defaults that ALTER ROLE … SET and ALTER DATABASE … SET give to them.
 *
 * PostgreSQL reads them when a session begins (postinit.c process_settings), and what is altered later is for sessions
 * that begin later. A client of auto mode has the defaults of the time at which it logged in, a server those of the
 * time at which it was opened, and the difference is set as any other setting. So each new server is asked what it has begun
 * with. Whether that is still what the next one will begin with is told by a *fingerprint* of the catalog, which
 * any server tells in the time of an index scan.
 */
import type { Clock } from "../base/clock.ts";
import { encodeQuery } from "../wire/encode-frontend.ts";
import { isFollowed, quoteLiteral } from "./parameters.ts";
import type { Server } from "./server.ts";
import { rowsOf } from "./unseen.ts";

/** After that time without a look into the catalog a login looks, if a server has nothing else to do. */
const unseenMsMax = 120_000;

const equals = "OPERATOR(pg_catalog.=)";

/** Rows of pg_db_role_setting that are of concern to sessions of `user`. */
function settingsOf(user: string): string {
  const database = `(SELECT oid FROM pg_catalog.pg_database WHERE datname ${equals} pg_catalog.current_database())`;
  const role = `(SELECT oid FROM pg_catalog.pg_roles WHERE rolname ${equals} ${quoteLiteral(user)})`;
  return `pg_catalog.pg_db_role_setting WHERE setdatabase ${equals} ANY (ARRAY[0, ${database}]) AND setrole ${equals} ANY (ARRAY[0, ${role}])`;
}

/** An expression: null if there are no defaults. It is the same in every encoding. */
function fingerprintOf(user: string): string {
  return `(SELECT pg_catalog.hashtextextended(pg_catalog.string_agg(pg_catalog.concat_ws(' ', setdatabase, setrole, setconfig), ' ' ORDER BY setdatabase, setrole), 0)::pg_catalog.text FROM ${settingsOf(user)})`;
}

/** First column of the row with the fingerprint; the third one is it. */
export const fingerprintKind = "fingerprint";

/** A SELECT of that row. */
export function fingerprintRow(user: string): string {
  return `SELECT '${fingerprintKind}', '', ${fingerprintOf(user)}, ''`;
}

/** Who logged in to a server: whose defaults it has. */
export function userOf(server: Server): string {
  return server.connection.parameters.get("session_authorization") ?? "";
}

/**
 * What a new session of `user` has begun with: values that it may set itself, among them those from defaults; undeclared
 * parameters (`a.b`), which pg_settings does not show; the fingerprint. reset_val: a SET of `connect_query` is no default.
 */
export function defaultsQuery(user: string): Buffer {
  const given = `source ${equals} ANY ('{global,database,user,"database user"}'::pg_catalog.text[])`;
  const declared = `SELECT CASE WHEN ${given} THEN 'default' ELSE 'value' END, name, reset_val, context FROM pg_catalog.pg_settings WHERE context ${equals} ANY ('{user,superuser}'::pg_catalog.text[])`;
  const names =
    `SELECT DISTINCT pg_catalog.split_part(setting, '=', 1) AS name FROM ${settingsOf(user)}`.replace(
      " WHERE",
      ", LATERAL pg_catalog.unnest(setconfig) AS setting WHERE",
    );
  const undeclared = `SELECT 'undeclared', name, pg_catalog.current_setting(name, true), 'user' FROM (${names}) AS names WHERE pg_catalog.strpos(name, '.') OPERATOR(pg_catalog.>) 0`;
  return encodeQuery(`${declared} UNION ALL ${undeclared} UNION ALL ${fingerprintRow(user)}`);
}

interface Value {
  readonly value: string;
  /** Only a superuser may set it. */
  readonly privileged: boolean;
}

/** What one server, or several, began with. Never changed. */
export class SessionDefaults {
  readonly fingerprint: string | null = null;
  /** The answer to {@link defaultsQuery}. */
  readonly #answer: Buffer;
  readonly #names: ReadonlySet<string>;
  readonly #undeclared: ReadonlyMap<string, string>;
  #values: ReadonlyMap<string, Value> | undefined;
  readonly #differences = new WeakMap<SessionDefaults, ReadonlyMap<string, string>>();

  constructor(answer: Buffer) {
    this.#answer = answer;
    const names = new Set<string>();
    const undeclared = new Map<string, string>();
    for (const [kind, name, value] of rowsOf(answer)) {
      if (kind === "default") names.add(name as string);
      else if (kind === "undeclared") undeclared.set(name as string, value ?? "");
      else if (kind === fingerprintKind) this.fingerprint = value ?? null;
    }
    this.#names = names;
    this.#undeclared = undeclared;
  }

  answers(answer: Buffer): boolean {
    return this.#answer.equals(answer);
  }

  /** Parameters that nobody has declared, with their values. */
  get undeclared(): ReadonlyMap<string, string> {
    return this.#undeclared;
  }

  /** What a session begins with, in the words of pg_settings; undefined if that is not known. */
  value(name: string): string | undefined {
    return this.#all().get(name)?.value ?? this.#undeclared.get(name);
  }

  /** What has to be set on a server that began with `other`, so that it is as if it had begun with these, apart from what it has `reported`. */
  over(other: SessionDefaults, reported: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
    let difference = this.#differences.get(other);
    if (difference === undefined) {
      const superuser = reported.get("is_superuser") === "on";
      difference = new Map([...this.#over(other, superuser)].filter(([name]) => !isFollowed(name, reported)));
      this.#differences.set(other, difference);
    }
    return difference;
  }

  #over(other: SessionDefaults, superuser: boolean): Map<string, string> {
    const difference = new Map<string, string>();
    for (const name of new Set([...this.#names, ...other.#names])) {
      const own = this.#all().get(name);
      if (own === undefined || own.value === other.value(name)) continue;
      if (superuser || !own.privileged) difference.set(name, own.value);
    }
    for (const name of new Set([...this.#undeclared.keys(), ...other.#undeclared.keys()])) {
      // A name cannot be taken away again.
      const own = this.value(name) ?? "";
      if (own !== other.value(name)) difference.set(name, own);
    }
    return difference;
  }

  #all(): ReadonlyMap<string, Value> {
    if (this.#values !== undefined) return this.#values;
    const values = new Map<string, Value>();
    for (const [kind, name, value, context] of rowsOf(this.#answer)) {
      if (kind !== "default" && kind !== "value") continue;
      values.set(name as string, { value: value ?? "", privileged: context !== "user" });
    }
    this.#values = values;
    return values;
  }
}

/** Whose servers they are. */
interface Owner {
  /** What clients that need no server are told. */
  welcome: ReadonlyMap<string, string> | undefined;
  retireServers(reason: string, except?: Server): void;
}

const altered = "defaults of new sessions were changed";

/** What new sessions of one pool begin with, as far as that is known. */
export class PoolDefaults {
  readonly #owner: Owner;
  readonly #clock: Clock;
  #current: SessionDefaults | undefined;
  #seenAtMs = 0;
  /** Servers whose answers may say that they were altered, and who waits for these. */
  readonly #doubts = new Map<Server, (() => void)[]>();

  constructor(owner: Owner, clock: Clock) {
    this.#owner = owner;
    this.#clock = clock;
  }

  /** Of the newest server; undefined: none has told them since they were altered. */
  get current(): SessionDefaults | undefined {
    return this.#current;
  }

  /** They were altered: who logs in waits until a new server has told them. */
  renew(): void {
    if (this.#current !== undefined) this.#owner.welcome = undefined;
    this.#current = undefined;
    this.#owner.retireServers(altered);
  }

  /** What a new server has answered. */
  note(server: Server, answer: Buffer): void {
    const known = this.#current;
    server.defaults = known?.answers(answer) === true ? known : new SessionDefaults(answer);
  }

  /** A new server is ready: what it began with, if it has told that, is what the next one will begin with. */
  begin(server: Server): void {
    const before = this.#current;
    this.#current = server.defaults;
    this.#seenAtMs = this.#clock.now();
    if (before === undefined || this.#current === undefined) return;
    if (before.fingerprint !== this.#current.fingerprint) this.#owner.retireServers(altered, server);
  }

  /** A fingerprint was read. Returns false if they were altered. */
  see(fingerprint: string | null): boolean {
    if (this.#current !== undefined && this.#current.fingerprint !== fingerprint) return false;
    this.#seenAtMs = this.#clock.now();
    return true;
  }

  /** Nobody has looked for long whether they are as they were. */
  get stale(): boolean {
    return this.#clock.now() - this.#seenAtMs >= unseenMsMax;
  }

  /** They may just have been altered: this server is asked. */
  doubt(server: Server): void {
    this.#doubts.set(server, []);
  }

  /** It has answered, or is lost. */
  decide(server: Server): void {
    const waiting = this.#doubts.get(server);
    this.#doubts.delete(server);
    for (const then of waiting ?? []) then();
  }

  /** Calls `then` when all is decided that is in doubt now. False: nothing is. */
  awaitDecisions(then: () => void): boolean {
    let due = this.#doubts.size;
    for (const waiting of this.#doubts.values()) {
      waiting.push(() => {
        due--;
        if (due === 0) then();
      });
    }
    return due > 0;
  }
}
