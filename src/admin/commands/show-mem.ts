/** SHOW MEM: PgBouncer's caches of memory. There are none here, and so there is nothing to list. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(["text", "name"], ["int4", "size", "used", "free", "memtotal"]);

export const showMem: Command<undefined> = showCommand("MEM", columns, () => []);
