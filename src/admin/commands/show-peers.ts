/** SHOW PEERS: other processes that cancel requests are handed to. There are none. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(["int4", "peer_id"], ["text", "host"], ["int4", "port", "pool_size"]);

export const showPeers: Command<undefined> = showCommand("PEERS", columns, () => []);
