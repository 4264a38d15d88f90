/** SHOW PEERS: other processes that cancel requests are handed on to. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(["int4", "peer_id"], ["text", "host"], ["int4", "port", "pool_size"]);

export const showPeers: Command<undefined> = showCommand("PEERS", columns, (context) =>
  context.peers().map(({ id, host, port, poolSize }) => [id, host, port, poolSize]),
);
