/**
 * Servers that break the protocol, by malice or by mistake: whoever works on one is told and closed, or gets
 * another server; nothing of it reaches the next client, and clients of other servers do not notice.
 */
import { describe, expect, test } from "vitest";
import type { Logger } from "../../src/base/log.ts";
import { checkConfig } from "../../src/config/load.ts";
import { Pooler } from "../../src/server/app.ts";
import { encodeBackend } from "../../src/wire/encode-backend.ts";
import type { BackendMessage } from "../../src/wire/messages.ts";
import { useLab } from "../kit/lab.ts";
import { type RawClient, rawCancel, rawClient } from "../kit/raw-client.ts";
import { type Script, type ScriptedPeer, ScriptedServer } from "../kit/scripted-server.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";
import { Bystander } from "./hostile-pooler.ts";

const pg = useLab();

const ready: BackendMessage = { kind: "ReadyForQuery", status: 0x49 };
const done: BackendMessage = { kind: "CommandComplete", tag: "SELECT 1" };
const megabyte = 1024 * 1024;

/** A message with any letter, any body and any length word. */
function message(letter: string, body: Buffer | string = "", length?: number): Buffer {
  const bytes = Buffer.from(body as string, "latin1");
  const header = Buffer.alloc(5);
  header.write(letter, "latin1");
  header.writeUInt32BE((length ?? bytes.length + 4) >>> 0, 1);
  return Buffer.concat([header, bytes]);
}

function failure(severity: string, code: string, text: string): BackendMessage {
  return { kind: "ErrorResponse", fields: { severity, severityLocalized: severity, code, message: text } };
}

/** Answers every query with one row that says where it comes from. */
const honest: Script = async (peer) => {
  await peer.expectStartup("startup");
  peer.welcome();
  await answerHonestly(peer);
};

async function answerHonestly(peer: ScriptedPeer): Promise<void> {
  for (;;) {
    const next = await peer.next("a query", 60_000).catch(() => undefined);
    if (next?.kind !== "Query") return;
    peer.send({ kind: "DataRow", values: [Buffer.from("honest")] }, done, ready);
  }
}

/** After a login as it should be. */
function afterLogin(act: (peer: ScriptedPeer) => Promise<void> | void): Script {
  return async (peer) => {
    await peer.expectStartup("startup");
    peer.welcome();
    await act(peer);
    await peer.stream.closed;
  };
}

/** In place of the answer to the first query. */
function inReply(...items: (BackendMessage | Buffer)[]): Script {
  return afterLogin(async (peer) => {
    await peer.expect("Query");
    peer.send(...items);
  });
}

