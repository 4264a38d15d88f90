/**
 * SET key = value: changes a setting of [pgsluice] until the next reload, with the same checks as in the file.
 * What drivers set on every connection has no meaning here and is passed over.
 */
import { Failure, OperationError } from "../../base/errors.ts";
import { type Answer, type Command, consoleError, type Words } from "../command.ts";

/** Parameters of PostgreSQL that drivers and tools set of their own accord. */
const ignored: ReadonlySet<string> = new Set([
  "application_name",
  "bytea_output",
  "client_encoding",
  "client_min_messages",
  "datestyle",
  "default_transaction_isolation",
  "default_transaction_read_only",
  "extra_float_digits",
  "idle_in_transaction_session_timeout",
  "intervalstyle",
  "lock_timeout",
  "search_path",
  "standard_conforming_strings",
  "statement_timeout",
  "timezone",
]);

export const set: Command<Words> = {
  name: "SET",
  // Anybody may set what is ignored.
  administrators: false,
  parse: (words) => words,
  async execute(context, { argument, value = "" }, caller): Promise<Answer> {
    const name = argument.toLowerCase();
    if (ignored.has(name)) return { tag: "SET", notice: { message: "SET ignored" } };
    if (!caller.administrator) throw consoleError("admin access needed", "42501");
    try {
      await context.change(name, value);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      throw new OperationError("SET failed", {
        code: "console.set_failed",
        sqlstate: "22023",
        source: "client",
        detail: error.message,
      });
    }
    context.logger.info({ setting: name }, "SET command issued");
    return { tag: `SET ${argument}=${value}` };
  },
};
