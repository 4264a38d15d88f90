/**
 * `pgsluice query`: runs SQL and prints what psql would print. All statements go out in one message of the simple
 * protocol, as with `psql -c`, and what comes back is printed when it is whole.
 *
 * Exit codes are psql's: 0 if all went well, 1 for an error of the server in a statement, 2 if there is no
 * session or it was lost; and 128 more than the signal's number where a signal ended it: 130 INT, 143 TERM.
 */
import { type Command, Option } from "commander";
import { Failure, OperationError } from "../base/errors.ts";
import { resolveConninfo } from "../client/conninfo/conninfo.ts";
import { ConnectError, type Connection, connect, type Result, ServerError } from "../client/index.ts";
import { Exit } from "./exit.ts";
import { type OutputFormat, printedResult } from "./query-output.ts";
import { serverMessage } from "./server-message.ts";

const exitCodes = { failed: 1, noSession: 2, SIGINT: 130, SIGTERM: 143 } as const;

/** As which the server lists the session, if nobody says otherwise. */
const applicationName = "pgsluice";

interface QueryFlags {
  readonly align: boolean;
  readonly tuplesOnly?: true;
  readonly csv?: true;
  readonly json?: true;
}

const explanations = `
The connection is a URI (postgres://user@host/database) or keywords (host=… dbname=…). What it does not say comes
from libpq's environment (PGHOST, PGUSER, PGPASSWORD, …), the service and password files, and libpq's defaults.

--json prints one line for each statement, an array with an object for each row. int8 and numeric are strings,
so that no reader rounds them; so is everything else that JSON has no type for. Names of columns should differ.

Ctrl-C cancels the statement on the server; a second one leaves at once.

Examples:
  pgsluice query "select version()"
  pgsluice query postgres://app@db.example.com/app "select * from orders limit 10"
  pgsluice query --csv "service=reports" - < report.sql > report.csv`;

/** Adds the command `query`. */
export function registerQuery(program: Command): void {
  program
    .command("query")
    .usage("[options] [connection] sql")
    .summary("run SQL and print the result")
    .description("Runs SQL on a PostgreSQL or a pooler, and prints the result as psql does.")
    .argument("[connection]", "where to connect to")
    .argument("[sql]", 'one or more statements; "-" or nothing: read them from standard input')
    .option("-A, --no-align", "values with | between them instead of a table")
    .option("-t, --tuples-only", "neither headers nor footers")
    .addOption(new Option("--csv", "CSV").conflicts("align"))
    .addOption(new Option("--json", "JSON, one line for each statement").conflicts(["align", "csv"]))
    .addHelpText("after", explanations)
    .action(query);
}

async function query(
  first: string | undefined,
  second: string | undefined,
  flags: QueryFlags,
  command: Command,
): Promise<void> {
  // One that reads no more, as `head` does, is heard of by the write itself.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  const { target, sql } = argumentsOf(first, second, command);
  try {
    // A signal meanwhile ends the process as any other: there is nothing to cancel yet.
    await runAndPrint(target, sql ?? (await standardInput()), formatOf(flags));
  } catch (error) {
    // The reader of the output has left: nothing is wrong.
    if (error instanceof OperationError && error.code === "cli.output_closed") return;
    const exitCode = report(error);
    if (exitCode === undefined) throw error;
    throw new Exit(exitCode);
  }
}

async function runAndPrint(target: string, sql: string, format: OutputFormat): Promise<void> {
  const session = new Interruptible(sql);
  session.attach();
  try {
    await session.run(target);
    // The server is not kept waiting for whoever reads the output.
    const closed = session.close();
    for (const result of session.results) await print(printedResult(result, format));
    await closed;
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    for (const result of session.results) await print(printedResult(result, format));
    say(serverMessage(error.fields, { sql, context: true }));
    // FATAL and PANIC: the server has closed the session.
    throw new Exit(error.fields.severity === "ERROR" ? exitCodes.failed : exitCodes.noSession);
  } finally {
    await session.close();
    session.detach();
  }
}

const connectionString = /^(?:postgres(?:ql)?:\/\/|\s*\w+\s*=)/;

/** Of a single argument it can be told what it is: no statement begins like a connection string. */
function argumentsOf(
  first: string | undefined,
  second: string | undefined,
  command: Command,
): { readonly target: string; readonly sql: string | undefined } {
  const isConnection = second !== undefined || connectionString.test(first ?? "");
  const [target, sql] = isConnection ? [first ?? "", second] : ["", first];
  // The server would quote it in its error and its log, with the password in it.
  if (connectionString.test(sql ?? "")) command.error("error: the connection comes before the SQL");
  if (sql !== undefined && sql !== "-") return { target, sql };
  if (sql === undefined && process.stdin.isTTY) {
    command.error('error: no SQL given; "-" reads it from standard input');
  }
  return { target, sql: undefined };
}

async function standardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) chunks.push(chunk);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch (error) {
    throw new OperationError("standard input is no UTF-8", {
      code: "cli.input_encoding",
      sqlstate: "22021",
      source: "internal",
      cause: error,
    });
  }
}

function formatOf(flags: QueryFlags): OutputFormat {
  const tuplesOnly = flags.tuplesOnly === true;
  if (flags.json === true) return { format: "json", tuplesOnly };
  if (flags.csv === true) return { format: "csv", tuplesOnly };
  return { format: flags.align ? "aligned" : "unaligned", tuplesOnly };
}

// The session, and what signals do to it.

