/** Runs one script against one address, and writes down what its clients are told. */
import { ServerError, SimpleClient } from "../../../src/client/index.ts";
import type { Pooler } from "../../../src/server/app.ts";
import type { BackendMessage, FrontendMessage } from "../../../src/wire/index.ts";
import { encodeStartup } from "../../../src/wire/startup.ts";
import { ByteStream } from "../byte-stream.ts";
import { RawClient, rawCancel } from "../raw-client.ts";
import { waitUntil } from "../wait.ts";
import type { Action, Script } from "./script.ts";
import type { Transcript } from "./transcript.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
  readonly database: string;
}

export interface RunOptions {
  readonly address: Address;
  /** Connected directly to the same database: what steps of `*` use. */
  readonly direct: SimpleClient;
  /** How long a step may take before the script counts as stuck. */
  readonly stepMs: number;
  /** Which `address` is that of. */
  readonly pooler: Pooler | undefined;
}

/** A step did not come to its end. */
class StuckError extends Error {}

/** All clients have left when it resolves, or their sockets are gone. */
export async function runScript(script: Script, transcript: Transcript, options: RunOptions): Promise<void> {
  const run = new Run(transcript, options);
  try {
    for (const step of script.steps) {
      transcript.heading(step.client, step.source);
      for (const action of step.actions) await run.act(step.client, action);
    }
    await run.leave();
  } catch (error) {
    if (!(error instanceof StuckError)) throw error;
    transcript.stuck = error.message;
    transcript.note("*", `STUCK ${error.message}`);
  } finally {
    run.destroy();
  }
}

class Run {
  readonly #transcript: Transcript;
  readonly #options: RunOptions;
  readonly #clients = new Map<string, ScriptClient>();
  readonly #variables = new Map<string, string>();

  constructor(transcript: Transcript, options: RunOptions) {
    this.#transcript = transcript;
    this.#options = options;
  }

