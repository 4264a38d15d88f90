/** One client of random sessions: writes burst after burst, cut anywhere, and hands on whatever it is told. */
import { TransactionStatus } from "../../src/wire/constants.ts";
import { type BackendMessage, encodeFrontend, type FrontendMessage } from "../../src/wire/index.ts";
import { encodeStartup } from "../../src/wire/startup.ts";
import { ByteStream } from "../kit/byte-stream.ts";
import type { RunOptions } from "../kit/differential/run.ts";
import { RawClient, rawCancel } from "../kit/raw-client.ts";
import { cutAt } from "../unit/wire/cuts.ts";

/** Written without waiting for an answer in between; `cuts` are where its bytes are cut, modulo their number. */
export interface Burst {
  readonly messages: readonly FrontendMessage[];
  readonly cuts: readonly number[];
  /** It ends with a Query that is refused in its own words, whatever has come before, and by which the end of the answers is known. */
  readonly marked?: true;
}

const mark = "marked";

/** What takes down what happens; a transcript is one. */
export interface Witness {
  heading: (client: string, source: string) => void;
  note: (client: string, text: string) => void;
  message: (client: string, message: BackendMessage) => void;
  stuck: string | undefined;
}

const asksReady: ReadonlySet<string> = new Set(["Query", "Sync", "FunctionCall"]);
const endsExecute: ReadonlySet<string> = new Set([
  "CommandComplete",
  "EmptyQueryResponse",
  "PortalSuspended",
]);

export class SessionClient {
  readonly name: string;
  /** It is in no transaction. */
  idle = true;
  gone = false;
  readonly #number: number;
  readonly #raw: RawClient;
  readonly #options: RunOptions;
  /** What it has written last. */
  #written = "";
  #pid = 0;
  #key: Buffer = Buffer.alloc(0);
  /** In a batch that has failed: nothing is answered before its Sync. */
  #failed = false;
  /** As ReadyForQuery has said. */
  #inFailedTransaction = false;

  private constructor(number: number, raw: RawClient, options: RunOptions) {
    this.name = `c${number}`;
    this.#number = number;
    this.#raw = raw;
    this.#options = options;
  }

  /** Its login is taken down, too. */
  static async connect(
    number: number,
    options: RunOptions,
    witness: Witness,
    parameters: readonly (readonly [string, string])[] = [],
  ): Promise<SessionClient> {
    const { address } = options;
    const raw = new RawClient(await ByteStream.connect(address));
    const client = new SessionClient(number, raw, options);
    const startup = [["user", "postgres"], ["database", address.database], ...parameters] as const;
    raw.send(encodeStartup(196_608, startup));
    await client.#read(witness, 1, 0);
    return client;
  }

  /** Returns when everything is answered: up to the last ReadyForQuery, or behind a Flush the last Execute. */
  async perform(burst: Burst, witness: Witness): Promise<void> {
    if (this.gone) return;
    await this.write(burst, witness);
    await this.answers(burst, witness);
  }

