/** SHOW HELP: a notice, as PgBouncer's, and no rows. */
import type { Command } from "../command.ts";

const usage = [
  "SHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION",
  "SHOW PEERS|PEER_POOLS",
  "SHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE",
  "SHOW DNS_HOSTS|DNS_ZONES",
  "SHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS",
  "SHOW MULTIPLEX|LISTENERS|WORKERS|CLASSIFIER|LOGIN_LATENCY",
  "SHOW NODES|DISCOVERY",
  "SHOW RESERVATIONS|RESERVATION_STATS",
  "SHOW POOL_NODES|POOL_POOLS|POOL_PROCESSES|POOL_VERSION",
  "SET key = arg",
  "RELOAD",
  "PAUSE [<db>]",
  "RESUME [<db>]",
  "DISABLE <db>",
  "ENABLE <db>",
  "RECONNECT [<db>]",
  "KILL [<db>]",
  "KILL_CLIENT <client_id>",
  "ATTACH|DETACH|DRAIN|QUARANTINE <node>",
  "FENCE|UNFENCE|ACCEPT <node>",
  "PROMOTE <node>",
  "SHUTDOWN",
  "SHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS",
  "WAIT_CLOSE [<db>]",
];

export const showHelp: Command<undefined> = {
  name: "SHOW HELP",
  administrators: false,
  parse: () => undefined,
  execute: () => ({
    tag: "SHOW",
    notice: { message: "Console usage", detail: usage.map((line) => `\n\t${line}`).join("") },
  }),
};
