/**
 * What the servers of a configuration say when the pooler logs in to them as it would for a client: with the same
 * options, users and secrets.
 *
 * Each node is asked on its own, at the same time as the others. On a node every database is tried once and every
 * user once; the first login that works tells the node's role and how much room it has.
 */
import { OperationError } from "../base/errors.ts";
import { ConnectError } from "../client/errors.ts";
import { SimpleClient } from "../client/simple.ts";
import { anyDatabase, type Config } from "../config/schema.ts";
import type { Credentials } from "../server/credentials.ts";
import { connectOptionsOf, targetOf } from "../server/pool-config.ts";
import type { LoginRequest } from "../session/context.ts";
import { type Finding, failed, type Report, warned } from "./finding.ts";
import { checkRoom } from "./room.ts";

/** Nobody who waits for a check wants to wait longer for one server. */
const connectMsMax = 5_000;
/** What logs in to one node; a list of users may have thousands. */
const loginsMax = 50;
/** The database that the rest stands for: it is there on every server, unless somebody dropped it. */
const usualDatabase = "postgres";

/** One login to try. */
interface Trial {
  readonly config: Config;
  readonly request: LoginRequest;
  /** As whom, on the server. */
  readonly user: string;
  /** Where the secret is, for findings. */
  readonly secretPlace: string;
  readonly databasePlace: string;
}

/** What a server says of itself. */
export interface ServerFacts {
  readonly inRecovery: boolean;
  readonly connectionsMax: number;
  /** Of those, kept for superusers and for members of pg_use_reserved_connections. */
  readonly reserved: number;
}

export async function checkServers(config: Config, credentials: Credentials, report: Report): Promise<void> {
  const results = await Promise.all(
    Object.keys(config.nodes).map((name) => new NodeCheck(name, config, credentials).run()),
  );
  for (const finding of results.flat()) report(finding);
}

class NodeCheck {
  readonly #name: string;
  readonly #place: string;
  readonly #config: Config;
  readonly #credentials: Credentials;
  readonly #findings: Finding[] = [];
  #facts: ServerFacts | undefined;

  constructor(name: string, config: Config, credentials: Credentials) {
    this.#name = name;
    this.#place = `nodes.${name}`;
    this.#config = config;
    this.#credentials = credentials;
  }