  async act(name: string, action: Action): Promise<void> {
    if (action.kind === "run") return await this.#runDirectly(this.#filled(action.sql));
    if (action.kind === "until") return await this.#until(this.#filled(action.sql));
    if (action.kind === "connect") {
      this.#clients.set(name, await this.#connect(name, action.parameters));
      return;
    }
    const client = this.#clients.get(name) ?? (await this.#connect(name, []));
    this.#clients.set(name, client);
    if (action.kind === "save") {
      const value = await client.firstValue();
      this.#variables.set(action.variable, value);
      this.#transcript.names.save(action.variable, value);
    } else if (action.kind === "message") {
      client.add(this.#filledMessage(action.message));
    } else {
      await client.act(action);
    }
  }

  /** Everybody says goodbye, in the order of coming; what was not read yet is written down. */
  async leave(): Promise<void> {
    for (const [name, client] of this.#clients) {
      if (client.gone) continue;
      this.#transcript.heading(name, "(the end)");
      await client.act({ kind: "terminate" });
    }
  }

  destroy(): void {
    for (const client of this.#clients.values()) client.destroy();
  }

  async #connect(name: string, parameters: readonly (readonly [string, string])[]): Promise<ScriptClient> {
    const filled = parameters.map(([key, value]) => [key, this.#filled(value)] as const);
    const client = await ScriptClient.connect(name, this.#transcript, this.#options, filled);
    this.#variables.set(`${name}.pid`, String(client.pid));
    return client;
  }

  async #runDirectly(sql: string): Promise<void> {
    try {
      const { tags } = await this.#options.direct.query(sql);
      this.#transcript.note("*", tags.join(", "));
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      this.#transcript.note("*", error.message);
    }
  }

  async #until(sql: string): Promise<void> {
    const { direct, stepMs } = this.#options;
    const holds = async (): Promise<boolean> => (await direct.query(sql)).rows[0]?.[0] === "t";
    await waitUntil(holds, sql, stepMs).catch((error: unknown) => {
      throw new StuckError((error as Error).message);
    });
  }

  #filled(text: string): string {
    return text.replace(
      /\{([a-z]\w*(?:\.pid)?)\}/g,
      (whole, name: string) => this.#variables.get(name) ?? whole,
    );
  }

  #filledMessage(message: FrontendMessage): FrontendMessage {
    if (message.kind === "Query" || message.kind === "Parse") {
      return { ...message, sql: this.#filled(message.sql) };
    }
    if (message.kind === "Bind") {
      const values = message.values.map(
        (value) => value && Buffer.from(this.#filled(value.toString("latin1")), "latin1"),
      );
      return { ...message, values };
    }
    return message;
  }
}

const startsAnswer: ReadonlySet<string> = new Set(["Parse", "Bind", "Describe", "Execute", "Close"]);
const endsAnswer: ReadonlySet<string> = new Set([
  "ParseComplete",
  "BindComplete",
  "CloseComplete",
  "RowDescription",
  "NoData",
  "CommandComplete",
  "EmptyQueryResponse",
  "PortalSuspended",
  "CopyInResponse",
]);
const asksReady: ReadonlySet<string> = new Set(["Query", "Sync", "FunctionCall"]);

/** One client: what it has not sent yet, what it is owed, and what it reads. */
class ScriptClient {
  pid = 0;
  gone = false;
  readonly #name: string;
  readonly #raw: RawClient;
  readonly #transcript: Transcript;
  readonly #options: RunOptions;
  #unsent: FrontendMessage[] = [];
  #readyOwed = 0;
  /** Answers to extended messages since the last Sync. */
  #answersOwed = 0;
  #key: Buffer = Buffer.alloc(0);

  private constructor(name: string, raw: RawClient, transcript: Transcript, options: RunOptions) {
    this.#name = name;
    this.#raw = raw;
    this.#transcript = transcript;
    this.#options = options;
  }

  /** Writes down the login, too; also one that is refused. `database`, `user` and `version` are not parameters like others. */
  static async connect(
    name: string,
    transcript: Transcript,
    options: RunOptions,
    parameters: readonly (readonly [string, string])[],
  ): Promise<ScriptClient> {
    const raw = new RawClient(await ByteStream.connect(options.address));
    const client = new ScriptClient(name, raw, transcript, options);
    const { version = "3.0", ...named } = {
      user: "postgres",
      database: options.address.database,
      ...(Object.fromEntries(parameters) as { version?: string }),
    };
    raw.send(encodeStartup(version === "3.2" ? 196_610 : 196_608, Object.entries(named)));
    client.#readyOwed = 1;
    await client.act({ kind: "ready", count: undefined });
    return client;
  }

  add(message: FrontendMessage): void {
    this.#unsent.push(message);
  }

  async act(
    action: Exclude<Action, { kind: "connect" | "until" | "run" | "save" | "message" }>,
  ): Promise<void> {
    switch (action.kind) {
      case "send":
        this.#send();
        return;
      case "ready":
        this.#send();
        for (let left = action.count ?? this.#readyOwed; left > 0 && !this.gone; left--)
          await this.#readTo("ReadyForQuery");
        return;
      case "flush":
        this.#unsent.push({ kind: "Flush" });
        this.#send();
        while (this.#answersOwed > 0 && !this.gone) await this.#read("the answers before Flush");
        return;
      case "wait":
        this.#send();
        for (let left = action.count; left > 0 && !this.gone; left--) await this.#readTo(action.for);
        return;
      case "copyIn":
        this.#send();
        await this.#copyIn(action.data);
        return;
      case "cancel":
        await rawCancel(this.#options.address, { pid: this.pid, key: this.#key });
        return;
      case "closed":
        this.#send();
        while (!this.gone) await this.#read("the end of the connection");
        return;
      case "terminate":
        this.#unsent.push({ kind: "Terminate" });
        this.#send();
        this.#raw.stream.end();
        while (!this.gone) await this.#read("the end of the connection");
        return;
      case "vanish":
        this.gone = true;
        this.destroy();
    }
  }

  async firstValue(): Promise<string> {
    this.#send();
    for (;;) {
      const message = await this.#read("DataRow");
      if (message?.kind === "DataRow") return message.values[0]?.toString() ?? "";
      if (message === undefined || message.kind === "ReadyForQuery") return "";
    }
  }

  destroy(): void {
    this.#raw.destroy();
  }

  #send(): void {
    for (const { kind } of this.#unsent) {
      if (startsAnswer.has(kind)) this.#answersOwed++;
      if (asksReady.has(kind)) this.#readyOwed++;
    }
    if (this.#unsent.length > 0 && !this.gone) this.#raw.send(...this.#unsent);
    this.#unsent = [];
  }

  async #copyIn(data: string): Promise<void> {
    for (;;) {
      const message = await this.#read("CopyInResponse");
      if (message === undefined || message.kind === "ReadyForQuery") return;
      if (message.kind === "CopyInResponse") break;
    }
    this.#raw.send({ kind: "CopyData", data: Buffer.from(data) }, { kind: "CopyDone" });
  }

  /** A message of this kind, ReadyForQuery where none is owed any more, or undefined at the end. */
  async #readTo(kind: BackendMessage["kind"]): Promise<BackendMessage | undefined> {
    for (;;) {
      const message = await this.#read(kind);
      if (message === undefined || message.kind === kind) return message;
    }
  }

  /** Reads and writes down one message; undefined at the end of the connection. */
  async #read(what: string): Promise<BackendMessage | undefined> {
    let message: BackendMessage;
    try {
      message = await this.#raw.next(what, this.#options.stepMs);
    } catch (error) {
      if (!this.#raw.isClosed) throw new StuckError(`${this.#name}: ${(error as Error).message}`);
      if (this.#raw.stream.available > 0) this.#transcript.note(this.#name, "half a message");
      this.#transcript.note(this.#name, "CLOSED");
      this.gone = true;
      return undefined;
    }
    this.#transcript.message(this.#name, message);
    this.#account(message);
    return message;
  }

  #account(message: BackendMessage): void {
    if (message.kind === "BackendKeyData") {
      this.pid = message.pid;
      this.#key = Buffer.from(message.key);
    } else if (message.kind === "ReadyForQuery") {
      this.#readyOwed = Math.max(0, this.#readyOwed - 1);
      this.#answersOwed = 0;
    } else if (message.kind === "ErrorResponse") {
      this.#answersOwed = 0;
    } else if (endsAnswer.has(message.kind)) {
      this.#answersOwed--;
    }
  }
}
