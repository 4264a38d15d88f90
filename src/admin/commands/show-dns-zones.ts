/** SHOW DNS_ZONES: zones whose serial numbers PgBouncer watches. None are watched here. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(["text", "zonename"], ["int8", "serial"], ["int4", "count"]);

export const showDnsZones: Command<undefined> = showCommand("DNS_ZONES", columns, () => []);
