/** SHOW PEER_POOLS: cancel requests on their way to peers, for every peer that any was for. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf([
  "int4",
  ...["peer_id", "cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel", "sv_login"],
]);

export const showPeerPools: Command<undefined> = showCommand("PEER_POOLS", columns, (context) =>
  context
    .peers()
    .filter(({ used }) => used)
    .map(({ id, sent, waiting, connecting }) => [id, sent, waiting, sent, connecting]),
);