  /** Writes it, or so many of 1000 bytes of it. */
  async write({ messages, cuts, marked }: Burst, witness: Witness, permille = 1000): Promise<void> {
    this.#written = messages.map((message) => textOf(this.#own(message)).slice(0, 200)).join(", ");
    witness.heading(this.name, this.#written);
    const all = marked ? [...messages, { kind: "Query", sql: `${mark}!` } as const] : messages;
    const whole = Buffer.concat(all.map((message) => encodeFrontend(this.#own(message))));
    const bytes = whole.subarray(0, Math.ceil((whole.length * permille) / 1000));
    const places = cuts.map((cut) => cut % (bytes.length + 1));
    for (const piece of cutAt(bytes, places)) {
      this.#raw.stream.write(piece);
      // So that pieces arrive apart, and others get their turn.
      await new Promise(setImmediate);
    }
  }

  /** What was written is answered. */
  async answers({ messages, marked }: Burst, witness: Witness): Promise<void> {
    if (marked) {
      await this.#readToMark(witness);
      return;
    }
    const ready = messages.filter(({ kind }) => asksReady.has(kind)).length;
    const flushed = messages.at(-1)?.kind === "Flush" && !this.#failed;
    await this.#read(witness, ready, flushed ? messages.filter(({ kind }) => kind === "Execute").length : 0);
  }

  /** The next notification on a channel; others that come before are handed on. */
  async untilNotified(channel: string, payload: string, witness: Witness): Promise<void> {
    while (!this.gone) {
      const message = await this.#next(`the notification ${payload}`, witness);
      if (
        message?.kind === "NotificationResponse" &&
        message.channel === channel &&
        message.payload === payload
      )
        return;
    }
  }

  /** Asks for what it does to be cancelled; returns when the request was taken. */
  async cancel(): Promise<void> {
    await rawCancel(this.#options.address, { pid: this.#pid, key: this.#key });
  }

  async leave(how: "terminate" | "vanish", witness: Witness): Promise<void> {
    if (this.gone) return;
    if (how === "terminate") {
      this.#raw.send({ kind: "Terminate" });
      this.#raw.stream.end();
      for (const message of await this.#raw.rest(this.#options.stepMs)) witness.message(this.name, message);
    }
    this.destroy();
  }

  destroy(): void {
    this.gone = true;
    this.#raw.destroy();
  }

  async #read(witness: Witness, ready: number, executed: number): Promise<void> {
    let [readyOwed, executedOwed] = [ready, executed];
    while (readyOwed > 0 || executedOwed > 0) {
      const message = await this.#next(`${readyOwed} times ReadyForQuery`, witness);
      if (message === undefined) return;
      if (message.kind === "ReadyForQuery") {
        readyOwed--;
        this.#failed = false;
        this.#noteStatus(message.status);
      } else if (message.kind === "ErrorResponse" && readyOwed === 0) {
        this.#failed = true;
        return;
      } else if (endsExecute.has(message.kind)) {
        executedOwed--;
      }
    }
  }

  async #readToMark(witness: Witness): Promise<void> {
    for (let marked = false; ; ) {
      const message = await this.#next("the mark", witness);
      if (message === undefined) return;
      if (message.kind === "ErrorResponse") marked = message.fields.message.includes(mark);
      if (message.kind !== "ReadyForQuery") continue;
      this.#failed = false;
      this.#noteStatus(message.status);
      if (marked) return;
    }
  }

  #noteStatus(status: number): void {
    this.idle = status === TransactionStatus.idle;
    this.#inFailedTransaction = status === TransactionStatus.failed;
  }

  async #next(what: string, witness: Witness): Promise<BackendMessage | undefined> {
    try {
      const message = await this.#raw.next(what, this.#options.stepMs);
      if (message.kind === "BackendKeyData") [this.#pid, this.#key] = [message.pid, message.key];
      if (message.kind !== "ParameterDescription") {
        this.#tell(witness, message);
        return message;
      }
      // Of a statement that cannot be parsed any more there may be none (docs/semantics.md).
      const next = await this.#raw.next(what, this.#options.stepMs);
      if (next.kind !== "ErrorResponse") this.#tell(witness, message);
      this.#tell(witness, next);
      return next;
    } catch (error) {
      if (!this.#raw.isClosed) witness.stuck = `${this.name}: ${String(error)}, behind ${this.#written}`;
      witness.note(this.name, this.#raw.isClosed ? "CLOSED" : `STUCK ${String(error)}`);
      this.destroy();
      return undefined;
    }
  }

  /**
   * In a transaction that has failed, Describe may be refused by a server that has to parse the statement first
   * (docs/semantics.md), before a Bind would be: what it is answered otherwise is left out, and so is the refusal.
   */
  #tell(witness: Witness, message: BackendMessage): void {
    if (this.#inFailedTransaction) {
      const { kind } = message;
      if (kind === "ParameterDescription" || kind === "NoData") return;
      if (kind === "ErrorResponse" && message.fields.code === "25P02") return;
    }
    witness.message(this.name, message);
  }

  /** `$me` is the number of the client. */
  #own(message: FrontendMessage): FrontendMessage {
    if (!("sql" in message)) return message;
    return { ...message, sql: message.sql.replaceAll("$me", String(this.#number)) };
  }
}

function textOf(message: FrontendMessage): string {
  switch (message.kind) {
    case "Query":
      return `Query ${message.sql}`;
    case "Parse":
      return `Parse ${message.name}: ${message.sql}`;
    case "Bind":
      return `Bind ${message.statement} as ${message.portal}`;
    case "Execute":
      return `Execute ${message.portal}${message.maxRows > 0 ? ` ${message.maxRows} rows` : ""}`;
    case "Describe":
    case "Close":
      return `${message.kind} ${message.target} ${message.name}`;
    default:
      return message.kind;
  }
}