/** npm hands a Ctrl-C on to a process that has already had it from the terminal; a second one by hand takes longer. */
const echoMs = 200;

/** Connects and runs the statements; INT and TERM may come at any time. */
class Interruptible {
  readonly #sql: string;
  /** What the statements came to so far; after an error, those before it. */
  readonly results: Result<unknown>[] = [];
  readonly #connecting = new AbortController();
  #phase: "connecting" | "running" | "over" = "connecting";
  #connection: Connection | undefined;
  /** The cancel request that a signal has caused. Never rejects. */
  #cancelling: Promise<void> | undefined;
  #interruptedAtMs = Number.NEGATIVE_INFINITY;
  #terminating = false;

  constructor(sql: string) {
    this.#sql = sql;
  }

  readonly #onInterrupt = (): void => this.#interrupt();
  readonly #onTerminate = (): void => this.#terminate();

  attach(): void {
    process.on("SIGINT", this.#onInterrupt).on("SIGTERM", this.#onTerminate);
  }

  detach(): void {
    process.off("SIGINT", this.#onInterrupt).off("SIGTERM", this.#onTerminate);
  }

  async run(target: string): Promise<void> {
    const connection = await this.#connect(target);
    this.#phase = "running";
    try {
      await connection.execute(this.#sql, {
        rowMode: "text",
        onResult: (result: Result<unknown>) => this.results.push(result),
      });
    } finally {
      this.#phase = "over";
      // What became of the request is told before what became of the statement.
      await this.#cancelling;
    }
  }

  async #connect(target: string): Promise<Connection> {
    const { signal } = this.#connecting;
    try {
      const options = resolveConninfo(target);
      const fallbackApplicationName = options.fallbackApplicationName ?? applicationName;
      const connection = await connect(
        { ...options, fallbackApplicationName },
        {
          signal,
          onNotice: (fields) => say(serverMessage(fields, { sql: this.#sqlOfNotice, context: false })),
        },
      );
      this.#connection = connection;
      signal.throwIfAborted();
      return connection;
    } catch (error) {
      if (signal.aborted) throw new Exit(exitCodes.SIGINT);
      throw error;
    }
  }

  /** What a notice may be about. */
  get #sqlOfNotice(): string | undefined {
    return this.#phase === "connecting" ? undefined : this.#sql;
  }

  /** Ends the session. Never rejects. */
  async close(): Promise<void> {
    await this.#connection?.close();
  }

  #interrupt(): void {
    const nowMs = performance.now();
    if (nowMs - this.#interruptedAtMs < echoMs) return;
    this.#interruptedAtMs = nowMs;
    if (this.#phase === "connecting" && !this.#connecting.signal.aborted) this.#connecting.abort();
    else if (this.#phase === "running" && this.#cancelling === undefined) this.#cancelling = this.#cancel();
    else process.exit(exitCodes.SIGINT);
  }

  async #cancel(): Promise<void> {
    try {
      await this.#connection?.cancel();
      say("Cancel request sent\n");
    } catch (error) {
      say(`Could not send cancel request: ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }

  /** Nobody will read the result: the server need not go on with it. */
  #terminate(): void {
    if (this.#terminating || this.#phase !== "running") process.exit(exitCodes.SIGTERM);
    this.#terminating = true;
    const leave = (): void => {
      this.#connection?.destroy();
      process.exit(exitCodes.SIGTERM);
    };
    // The statement's error, which may come first, waits for this and so is never told.
    this.#cancelling = this.#connection?.cancel().then(leave, leave);
  }
}

// Printing.

/** Pieces of the output are put together up to this many characters, and each write is waited for. */
const writeCharactersMin = 64 * 1024;

async function print(pieces: Iterable<string>): Promise<void> {
  let text = "";
  for (const piece of pieces) {
    text += piece;
    if (text.length < writeCharactersMin) continue;
    await write(text);
    text = "";
  }
  if (text !== "") await write(text);
}

/** Resolves when the text has been taken; rejects with OperationError `cli.output_closed` or `cli.output_failed`. */
function write(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (error === undefined || error === null) resolve();
      else reject(outputFailed(error));
    });
  });
}

/** SQLSTATE 58030, io_error. */
function outputFailed(error: Error): OperationError {
  // Where the pipe is a pair of sockets, it is reset if something in it has not been read.
  const closed = "code" in error && (error.code === "EPIPE" || error.code === "ECONNRESET");
  return new OperationError(`could not write to standard output: ${error.message}`, {
    code: closed ? "cli.output_closed" : "cli.output_failed",
    sqlstate: "58030",
    source: "internal",
    cause: error,
  });
}

function say(text: string): void {
  process.stderr.write(text);
}

const codesOfNoSession: ReadonlySet<string> = new Set(["client.bad_option", "client.connection_lost"]);

/** Says what is wrong. Returns the exit code; undefined for a mistake of ours. */
function report(error: unknown): number | undefined {
  if (error instanceof Exit) return error.exitCode;
  if (!(error instanceof Failure)) return undefined;
  if (error.code === "client.copy_misused") {
    say("pgsluice: error: COPY from or to this program is not supported; psql's \\copy can do it\n");
    return exitCodes.failed;
  }
  say(`pgsluice: error: ${error.message}\n`);
  if (error.detail !== undefined) say(`DETAIL:  ${error.detail}\n`);
  if (error.hint !== undefined) say(`HINT:  ${error.hint}\n`);
  const noSession = error instanceof ConnectError || codesOfNoSession.has(error.code);
  return noSession ? exitCodes.noSession : exitCodes.failed;
}
