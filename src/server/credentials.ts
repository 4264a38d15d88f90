/**
 * Who may log in with what, and how the pooler itself logs in to servers: the users of the configuration,
 * those of auth_file, those that were looked up for a database, and what the logins of clients have proved.
 * Nothing in here is ever printed.
 */
import { readFile } from "node:fs/promises";
import { parseSecret, type Secret } from "../auth/secret.ts";
import { parseUserlist } from "../auth/userlist.ts";
import { OperationError } from "../base/errors.ts";
import { LruMap } from "../base/lru.ts";
import type { ScramKeys } from "../client/conninfo/options.ts";
import type { Config } from "../config/schema.ts";

/** What a connection to a server is opened with. */
export interface ServerCredential {
  readonly password?: string | undefined;
  readonly md5Hash?: string | undefined;
  readonly scramKeys?: ScramKeys | undefined;
}

/** What is known of a user of one database that is not in the configuration. */
interface FoundUser {
  secret: Secret | undefined;
  learned: ServerCredential | undefined;
}

/** Those who are not connected any more make room, at some 500 bytes each; pools ask for those who are. */
const foundUsersMax = 20_000;

export class Credentials {
  #secrets = new Map<string, Secret>();
  #usualKind: Secret["kind"] | undefined;
  /** SCRAM keys and passwords that clients have proved, by user. */
  readonly #learned = new Map<string, ServerCredential>();
  /** By database and user: the same name may be another user elsewhere. */
  readonly #found = new LruMap<string, FoundUser>(foundUsersMax);

  /** Reads the users of a configuration. Throws OperationError F0000 if auth_file cannot be read. */
  static async secretsOf(config: Config): Promise<Map<string, Secret>> {
    const file = config.pgsluice.auth_file;
    let secrets = new Map<string, Secret>();
    if (file !== "") {
      try {
        secrets = parseUserlist(await readFile(file, "utf8"));
      } catch (error) {
        const reason = error instanceof Error ? error.message : "cannot be read";
        throw new OperationError(`auth_file ${file}: ${reason}`, {
          code: "config.auth_file",
          sqlstate: "F0000",
          source: "internal",
        });
      }
    }
    for (const [name, user] of Object.entries(config.users)) {
      if (user.password !== undefined) secrets.set(name, parseSecret(user.password));
    }
    return secrets;
  }

  /** Takes over the users of a configuration; what was learned of a user whose secret changed is forgotten. */
  replace(secrets: Map<string, Secret>): void {
    for (const user of this.#learned.keys()) {
      if (JSON.stringify(this.#secrets.get(user)) !== JSON.stringify(secrets.get(user)))
        this.#learned.delete(user);
    }
    this.#secrets = secrets;
    const counts = new Map<Secret["kind"], number>();
    for (const { kind } of secrets.values()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    this.#usualKind = [...counts].sort(([, a], [, b]) => b - a)[0]?.[0];
  }

  get users(): string[] {
    return [...this.#secrets.keys()];
  }

  secretOf(user: string): Secret | undefined {
    return this.#secrets.get(user);
  }

  /** The kind of secret most users have: an unknown user is treated as if it had one of this kind. */
  get usualKind(): Secret["kind"] | undefined {
    return this.#usualKind;
  }

  /** What a look-up has found for a user of a database. What was proved of another secret is forgotten. */
  remember(database: string, user: string, secret: Secret | undefined): void {
    const key = keyOf(database, user);
    const known = this.#found.get(key);
    if (known !== undefined && JSON.stringify(known.secret) === JSON.stringify(secret)) return;
    this.#found.set(key, { secret, learned: undefined });
  }

  /** A client has logged in as `user` and thereby shown what servers will accept too. */
  learn(
    database: string,
    user: string,
    shown: { keys?: ScramKeys | undefined; password?: string | undefined },
  ): void {
    const secret = this.#secrets.get(user);
    const known = secret === undefined ? this.#found.get(keyOf(database, user)) : undefined;
    const kind = (secret ?? known?.secret)?.kind;
    const learned =
      shown.password !== undefined
        ? { password: shown.password }
        : shown.keys !== undefined && kind === "scram"
          ? { scramKeys: shown.keys }
          : undefined;
    if (learned === undefined) return;
    if (secret !== undefined) this.#learned.set(user, learned);
    else this.#found.set(keyOf(database, user), { secret: known?.secret, learned });
  }

  /**
   * How to log in to a server as `user`; nothing in it if nothing is known (the server may trust us). Of users that were
   * looked up, only for the database that they were looked up for.
   */
  forServer(user: string, database: string = ""): ServerCredential {
    const own = this.#secrets.get(user);
    const found = own === undefined ? this.#found.get(keyOf(database, user)) : undefined;
    const secret = own ?? found?.secret;
    if (secret?.kind === "plain") return { password: secret.password };
    const learned = own === undefined ? found?.learned : this.#learned.get(user);
    if (learned !== undefined) return learned;
    return secret?.kind === "md5" ? { md5Hash: secret.hash } : {};
  }
}

/** No name has a NUL in it. */
function keyOf(database: string, user: string): string {
  return `${database}\0${user}`;
}
