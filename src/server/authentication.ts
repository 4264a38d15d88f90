/**
 * Who may log in with what: the users of the configuration, and those that PostgreSQL is asked for.
 *
 * A user whom neither `auth_file` nor [users.NAME] names is looked up by `auth_query`, as `auth_user`, if there is
 * one. A database that does not exist has a stand-in to be asked in its place, so that an unknown database, an unknown
 * user and a wrong password take the same steps, and the same time, up to the same refusal. A look-up that
 * fails finds nobody: the log says why, the client is not told whether there is such a user.
 */
import { randomBytes } from "node:crypto";
import type { HostBasedRules } from "../auth/hba/hba.ts";
import type { LdapOptions } from "../auth/ldap.ts";
import type { AuthMethod } from "../auth/login.ts";
import { parseSecret, type Secret } from "../auth/secret.ts";
import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { OperationError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { ConnectOptions, ScramKeys } from "../client/conninfo/options.ts";
import { type Config, type DatabaseConfig, databaseOf } from "../config/schema.ts";
import type { ClientAuthentication, KnownUser, LoginRequest } from "../session/context.ts";
import type { Credentials } from "./credentials.ts";
import { HostNames } from "./host-names.ts";
import type { LdapDirectory } from "./ldap.ts";
import { LookupConnections, type TextRows } from "./lookup-connections.ts";
import { SharedLookups } from "./shared-lookups.ts";
import { UsualKind } from "./usual-kind.ts";

/** The pooler, as far as look-ups go. */
export interface AuthenticationOwner {
  readonly config: Config;
  readonly clock: Clock;
  readonly logger: Logger;
  isConsole(database: string): boolean;
  isDisabled(database: string): boolean;
  /** Undefined: there is no such database. */
  connectOptionsFor(database: string, user: string): ConnectOptions | undefined;
}

/** What the configuration names, read. */
export interface AuthenticationFiles {
  readonly rules: HostBasedRules | undefined;
  readonly ldap: LdapOptions | undefined;
  readonly ldapAuthorities: string | undefined;
}

/** Where a user is looked up. */
interface Place {
  readonly database: string;
  readonly user: string;
  readonly query: string;
}

/** A row of auth_query; undefined: there was none. */
type Row = { readonly user: string; readonly secret: Secret | undefined } | undefined;

/** Direct and indirect memberships; a superuser is in no role for that (acl.c is_member_of_role_nosuper). */
const rolesQuery = `WITH RECURSIVE member AS (
  SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1
  UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN member ON m.member = member.oid)
SELECT r.rolname FROM member JOIN pg_catalog.pg_roles r USING (oid)`;
/** Beyond the time that connecting may take, an answer of PostgreSQL's that takes so long will not come. */
const answerMs = 15_000;

export class Authentication implements ClientAuthentication {
  readonly mockKey: Buffer;
  #files: AuthenticationFiles;
  /** Loaded when one is first asked. */
  #directory: Promise<LdapDirectory> | undefined;
  readonly #owner: AuthenticationOwner;
  readonly #credentials: Credentials;
  readonly #connections: LookupConnections;
  readonly #rows: SharedLookups<Row>;
  /** By the same keys as rows, and kept as long. */
  readonly #roles: SharedLookups<ReadonlySet<string>>;
  readonly #hostNames: HostNames;
  readonly #usual = new UsualKind();

  constructor(
    owner: AuthenticationOwner,
    credentials: Credentials,
    files: AuthenticationFiles,
    mockKey: Buffer = randomBytes(32),
  ) {
    this.#owner = owner;
    this.mockKey = mockKey;
    this.#credentials = credentials;
    this.#files = files;
    this.#connections = new LookupConnections(owner.clock);
    const limits = {
      entriesMax: () => owner.config.pgsluice.auth_query_cache_size,
      ageMaxMs: () => owner.config.pgsluice.auth_query_cache_age * 1000,
      now: () => owner.clock.now(),
    };
    this.#rows = new SharedLookups(limits);
    this.#roles = new SharedLookups(limits);
    this.#hostNames = new HostNames(owner.clock, owner.logger);
  }

  /** The configuration is another one. */
  reconfigure(files: AuthenticationFiles): void {
    this.#files = files;
    this.#rows.clear();
    this.#roles.clear();
    this.#hostNames.forget();
    this.#connections.retire();
  }

  get rules(): HostBasedRules | undefined {
    return this.#files.rules;
  }

  tick(): void {
    const idleMs = this.#owner.config.pgsluice.server_idle_timeout * 1000;
    if (idleMs > 0) this.#connections.closeIdle(idleMs);
  }

  close(): void {
    this.#connections.retire();
  }

  // ---- for logins ----

  scramIterations(): number {
    return this.#owner.config.pgsluice.scram_iterations;
  }

  method(): AuthMethod | "any" | HostBasedRules {
    const { auth_type: type } = this.#owner.config.pgsluice;
    if (type !== "hba") return type;
    const { rules } = this.#files;
    assert(rules !== undefined, "the rules come with the configuration that asks for them");
    return rules;
  }

  async ask(directory: LdapOptions | undefined, user: string, password: string): Promise<boolean> {
    const { ldap: usual, ldapAuthorities } = this.#files;
    const options = directory ?? usual;
    // Without: a reload has changed the method while this client was typing.
    if (options === undefined) return false;
    this.#directory ??= import("./ldap.ts").then((ldap) => new ldap.LdapDirectory(this.#owner.logger));
    return await (await this.#directory).proves(options, ldapAuthorities, user, password);
  }

  forcedUserOf(request: LoginRequest): string {
    const database = this.#databaseOf(request.database);
    // An unknown database has none either, and is told so once the client is let in.
    if (database === undefined || database.user !== undefined) return database?.user ?? request.user;
    this.#owner.logger.error(
      { user: request.user, database: request.database },
      "auth_type=any requires forced user",
    );
    throw new OperationError("bouncer config error", {
      code: "login.config",
      sqlstate: "F0000",
      source: "internal",
    });
  }

  find(request: LoginRequest): KnownUser | Promise<KnownUser> {
    const { user } = request;
    const secret = this.#credentials.secretOf(user);
    const place = secret === undefined ? this.#placeFor(request) : undefined;
    if (place === undefined) {
      return { user, secret, missing: false, unknownKind: this.#credentials.usualKind };
    }
    const row = this.#rows.get(keyOf(place, user), () => this.#ask(place, user));
    if (!(row instanceof Promise)) return this.#known(request, row);
    return row.then(
      (found) => this.#known(request, found),
      (error: unknown) => {
        const reason = error instanceof Error ? error.message : "unknown";
        const fields = {
          user,
          database: request.database,
          authUser: place.user,
          authDatabase: place.database,
        };
        this.#owner.logger.error({ ...fields, reason }, "auth_query failed");
        return this.#nobody(user);
      },
    );
  }

  async rolesOf(request: LoginRequest): Promise<ReadonlySet<string> | undefined> {
    const { user, database } = request;
    try {
      const place = this.#placeFor(request);
      if (place === undefined) throw lookupFailure("there is no auth_user for this database");
      return await this.#roles.get(keyOf(place, user), async () => {
        const rows = await this.#run(place, rolesQuery, [user]);
        return new Set(rows.map(([role]) => role ?? ""));
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : "unknown";
      this.#owner.logger.error({ user, database, reason }, "the roles of a user could not be looked up");
      return undefined;
    }
  }

  hostNameOf(address: string): string | Promise<string> {
    return this.#hostNames.of(address);
  }

  onSuccess(
    request: LoginRequest,
    { user, secret }: KnownUser,
    shown: { readonly keys: ScramKeys | undefined; readonly password: string | undefined },
  ): void {
    const { database } = request;
    if (this.#credentials.secretOf(user) === undefined) this.#credentials.remember(database, user, secret);
    this.#credentials.learn(database, user, shown);
  }

  onFailure(request: LoginRequest): void {
    const place = this.#placeFor(request);
    if (place === undefined) return;
    this.#rows.forget(keyOf(place, request.user));
    this.#roles.forget(keyOf(place, request.user));
  }

  // ---- looking up ----

  #known(request: LoginRequest, row: Row): KnownUser {
    if (row === undefined) {
      const { user, database } = request;
      this.#owner.logger.info({ user, database }, "no such user");
      return this.#nobody(user);
    }
    if (row.secret !== undefined) this.#usual.see(row.user, row.secret.kind);
    return { user: row.user, secret: row.secret, missing: false, unknownKind: this.#usual.kind };
  }

  #nobody(user: string): KnownUser {
    return { user, secret: undefined, missing: true, unknownKind: this.#usual.kind };
  }

  async #ask(place: Place, user: string): Promise<Row> {
    const rows = await this.#run(place, place.query, [user]);
    const [row] = rows;
    if (row === undefined) return undefined;
    if (row.length !== 2) {
      throw lookupFailure(`expected 2 columns from auth_query, not ${row.length}`);
    }
    const [name, secret] = row;
    // As of PgBouncer 1.26: a query may well say so for a user that it does not know.
    if (name === null || name === undefined) return undefined;
    return { user: name, secret: secret === null || secret === undefined ? undefined : parseSecret(secret) };
  }

  async #run({ database, user }: Place, query: string, values: readonly string[]): Promise<TextRows> {
    const quoted = JSON.stringify(database);
    if (this.#owner.isConsole(database)) {
      throw lookupFailure(`cannot use the reserved ${quoted} database as an auth_dbname`);
    }
    const options = this.#owner.connectOptionsFor(database, user);
    if (options === undefined) throw lookupFailure(`authentication database ${quoted} is not configured.`);
    if (this.#owner.isDisabled(database)) {
      throw lookupFailure(`authentication database ${quoted} is disabled`);
    }
    return await this.#connections.query(options, query, values, answerMs);
  }

  /** Undefined: nobody is looked up. */
  #placeFor({ database: name }: LoginRequest): Place | undefined {
    const settings = this.#owner.config.pgsluice;
    const own = this.#databaseOf(name);
    const standIn = own === undefined && !this.#owner.isConsole(name) ? this.#standIn() : undefined;
    const database = own ?? standIn?.database;
    const user = database?.auth_user ?? settings.auth_user;
    if (user === "") return undefined;
    const authDatabase = database?.auth_dbname ?? settings.auth_dbname;
    return {
      database: authDatabase === "" ? (standIn?.name ?? name) : authDatabase,
      user,
      query: database?.auth_query ?? settings.auth_query,
    };
  }

  #databaseOf(name: string): DatabaseConfig | undefined {
    return this.#owner.isConsole(name) ? undefined : databaseOf(this.#owner.config, name);
  }

  /** The database that is asked in place of one that does not exist: the first. */
  #standIn(): { readonly name: string; readonly database: DatabaseConfig } | undefined {
    const [first] = Object.entries(this.#owner.config.databases);
    return first === undefined ? undefined : { name: first[0], database: first[1] };
  }
}

function keyOf({ database, user, query }: Place, asked: string): string {
  return JSON.stringify([database, user, query, asked]);
}

function lookupFailure(message: string): OperationError {
  return new OperationError(message, { code: "login.lookup", sqlstate: "F0000", source: "internal" });
}
