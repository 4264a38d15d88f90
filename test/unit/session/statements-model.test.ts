/**
 * Clients that share servers see what each would see on a server of its own: two clients, two servers, any
 * messages in any order, replies that come at any time.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { StatementRegistry } from "../../../src/pool/prepared.ts";
import {
  bindComplete,
  closeComplete,
  complete,
  failure,
  fakeServer,
  parseComplete,
  ready,
  row,
} from "../pool/fakes.ts";
import * as messages from "./statements-client.ts";
import { StatementsClient, split, strings } from "./statements-client.ts";

/** A server as far as prepared statements go (prepare.c, postgres.c); `select` answers with its text. */
class PreparedModel {
  readonly named = new Map<string, string>();
  #unnamed: string | undefined;
  #portal: string | undefined;
  #skipping = false;

  receive(message: Buffer): Buffer[] {
    const letter = String.fromCharCode(message[0] as number);
    if (letter === "S") {
      this.#skipping = false;
      this.#portal = undefined;
      return [ready()];
    }
    if (this.#skipping) return [];
    if (letter === "Q") return [...this.#run(strings(message, 1)[0] as string, true), ready()];
    const replies = this.#extended(letter, message);
    this.#skipping = replies.some((reply) => reply[0] === 0x45);
    return replies;
  }

  #extended(letter: string, message: Buffer): Buffer[] {
    switch (letter) {
      case "P":
        return this.#parse(...(strings(message, 2) as [string, string]));
      case "B": {
        const name = strings(message, 2)[1] as string;
        this.#portal = this.#find(name);
        return this.#portal === undefined ? [missing(name)] : [bindComplete];
      }
      case "D": {
        const name = strings(message, 1, 6)[0] as string;
        const sql = this.#find(name);
        return sql === undefined ? [missing(name)] : [row(sql.slice(0, 20))].map(asNoData);
      }
      case "E":
        return this.#portal === undefined ? [failure("34000")] : this.#run(this.#portal, false);
      default: {
        const name = strings(message, 1, 6)[0] as string;
        if (name === "") this.#unnamed = undefined;
        this.named.delete(name);
        return [closeComplete];
      }
    }
  }

  #parse(name: string, sql: string): Buffer[] {
    if (name === "") this.#unnamed = undefined;
    if (sql === "bad") return [failure("42601")];
    if (name === "") this.#unnamed = sql;
    else if (this.named.has(name)) return [failure("42P05", `prepared statement "${name}" already exists`)];
    else this.named.set(name, sql);
    return [parseComplete];
  }

  #run(sql: string, simple: boolean): Buffer[] {
    if (simple) this.#unnamed = undefined;
    if (sql === "bad" || sql === "select 1/0") return [failure("22012")];
    if (sql !== "deallocate all") return [row(sql), complete("SELECT 1")];
    this.named.clear();
    return [complete("DEALLOCATE ALL")];
  }

  #find(name: string): string | undefined {
    return name === "" ? this.#unnamed : this.named.get(name);
  }
}

/** NoData tells one statement from another no more than a server does. */
const asNoData = (): Buffer => Buffer.from([0x6e, 0, 0, 0, 4]);
const missing = (name: string): Buffer => failure("26000", `prepared statement "${name}" does not exist`);

type Shared = ReturnType<typeof fakeServer> & {
  readonly model: PreparedModel;
  holder: PooledClient | undefined;
};

/** One client and how it would fare alone. */
class PooledClient extends StatementsClient {
  readonly alone = new PreparedModel();
  readonly expected: Buffer[] = [];
  readonly waiting: Buffer[] = [];
  server: Shared | undefined;
}

class Pooling {
  readonly registry = new StatementRegistry();
  readonly clients = [new PooledClient(this.registry), new PooledClient(this.registry)];
  readonly servers: Shared[];
  readonly #preparedMax: number;

  constructor(preparedMax: number) {
    this.#preparedMax = preparedMax;
    this.servers = [0, 1].map(() => ({
      ...fakeServer({ preparedMax }),
      model: new PreparedModel(),
      holder: undefined,
    }));
  }

  /** The client sends; what has to wait makes it wait, as a session does. */
  send(client: PooledClient, message: Buffer, preferred: number): void {
    client.expected.push(...client.alone.receive(message));
    client.waiting.push(message);
    this.#advance(client, preferred);
  }

