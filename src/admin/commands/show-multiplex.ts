/** SHOW MULTIPLEX: how far the brief reads of auto mode share servers, for each pool. Counts are since the start. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(
  ["text", "database", "user", "node"],
  ["int4", "servers", "depth", "queued", "stuck"],
  ["int8", "units", "joined", "alone", "waited", "coalesced", "returned", "depth_max"],
);

export const showMultiplex: Command<undefined> = showCommand("MULTIPLEX", columns, (context) =>
  context.pools().flatMap(({ pool, database, user, node }) => {
    const multiplexer = context.multiplexerOf(pool);
    if (multiplexer === undefined) return [];
    const { servers, clientsCount, stuckCount, counts } = multiplexer;
    let depth = 0;
    for (const server of servers) depth += server.depth;
    const { units, joined, alone, queued, coalesced, returned, depthMax } = counts;
    const sizes = [servers.length, depth, clientsCount, stuckCount];
    return [[database, user, node, ...sizes, units, joined, alone, queued, coalesced, returned, depthMax]];
  }),
);
