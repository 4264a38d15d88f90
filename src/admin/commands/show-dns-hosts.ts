/** SHOW DNS_HOSTS: PgBouncer's cache of addresses. The system resolves names here, at each connect. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(["text", "hostname"], ["int8", "ttl"], ["text", "addrs"]);

export const showDnsHosts: Command<undefined> = showCommand("DNS_HOSTS", columns, () => []);
