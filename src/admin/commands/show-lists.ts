/**
 * SHOW LISTS: how many there are of what. The free ones are memory that PgBouncer keeps for connections to come;
 * nothing is kept here. Names are the system's to resolve.
 */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";
import { groupPools } from "./show-pools.ts";
import { allUsers } from "./show-users.ts";

const columns = columnsOf(["text", "list"], ["int4", "items"]);

export const showLists: Command<undefined> = showCommand("LISTS", columns, (context) => {
  const pools = context.pools();
  const peers = context.peers();
  const consoles = [...context.consoles()].length;
  const servers = pools.reduce((sum, { pool }) => sum + pool.size, 0);
  return [
    ["databases", context.databases().length + 1],
    ["users", allUsers(context).length],
    ["peers", peers.length],
    ["pools", groupPools(pools).length + 1],
    ["peer_pools", peers.filter(({ used }) => used).length],
    ["free_clients", 0],
    ["used_clients", [...context.sessions()].length + consoles + context.loginCount()],
    ["login_clients", context.loginCount()],
    ["free_servers", 0],
    ["used_servers", servers],
    ["dns_names", 0],
    ["dns_zones", 0],
    ["dns_queries", 0],
    ["dns_pending", 0],
  ];
});
