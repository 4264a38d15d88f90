/**
 * The raw client of the conformance suite: what it is answered it shows as a trace, in which everything that
 * differs between runs (OIDs, process ids, places in the server's source) is masked.
 */
import { encodeBackend } from "../../../src/wire/encode-backend.ts";
import { type BackendMessage, type FrontendMessage, Tracer } from "../../../src/wire/index.ts";
import { ByteStream } from "../../kit/byte-stream.ts";
import { RawClient, type RawSession } from "../../kit/raw-client.ts";
import type { Target } from "./place.ts";

export class TraceClient extends RawClient {
  /** As last reported. */
  readonly parameters: Map<string, string> = new Map();
  readonly #tracer = new Tracer({ regress: true });
  #session: RawSession | undefined;

  /** Connects and logs in; `extra` are further startup parameters. */
  static async connect(
    target: Target,
    extra: readonly (readonly [string, string])[] = [],
    version = 196_608,
  ): Promise<TraceClient> {
    const client = new TraceClient(await ByteStream.connect(target));
    const { user, database } = target;
    client.#session = await client.startup({ user, database, version, parameters: extra });
    return client;
  }

  /** What the login brought. */
  get session(): RawSession {
    if (this.#session === undefined) throw new Error("it has not logged in");
    return this.#session;
  }

  override async next(what?: string, timeoutMs?: number): Promise<BackendMessage> {
    const message = await super.next(what, timeoutMs);
    if (message.kind === "ParameterStatus") this.parameters.set(message.name, message.value);
    return message;
  }

  /** The trace of everything up to and including the `count`th ReadyForQuery. */
  async untilReady(count = 1): Promise<string> {
    let trace = "";
    for (let left = count; left > 0; ) {
      const message = await this.next(`${left} times ReadyForQuery after\n${trace}`);
      trace += this.trace(message);
      if (message.kind === "ReadyForQuery") left--;
    }
    return trace;
  }

  /** Sends messages in one write and returns the trace of the answer, to as many ReadyForQuery as they ask for. */
  async ask(...messages: readonly FrontendMessage[]): Promise<string> {
    this.send(...messages);
    const asked = messages.filter(({ kind }) => ["Query", "Sync", "FunctionCall"].includes(kind)).length;
    return this.untilReady(asked);
  }

  /** The one value of a simple query. */
  async value(sql: string): Promise<string | null | undefined> {
    return (await this.rows(sql))[0]?.[0];
  }

  trace(message: BackendMessage): string {
    return this.#tracer.backend(encodeBackend(message));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Logs in, runs `use` and says goodbye. */
export async function withClient<T>(
  target: Target,
  use: (client: TraceClient) => Promise<T>,
  extra: readonly (readonly [string, string])[] = [],
): Promise<T> {
  await using client = await TraceClient.connect(target, extra);
  const result = await use(client);
  return result;
}

// ---- messages in few words ----

export const sync: FrontendMessage = { kind: "Sync" };
export const flush: FrontendMessage = { kind: "Flush" };
export const copyDone: FrontendMessage = { kind: "CopyDone" };

export function query(sql: string): FrontendMessage {
  return { kind: "Query", sql };
}

export function parse(name: string, sql: string, types: readonly number[] = []): FrontendMessage {
  return { kind: "Parse", name, sql, types };
}

/** Binds text values; `null` is NULL. */
export function bind(
  statement: string,
  values: readonly (string | null)[] = [],
  portal = "",
): FrontendMessage {
  return {
    kind: "Bind",
    portal,
    statement,
    formats: [],
    values: values.map((value) => (value === null ? null : Buffer.from(value))),
    resultFormats: [],
  };
}

export function describeStatement(name: string): FrontendMessage {
  return { kind: "Describe", target: "statement", name };
}

export function describePortal(name = ""): FrontendMessage {
  return { kind: "Describe", target: "portal", name };
}

export function execute(portal = "", maxRows = 0): FrontendMessage {
  return { kind: "Execute", portal, maxRows };
}

export function closeStatement(name: string): FrontendMessage {
  return { kind: "Close", target: "statement", name };
}

export function closePortal(name = ""): FrontendMessage {
  return { kind: "Close", target: "portal", name };
}

/** Parse, Bind, Describe and Execute of the unnamed statement; Sync is left to the caller. */
export function unnamed(sql: string, values: readonly (string | null)[] = []): FrontendMessage[] {
  return [parse("", sql), bind("", values), describePortal(), execute()];
}

/** Bind and Execute of a named statement. */
export function run(statement: string, values: readonly (string | null)[] = []): FrontendMessage[] {
  return [bind(statement, values), execute()];
}

export function copyData(data: string | Buffer): FrontendMessage {
  return { kind: "CopyData", data: Buffer.from(data) };
}