  #advance(client: PooledClient, preferred: number): void {
    for (;;) {
      const message = client.waiting[0];
      if (message === undefined || client.mustWait(message)) return;
      client.waiting.shift();
      if (client.server === undefined) {
        const free = this.servers.filter(({ holder }) => holder === undefined);
        client.server = free[preferred % free.length] as Shared; // two clients, two servers
        client.server.holder = client;
      }
      client.send(client.server.server, message);
    }
  }

  /** A server reads and answers all that was sent to it, in chunks of so many replies. */
  answer(shared: Shared, repliesAtOnce: number): void {
    const replies = split(shared.transport.takeWritten()).flatMap((message) => shared.model.receive(message));
    for (let i = 0; i < replies.length; i += repliesAtOnce) {
      shared.server.onData(Buffer.concat(replies.slice(i, i + repliesAtOnce)));
    }
    const { holder } = shared;
    if (shared.server.clean && holder !== undefined) {
      this.#check(shared);
      shared.server.owner = undefined;
      shared.holder = undefined;
      holder.server = undefined;
    }
    if (holder !== undefined) this.#advance(holder, 0);
  }

  /** Our notes of what a server holds are what it holds. */
  #check({ server, model }: Shared): void {
    if (server.closeReason !== undefined) return;
    expect([...server.prepared.keys()].sort()).toEqual([...model.named.keys()].sort());
    expect(model.named.size).toBeLessThanOrEqual(this.#preparedMax);
  }

  finish(): void {
    for (const client of this.clients) this.send(client, messages.sync, 0);
    for (let turn = 0; turn < 200; turn++) {
      for (const shared of this.servers) this.answer(shared, 3);
      for (const client of this.clients) this.#advance(client, turn);
    }
  }
}

const names = fc.constantFrom("a", "b", "c", "");
const sqls = fc.constantFrom("select 1", "select 2", "select 3", "select 4", "select 1/0", "bad");
const step = fc.oneof(
  fc.tuple(names, sqls).map(([name, sql]) => [messages.parse(name, sql)]),
  fc
    .tuple(names, sqls)
    .map(([name, sql]) => [messages.parse(name, sql), messages.bind(name), messages.execute]),
  names.map((name) => [messages.bind(name), messages.execute]),
  names.map((name) => [messages.describeStatement(name)]),
  names.map((name) => [messages.closeStatement(name)]),
  // Not in the middle of a batch: whether a Query was skipped is not followed up.
  fc.constantFrom("select 5", "deallocate all", "bad").map((sql) => [messages.sync, messages.query(sql)]),
  fc.constant([messages.sync]),
  fc.constant([messages.sync]),
);

/** A Close of the unnamed statement behind an error, and a Bind in the next batch, before the replies are in. */
const closeThatIsSkipped = [
  [messages.parse("", "select 1")],
  [messages.parse("a", "bad")],
  [messages.closeStatement("")],
  [messages.sync],
  [messages.bind(""), messages.execute],
].map((step) => ({ step, client: 0, server: 0, answers: [] }));

/** Two changes of the unnamed statement behind an error, on a server that has none, and a Bind in the next batch. */
const changesThatAreSkipped = [
  { step: [messages.parse("", "select 1"), messages.sync], server: 0, answers: [[0, 5]] },
  { step: [messages.execute, messages.closeStatement(""), messages.parse("", "select 2")], server: 1 },
  { step: [messages.sync, messages.bind(""), messages.execute], server: 1 },
].map(({ step, server, answers = [] }) => ({
  step,
  client: 0,
  server,
  answers: answers as [number, number][],
}));

test("what clients of shared servers see is what each would see alone", () => {
  const turn = fc.record({
    step,
    client: fc.nat(1),
    server: fc.nat(1),
    answers: fc.array(fc.tuple(fc.nat(1), fc.integer({ min: 1, max: 5 })), { maxLength: 2 }),
  });
  let kept = 0;
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 50 }), fc.integer({ min: 1, max: 4 }), (turns, preparedMax) => {
      const pooling = new Pooling(preparedMax);
      for (const { step, client, server, answers } of turns) {
        for (const message of step) pooling.send(pooling.clients[client] as PooledClient, message, server);
        for (const [which, count] of answers) pooling.answer(pooling.servers[which] as Shared, count);
      }
      pooling.finish();
      // Where our notes were in doubt, the pool closes the server; there is no pool here to do that.
      if (pooling.servers.some(({ server }) => server.closeReason !== undefined)) return;
      kept++;
      for (const client of pooling.clients) {
        expect(client.takeReplies().toString("latin1")).toBe(
          Buffer.concat(client.expected).toString("latin1"),
        );
        expect(client.server).toBeUndefined();
        client.statements.end();
      }
      expect(pooling.registry.size).toBe(0);
    }),
    {
      numRuns: 2000,
      examples: [
        [closeThatIsSkipped, 1],
        [changesThatAreSkipped, 1],
      ],
    },
  );
  expect(kept).toBeGreaterThan(1500);
});
