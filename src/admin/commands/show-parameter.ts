/** SHOW of a few parameters that drivers ask for although the welcome has told them. */
import { type Command, showCommand } from "../command.ts";
import { columnsOf } from "../result.ts";

/** PgBouncer's list and values; the names are given back as they stand here. */
const parameters: readonly (readonly [name: string, value: string])[] = [
  ["client_encoding", "UTF-8"],
  ["default_transaction_isolation", "read committed"],
  ["standard_conforming_strings", "on"],
  ["datestyle", "ISO"],
  ["timezone", "GMT"],
  ["extra_float_digits", "2"],
];

export const showParameters: readonly Command<undefined>[] = parameters.map(([name, value]) =>
  showCommand(name.toUpperCase(), columnsOf(["text", name]), () => [[value]]),
);
