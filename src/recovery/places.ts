/** Where everything is that a recovery has to do with, from the configuration of the pooler. */
import { type ConnectOptions, connectOptions } from "../client/conninfo/options.ts";
import type { Config, NodeConfig } from "../config/schema.ts";
import type { Credentials } from "../server/credentials.ts";
import { nodeOptionsOf, probeOptionsOf } from "../server/pool-config.ts";
import { recoveryError } from "./errors.ts";

export class Places {
  readonly #config: Config;
  readonly #credentials: Credentials;

  constructor(config: Config, credentials: Credentials) {
    this.#config = config;
    this.#credentials = credentials;
  }

  /** Throws `recovery.refused` if there is no such node. */
  node(name: string): NodeConfig {
    const { nodes } = this.#config;
    const node = Object.hasOwn(nodes, name) ? nodes[name] : undefined;
    if (node !== undefined) return node;
    throw recoveryError("recovery.refused", `there is no node "${name}"`, {
      hint: `The nodes are ${Object.keys(nodes).join(", ")}.`,
    });
  }

  /** Of `recovery_user`: for the copy, and for the standby that streams. */
  replication(name: string): ConnectOptions {
    const { recovery_user: user, recovery_password: password } = this.#config.pgsluice;
    if (user === "") return { ...this.sql(name), connectTimeoutMs: undefined };
    return connectOptions({
      ...nodeOptionsOf(this.#config.pgsluice, this.node(name)),
      user,
      ...(password === "" ? this.#credentials.forServer(user) : { password }),
      fallbackApplicationName: "pgsluice recover",
    });
  }

  /** Of `health_check_user`, or of `recovery_user` where there is none: to ask how far a node is. */
  sql(name: string): ConnectOptions {
    const settings = this.#config.pgsluice;
    if (settings.health_check_user !== "" || settings.recovery_user === "") {
      return probeOptionsOf(this.#config, this.#credentials, this.node(name));
    }
    return { ...this.replication(name), database: settings.health_check_database };
  }

  /** The console of the pooler that has this configuration, on this machine. */
  console(): ConnectOptions {
    const settings = this.#config.pgsluice;
    const [user] = settings.admin_users;
    if (user === undefined) {
      throw recoveryError("recovery.refused", "admin_users names nobody who may use the console", {
        hint: "Add somebody to admin_users, or leave the pooler out with --no-attach and --from.",
      });
    }
    const { unix_socket_dir: folder, listen_port: port } = settings;
    const [address = ""] = settings.listen_addr.split(",").map((part) => part.trim());
    const local = ["*", "0.0.0.0", "::", ""].includes(address) ? "127.0.0.1" : address;
    return connectOptions({
      hosts: [{ host: folder === "" ? local : folder, port }],
      user,
      database: "pgbouncer",
      ...this.#credentials.forServer(user),
      connectTimeoutMs: settings.server_connect_timeout * 1000,
    });
  }
}