/** Sends the same until nobody takes it any more. */
async function endless(peer: ScriptedPeer, item: (turn: number) => BackendMessage | Buffer): Promise<void> {
  for (let turn = 0; !peer.stream.isClosed; turn++) {
    peer.send(...Array.from({ length: 100 }, (_, index) => item(100 * turn + index)));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A pooler with an honest PostgreSQL, and the servers of scripts behind the database `evil`. */
class Between implements AsyncDisposable {
  readonly pooler: Pooler;
  readonly upstream: ScriptedServer;
  readonly bystander: Bystander;
  readonly #errors: unknown[];

  private constructor(pooler: Pooler, upstream: ScriptedServer, bystander: Bystander, errors: unknown[]) {
    this.pooler = pooler;
    this.upstream = upstream;
    this.bystander = bystander;
    this.#errors = errors;
  }

  static async start(scripts: Script[], settings: Readonly<Record<string, unknown>> = {}): Promise<Between> {
    const upstream = await ScriptedServer.start(scripts);
    const { host, port } = pg.lab.primary;
    const config = checkConfig(
      {
        pgsluice: {
          listen_port: 0,
          auth_type: "trust",
          pool_mode: "transaction",
          server_tls_sslmode: "disable",
          default_pool_size: 1,
          server_connect_timeout: 1,
          server_login_retry: 0.2,
          ...settings,
        },
        nodes: { main: { host, port }, evil: { host: "127.0.0.1", port: upstream.port } },
        databases: { "*": { node: "main" }, evil: { node: "evil" } },
      },
      process.cwd(),
    );
    const errors: unknown[] = [];
    const ignore = (): void => undefined;
    const logger: Logger = {
      debug: ignore,
      info: ignore,
      warn: ignore,
      error: (...line) => errors.push(line),
    };
    const pooler = await Pooler.start(config, { logger });
    return new Between(pooler, upstream, await Bystander.start(pooler.address), errors);
  }

  /** Logs in behind the scripts. */
  async connect(): Promise<RawClient> {
    const client = await rawClient(this.pooler.address);
    await client.startup({ database: "evil" });
    return client;
  }

  /** Tries until the failed login is forgiven. */
  async untilHonest(): Promise<void> {
    await waitToSee(
      async () => {
        try {
          using client = await this.connect();
          return (await client.rows("select"))[0]?.[0];
        } catch (error) {
          return error;
        }
      },
      (seen) => seen === "honest",
      "an honest server serves its clients",
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bystander.works();
    await this.bystander[Symbol.asyncDispose]();
    await waitUntil(() => {
      const { sessions, logins, waiting } = this.pooler.counts;
      return sessions === 0 && logins === 0 && waiting === 0;
    }, "nobody is left");
    await this.pooler.shutdown("immediate");
    await this.upstream.stop();
    expect(this.#errors).toEqual([]);
  }
}

describe("while the pooler logs in", () => {
  const cases: readonly (readonly [what: string, script: Script])[] = [
    ["is closed at once", () => Promise.resolve()],
    ["is closed after the startup packet", async (peer) => void (await peer.expectStartup("startup"))],
    [
      "is closed after AuthenticationOk",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send({ kind: "AuthenticationOk" });
      },
    ],
    [
      "is closed in the middle of a message",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send({ kind: "AuthenticationOk" }, message("S", "half", 100));
      },
    ],
    [
      "is silent",
      async (peer) => {
        await peer.expectStartup("startup");
        await peer.stream.closed;
      },
    ],
    ["speaks HTTP", async (peer) => peer.send(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"))],
    ["sends zeros", async (peer) => peer.send(Buffer.alloc(100_000))],
    [
      "claims 2 GB of authentication",
      async (peer) => {
        peer.send(message("R", "", 0x7fff_ffff));
        await peer.stream.closed;
      },
    ],
    ["claims less than nothing", async (peer) => peer.send(message("R", "", 0))],
    ["asks for a method that nobody knows", async (peer) => peer.send(message("R", "\0\0\0\x63"))],
    ["is ready before anybody has logged in", async (peer) => peer.send(ready)],
    [
      "sends rows before anybody has asked",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send({ kind: "AuthenticationOk" }, { kind: "DataRow", values: [] }, ready);
      },
    ],
    [
      "sends an error without an end",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send(message("E", "SFATAL\0C08006\0Mno end"));
      },
    ],
    [
      "claims an error of 1 GB",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send(message("E", "SFATAL", 0x3fff_0000));
        await peer.stream.closed;
      },
    ],
    [
      "has notices without end",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send({ kind: "AuthenticationOk" });
        const fields = {
          severity: "NOTICE",
          severityLocalized: "NOTICE",
          code: "00000",
          message: "x".repeat(1000),
        };
        await endless(peer, () => ({ kind: "NoticeResponse", fields }));
      },
    ],
    [
      "has parameters without end",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send({ kind: "AuthenticationOk" });
        await endless(peer, (turn) => ({
          kind: "ParameterStatus",
          name: `parameter ${turn}`,
          value: "x".repeat(1000),
        }));
      },
    ],
    [
      "sends half a message behind its login",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send({ kind: "AuthenticationOk" }, ready, message("S", "half", 100));
        await peer.stream.closed;
      },
    ],
    [
      "sends an answer to nothing behind its login",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send({ kind: "AuthenticationOk" }, ready, done, ready);
        await peer.stream.closed;
      },
    ],
    [
      "says goodbye behind its login",
      async (peer) => {
        await peer.expectStartup("startup");
        peer.send({ kind: "AuthenticationOk" }, ready, failure("FATAL", "57P01", "going away"));
        await peer.stream.closed;
      },
    ],
  ];

  test.each(cases)(
    "a server that %s is no server; the client is told, and the next one is served",
    async (_, script) => {
      await using between = await Between.start([script, honest]);
      using client = await rawClient(between.pooler.address);
      client.sendStartup({ database: "evil" });
      const last = (await client.rest()).at(-1);
      expect(last).toMatchObject({ kind: "ErrorResponse", fields: { severity: "FATAL" } });
      await between.untilHonest();
    },
  );

  test("nobody waits, and still half a message behind a login is no reason to fail", async () => {
    let broken = 0;
    const script: Script = async (peer) => {
      await peer.expectStartup("startup");
      broken++;
      peer.send({ kind: "AuthenticationOk" }, ready, message("S", "half", 100));
      await peer.stream.closed;
    };
    await using between = await Between.start([honest, script, script, honest], {
      min_pool_size: 3,
      default_pool_size: 3,
    });
    using client = await between.connect();
    await waitUntil(() => broken === 2, "the minimum is filled up with such servers");
    expect(await client.rows("select")).toEqual([["honest"]]);
  });

  test("a server without a cancel key serves; cancel requests have no effect", async () => {
    const script: Script = async (peer) => {
      await peer.expectStartup("startup");
      peer.send({ kind: "AuthenticationOk" }, ready);
      await peer.expect("Query");
      await peer.expectStartup("cancel").catch(() => undefined);
    };
    await using between = await Between.start([script, honest]);
    using client = await rawClient(between.pooler.address);
    const session = await client.startup({ database: "evil" });
    client.send({ kind: "Query", sql: "select" });
    await waitUntil(() => between.upstream.peers[0]?.stream.available === 0, "the query has come");
    await rawCancel(between.pooler.address, session);
    expect(between.upstream.accepted).toBe(1);
    client.destroy();
  });
});