  async run(): Promise<Finding[]> {
    const trials = this.#trials();
    const [blind] = trials.length === 0 ? [this.#blindTrial()] : [undefined];
    for (const trial of blind === undefined ? trials : [blind]) {
      if (!(await this.#try(trial, trial === blind))) break;
    }
    if (this.#facts !== undefined) this.#judge(this.#facts);
    return this.#findings;
  }

  #trials(): Trial[] {
    const trials: Trial[] = [];
    const users = this.#credentials.users.filter(
      (user) => Object.keys(this.#credentials.forServer(user)).length > 0,
    );
    const untried = new Set(users);
    for (const [name, database] of this.#databases()) {
      if (database.user !== undefined) {
        trials.push(this.#trial(name, database.user, `databases.${JSON.stringify(name)}.password`));
        continue;
      }
      for (const user of untried.size > 0 ? untried : users.slice(0, 1))
        trials.push(this.#trial(name, user, `the secret of user ${JSON.stringify(user)}`));
      untried.clear();
    }
    return trials.slice(0, loginsMax);
  }

  /** The databases that live on this node; a node without any is asked as if it had all. */
  #databases(): [string, Config["databases"][string]][] {
    const own = Object.entries(this.#config.databases).filter(
      ([, { node }]) => node === this.#name || node === "",
    );
    return own.length > 0 ? own : [[anyDatabase, { node: this.#name }]];
  }

  #trial(name: string, user: string, secretPlace: string): Trial {
    const database = name === anyDatabase ? usualDatabase : name;
    return {
      config: { ...this.#config, databases: Object.fromEntries(this.#databases()) },
      request: { user, database, otherParameters: [], replication: false },
      user,
      secretPlace,
      databasePlace: `databases.${JSON.stringify(name)}`,
    };
  }

  /** No secret is known that could log in: whether the server can be reached is to be seen all the same. */
  #blindTrial(): Trial {
    const [name = anyDatabase] = this.#databases()[0] ?? [];
    return this.#trial(name, this.#config.pgsluice.admin_users[0] ?? "postgres", "");
  }

  /** Whether it makes sense to go on with this node. */
  async #try(trial: Trial, blind: boolean): Promise<boolean> {
    const { config, request, user } = trial;
    const options = connectOptionsOf(config, this.#credentials, request, user, this.#name);
    const connectTimeoutMs = Math.min(options.connectTimeoutMs ?? connectMsMax, connectMsMax);
    try {
      const client = await SimpleClient.connect({ ...options, connectTimeoutMs, targetSessionAttrs: "any" });
      try {
        this.#facts ??= await factsOf(client);
      } finally {
        await client.close();
      }
      return true;
    } catch (error) {
      if (!(error instanceof OperationError)) throw error;
      if (blind && error instanceof ConnectError && reached(error)) this.#findings.push(this.#noLogin());
      else this.#findings.push(this.#explain(error, trial));
      return error instanceof ConnectError && reached(error);
    }
  }

  #noLogin(): Finding {
    const problem =
      "it answers, but no secret is stored that could log in: its role and its room were not checked";
    const cure =
      "Nothing, if clients log in with SCRAM secrets that PostgreSQL has too. Else store passwords, or give [databases.NAME] a user.";
    return warned("servers.no_login", this.#place, problem, cure);
  }

  #explain(error: OperationError, trial: Trial): Finding {
    // The first line says what happened; others tell of every address that was tried.
    const [problem = ""] = error.message.split("\n");
    if (!(error instanceof ConnectError))
      return failed("servers.lost", this.#place, problem, "See the server's log.");
    if (error.code === "client.tls_failed") {
      const cure = "Compare server_tls_sslmode and server_tls_ca_file with what the server offers.";
      return failed("servers.tls", this.#place, problem, cure);
    }
    if (error.code === "client.login_failed")
      return failed("servers.credentials", trial.secretPlace, problem, credentialsCure);
    switch (error.sqlstate) {
      case "28P01":
        return failed("servers.credentials", trial.secretPlace, problem, credentialsCure);
      case "28000":
        return failed(
          "servers.refused",
          this.#place,
          problem,
          "Let the pooler in by the server's pg_hba.conf.",
        );
      case "3D000": {
        const dbname = targetOf(trial.config, trial.request)?.dbname ?? trial.request.database;
        const cure = `CREATE DATABASE ${JSON.stringify(dbname)}, or correct dbname.`;
        return failed("servers.database", trial.databasePlace, problem, cure);
      }
      case "53300":
        return failed(
          "servers.full",
          this.#place,
          problem,
          "Raise max_connections there, or find out who uses them up.",
        );
      default: {
        const cure = "Start PostgreSQL there, or correct host and port.";
        return reached(error)
          ? failed("servers.refused", this.#place, problem, "See the server's log.")
          : failed("servers.unreachable", this.#place, problem, cure);
      }
    }
  }

  #judge(facts: ServerFacts): void {
    const { role } = this.#config.nodes[this.#name] ?? { role: "primary" };
    if (role === "primary" && facts.inRecovery) {
      const problem = "it is a standby, so that every write fails";
      this.#findings.push(
        failed("servers.role", this.#place, problem, 'Name the primary, or set role = "standby".'),
      );
    } else if (role === "standby" && !facts.inRecovery) {
      const problem = 'it is a primary, though its role is "standby"';
      this.#findings.push(
        failed("servers.role", this.#place, problem, 'Set role = "primary", or name a standby.'),
      );
    }
    checkRoom(this.#name, facts, this.#config, this.#credentials, (finding) => this.#findings.push(finding));
  }
}

const credentialsCure = "Store the password that the server has, or change the server's with ALTER ROLE.";

/** Whether the server itself has answered, so that another login may do better. */
function reached({ code, sqlstate }: ConnectError): boolean {
  return (code === "client.server_refused" && sqlstate !== "57P03") || code === "client.login_failed";
}

async function factsOf(client: SimpleClient): Promise<ServerFacts> {
  const giveUp = setTimeout(() => client.connection.transport.destroy(), connectMsMax);
  try {
    const { rows } = await client.query(
      `select pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('max_connections'),
        pg_catalog.current_setting('superuser_reserved_connections'),
        coalesce(pg_catalog.current_setting('reserved_connections', true), '0')`,
    );
    const [inRecovery, connections, forSuperusers, forOthers] = rows[0] ?? [];
    return {
      inRecovery: inRecovery === "t",
      connectionsMax: Number(connections),
      reserved: Number(forSuperusers) + Number(forOthers),
    };
  } finally {
    clearTimeout(giveUp);
  }
}
