/** SHOW PEER_POOLS: connections to peers. There are none. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf([
  "int4",
  ...["peer_id", "cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel", "sv_login"],
]);

export const showPeerPools: Command<undefined> = showCommand("PEER_POOLS", columns, () => []);