describe("in reply to a query", () => {
  const row: BackendMessage = { kind: "DataRow", values: [Buffer.from("evil")] };
  const cases: readonly (readonly [what: string, items: (BackendMessage | Buffer)[]])[] = [
    ["ParseComplete", [{ kind: "ParseComplete" }]],
    ["a request for a password", [{ kind: "AuthenticationCleartextPassword" }]],
    ["AuthenticationOk", [{ kind: "AuthenticationOk" }]],
    ["another cancel key", [{ kind: "BackendKeyData", pid: 1, key: Buffer.from("evil") }]],
    ["a letter that nobody knows", [message("?", "what")]],
    ["zeros", [Buffer.alloc(1000)]],
    ["a length below 4", [message("D", "", 3)]],
    ["a length of 4 GB", [message("D", "", 0xffff_ffff)]],
    ["2 GB of a row", [message("D", "", 0x7fff_ffff)]],
    ["1 MB of ReadyForQuery", [message("Z", "I", megabyte)]],
    ["ReadyForQuery without a status", [message("Z")]],
    ["an error without an end", [message("E", "SERROR\0C42601\0Mno end")]],
    ["a parameter without an end", [message("S", "client_encoding\0UTF8")]],
    ["a parameter of 2 MB", [message("S", "", 2 * megabyte)]],
    [
      "more parameters than any server has",
      Array.from(
        { length: 2000 },
        (_, index): BackendMessage => ({ kind: "ParameterStatus", name: `p${index}`, value: "" }),
      ),
    ],
  ];

  test.each(cases)(
    "%s: the client is told and closed, the next one gets another server",
    async (_, items) => {
      await using between = await Between.start([inReply(...items), honest]);
      using client = await between.connect();
      client.send({ kind: "Query", sql: "select" });
      const messages = await client.rest();
      expect(messages.at(-1)).toMatchObject({
        kind: "ErrorResponse",
        fields: { severity: "FATAL", code: "08P01" },
      });
      expect(messages.filter(({ kind }) => kind === "ErrorResponse").length).toBe(1);
      await between.untilHonest();
    },
  );

  test.each([
    ["nothing", []],
    ["half a row, in its head", [message("D", "\0\x01").subarray(0, 3)]],
    ["rows", [row, row]],
    ["the end of the command", [row, done]],
  ])("%s and then a close: the client is told", async (_, items) => {
    const script = afterLogin(async (peer) => {
      await peer.expect("Query");
      peer.send(...items);
      peer.stream.end();
    });
    await using between = await Between.start([script, honest]);
    using client = await between.connect();
    client.send({ kind: "Query", sql: "select" });
    const last = (await client.rest()).at(-1);
    expect(last).toMatchObject({
      kind: "ErrorResponse",
      fields: { severity: "FATAL", code: "08006", message: "server conn crashed?" },
    });
    await between.untilHonest();
  });

  test("a row that breaks off is not completed with anything else", async () => {
    const part = Buffer.concat([
      message("D", Buffer.from([0, 1, 0, 1, 0, 0]), 65_546),
      Buffer.alloc(65_500, "x"),
    ]);
    const script = afterLogin(async (peer) => {
      await peer.expect("Query");
      peer.send(part);
      peer.stream.end();
    });
    await using between = await Between.start([script, honest]);
    using client = await between.connect();
    client.send({ kind: "Query", sql: "select" });
    // 36 bytes are missing: less than any message of the pooler's own has.
    expect((await client.stream.readToEnd()).equals(part)).toBe(true);
    await between.untilHonest();
  });

  test("nor is it at the end of a time limit", async () => {
    const part = Buffer.concat([
      message("D", Buffer.from([0, 1, 0, 1, 0, 0]), 65_546),
      Buffer.alloc(65_500, "x"),
    ]);
    await using between = await Between.start([inReply(part), honest], { query_timeout: 0.5 });
    using client = await between.connect();
    client.send({ kind: "Query", sql: "select" });
    expect((await client.stream.readToEnd()).equals(part)).toBe(true);
    await between.untilHonest();
  });

  test("an error of 3 MB is passed on", async () => {
    const long = failure("ERROR", "42601", "e".repeat(3 * megabyte));
    await using between = await Between.start([inReply(long, ready)]);
    using client = await between.connect();
    const [error, end] = await client.query("select");
    expect(error?.kind === "ErrorResponse" && error.fields.message.length).toBe(3 * megabyte);
    expect(end?.kind).toBe("ReadyForQuery");
  });

  test("notices without end do not fill the memory of a client that reads them, and it can leave", async () => {
    const script = afterLogin(async (peer) => {
      await peer.expect("Query");
      const fields = { severity: "NOTICE", severityLocalized: "NOTICE", code: "00000", message: "again" };
      const notice = encodeBackend({ kind: "NoticeResponse", fields });
      await endless(peer, () => notice);
    });
    await using between = await Between.start([script, honest]);
    using client = await between.connect();
    client.send({ kind: "Query", sql: "select" });
    for (let index = 0; index < 100; index++) expect((await client.next()).kind).toBe("NoticeResponse");
    await between.bystander.works();
    client.destroy();
    await between.untilHonest();
  });
});

