/** A pooler under test: made from a configuration in a few words, with everything it logs kept as text. */
import { pino } from "pino";
import { expect } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { checkConfig } from "../../src/config/load.ts";
import type { LabNode } from "../../src/lab/index.ts";
import { Pooler } from "../../src/server/app.ts";
import type { BackendMessage, ErrorFields } from "../../src/wire/index.ts";
import { RawClient, type RawSession, type RawStartup, rawClient } from "../kit/raw-client.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";

type Table = Readonly<Record<string, unknown>>;

/** The tables of a config file. A node is named `main`; without a table all databases of it can be reached. */
export interface TestConfig {
  /** [pgsluice]: any free port and auth_type trust unless it says otherwise. */
  readonly settings?: Table;
  /** [nodes.main]: a lab's node, or settings of one's own. */
  readonly node: LabNode | Table;
  readonly databases?: Readonly<Record<string, Table>>;
  readonly users?: Readonly<Record<string, Table>>;
  /** Further secrets that must not be logged: those of files, and those that clients send. */
  readonly secrets?: readonly string[];
}

export async function startPooler(config: TestConfig, clock?: Clock): Promise<TestPooler> {
  const lines: string[] = [];
  const logger = pino({ level: "trace", base: null }, { write: (line: string) => void lines.push(line) });
  const watched = new WatchedClock(clock ?? systemClock);
  const pooler = await Pooler.start(checked(config), { logger, clock: watched });
  return new TestPooler(pooler, lines, secretsIn(config), watched);
}

export class TestPooler {
  readonly pooler: Pooler;
  readonly #lines: string[];
  readonly #secrets: string[];
  readonly #clock: WatchedClock;

  constructor(pooler: Pooler, lines: string[], secrets: string[], clock: WatchedClock) {
    this.pooler = pooler;
    this.#lines = lines;
    this.#secrets = secrets;
    this.#clock = clock;
  }

  /**
   * Resolves when the pooler has looked at the time and done all that was due. Nothing else may happen
   * meanwhile, because then the time is looked at too.
   */
  async untilTicked(): Promise<void> {
    // Twice, because the first look may be the end of what happened just before.
    for (let turn = 0; turn < 2; turn++) {
      const before = this.#clock.looks;
      await waitUntil(() => this.#clock.looks > before, "the time is looked at");
    }
  }

  get port(): number {
    return this.pooler.address.port;
  }

  /** Everything logged so far, one JSON object a line. */
  get log(): string {
    return this.#lines.join("");
  }

  reload(config: TestConfig): Promise<void> {
    this.#secrets.push(...secretsIn(config));
    return this.pooler.reload(checked(config));
  }

  /** Connects, and sends nothing yet. */
  open(): Promise<RawClient> {
    return rawClient(this.port);
  }

  /** A client that is logged in, and what its login brought. */
  async login(options: RawStartup = {}): Promise<{ client: RawClient; session: RawSession }> {
    const client = await this.open();
    return { client, session: await client.startup(options) };
  }

  /** The refusal of a login that is expected to fail: the last thing the client is told. */
  async refusal(options: RawStartup = {}): Promise<ErrorFields> {
    const client = await this.open();
    let refused: unknown;
    await client.startup(options).catch((error: unknown) => {
      refused = error;
    });
    client.destroy();
    const [, severity, code, message] = /ErrorResponse (\w+) (\w+): ([^]*)$/.exec(textOf(refused)) ?? [];
    if (code === undefined) throw new Error("the login was expected to be refused", { cause: refused });
    return { severity: severity ?? "", code, message: message ?? "" };
  }

  /** Everybody is gone, and every counter says so. */
  async untilNobodyIsLeft(): Promise<void> {
    await waitToSee(
      () => this.pooler.counts,
      ({ sessions, logins, waiting }) => sessions === 0 && logins === 0 && waiting === 0,
      "no client is counted any more",
    );
  }

  /** Closes at once. Meanwhile no mistake of the pooler's own and no secret may have got into its log. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.pooler.shutdown("immediate");
    expect(this.#lines.filter((line) => line.includes("internal error"))).toEqual([]);
    for (const secret of this.#secrets) {
      // As JSON writes it, which is how it would stand in the log.
      expect(this.log.includes(JSON.stringify(secret).slice(1, -1)), "a secret is in the log").toBe(false);
    }
  }
}

/** A clock that counts how often it is looked at. */
class WatchedClock implements Clock {
  looks = 0;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    this.looks++;
    return this.#clock.now();
  }

  wall(): number {
    return this.#clock.wall();
  }
}

/** The error that ends a connection: its last message. Everything before it must be harmless. */
export async function fatal(client: RawClient): Promise<ErrorFields> {
  const messages = await client.rest();
  return errorOf(messages.at(-1));
}

export function errorOf(message: BackendMessage | undefined): ErrorFields {
  if (message?.kind !== "ErrorResponse") throw new Error(`expected an ErrorResponse, got ${message?.kind}`);
  return message.fields;
}

/** The first value of a query. */
export async function value(client: RawClient, sql: string): Promise<string | null | undefined> {
  return (await client.rows(sql))[0]?.[0];
}

/** Sends bytes one at a time, each in a turn of its own. */
export async function sendSlowly(client: RawClient, bytes: Buffer): Promise<void> {
  for (const byte of bytes) {
    client.send(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : "";
}

function secretsIn({ databases = {}, users = {}, secrets = [] }: TestConfig): string[] {
  const passwords = [...Object.values(databases), ...Object.values(users)].map(({ password }) => password);
  return [...passwords, ...secrets].flatMap((secret) =>
    typeof secret === "string" && secret !== "" ? [secret] : [],
  );
}

function checked({ settings = {}, node, databases, users }: TestConfig): ReturnType<typeof checkConfig> {
  const main = "dataFolder" in node ? { host: node.host, port: node.port } : node;
  return checkConfig(
    {
      pgsluice: { listen_port: 0, auth_type: "trust", server_tls_sslmode: "disable", ...settings },
      nodes: { main },
      ...(databases === undefined ? {} : { databases }),
      ...(users === undefined ? {} : { users }),
    },
    "/",
  );
}