describe("while nobody works on it", () => {
  const cases: readonly (readonly [what: string, items: (BackendMessage | Buffer)[]])[] = [
    ["one more ReadyForQuery", [ready]],
    ["an answer to nothing", [done, ready]],
    ["an error", [failure("ERROR", "XX000", "out of turn")]],
    ["its last words, and stays", [failure("FATAL", "57P01", "last words")]],
    ["half a message", [message("N", "half", 100)]],
    ["a letter that nobody knows", [message("?")]],
  ];

  test.each(cases)("a server that sends %s is given to nobody", async (_, items) => {
    let [answered, said] = [false, false];
    const script = afterLogin(async (peer) => {
      await peer.expect("Query");
      peer.send(done, ready);
      await waitUntil(() => answered, "its client has its answer");
      peer.send(...items);
      said = true;
    });
    await using between = await Between.start([script, honest]);
    using first = await between.connect();
    await first.query("select");
    answered = true;
    await waitUntil(() => said, "it has spoken");
    await between.bystander.works();
    using second = await between.connect();
    expect(await second.rows("select")).toEqual([["honest"]]);
  });

  test("more behind the ReadyForQuery of one client does not reach the next", async () => {
    const script = inReply(done, ready, { kind: "DataRow", values: [Buffer.from("evil")] }, done, ready);
    await using between = await Between.start([script, honest]);
    using first = await between.connect();
    first.send({ kind: "Query", sql: "select" });
    await first.rest();
    using second = await between.connect();
    expect(await second.rows("select")).toEqual([["honest"]]);
  });

  test("a reset that is answered with nonsense ends the server", async () => {
    const script = afterLogin(async (peer) => {
      await peer.expect("Query");
      peer.send(done, ready);
      expect((await peer.expect("Query")).sql).toBe("DISCARD ALL");
      peer.send({ kind: "CopyInResponse", format: 0, columnFormats: [] }, { kind: "ParseComplete" });
    });
    await using between = await Between.start([script, honest], { pool_mode: "session" });
    using first = await between.connect();
    await first.query("select");
    await first.close();
    await between.untilHonest();
  });
});
