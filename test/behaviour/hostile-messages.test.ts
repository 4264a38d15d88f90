/**
 * Clients that send what no driver sends, in every state a session can be in: what PostgreSQL would say, or
 * a close; their own servers are cleaned or closed, and nobody else notices.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { type RawClient, rawClient } from "../kit/raw-client.ts";
import { waitUntil } from "../kit/wait.ts";
import { Bystander } from "./hostile-pooler.ts";
import { Client, closeStatement, execute, outcomeOf, Pooled, parse, query, sync } from "./pooled.ts";

const pg = useLab();

let pooled: Pooled;
let bystander: Bystander;

beforeAll(async () => {
  await pg.lab.primary.query("create table touched (line text)");
  pooled = await Pooled.start(pg.lab, { settings: { default_pool_size: 3 } });
});
beforeEach(async () => {
  bystander = await Bystander.start(pooled.pooler.address);
});
afterEach(async () => {
  await bystander.works();
  await bystander[Symbol.asyncDispose]();
  await waitUntil(() => {
    const { sessions, logins, waiting } = pooled.pooler.counts;
    return sessions === 0 && logins === 0 && waiting === 0;
  }, "nobody is left");
  expect((await pg.lab.primary.query("select * from touched")).rows).toEqual([]);
});
afterAll(async () => {
  await pooled[Symbol.asyncDispose]();
});

/** A message with any letter, any length word and any body. */
function message(
  letter: string | number,
  body: Buffer = Buffer.alloc(0),
  length: number = body.length + 4,
): Buffer {
  const header = Buffer.alloc(5);
  header[0] = typeof letter === "number" ? letter : letter.charCodeAt(0);
  header.writeUInt32BE(length >>> 0, 1);
  return Buffer.concat([header, body]);
}

const text = (value: string): Buffer => Buffer.from(value, "latin1");

/** How a client gets into each state. Whatever it has done there must be undone. */
const states: Readonly<Record<string, (client: Client) => Promise<unknown>>> = {
  "an idle session": () => Promise.resolve(),
  "a transaction": async (client) => {
    await client.run("begin");
    await client.run("insert into touched values ('in a transaction')");
  },
  "a transaction that has failed": async (client) => {
    await client.run("begin");
    await client.run("insert into touched values ('before the error')");
    await client.run("select 1/0");
  },
  "an open batch": async (client) => {
    client.send(parse("", "insert into touched values ('in a batch')"), ...execute(""), { kind: "Flush" });
    await client.raw.expect("ParseComplete");
    await client.raw.expect("BindComplete");
    await client.raw.expect("CommandComplete");
  },
  "a batch that has failed": async (client) => {
    client.send(parse("", "this is no SQL"), { kind: "Flush" });
    await client.raw.expect("ErrorResponse");
  },
  "COPY from the client": async (client) => {
    client.send(query("copy touched from stdin"), { kind: "CopyData", data: text("copied\n") });
    await client.raw.expect("CopyInResponse");
  },
};

/** What is wrong however it is meant, and what PostgreSQL says to it (postgres.c SocketBackend). */
const nonsense: readonly (readonly [what: string, bytes: Buffer, text: RegExp])[] = [
  ["an unknown type", message("y"), /^invalid frontend message type 121$/],
  ["type 0", message(0), /^invalid frontend message type 0$/],
  ["type 255 with a body", message(255, text("abc")), /^invalid frontend message type 255$/],
  ["a password", message("p", text("secret\0")), /^invalid frontend message type 112$/],
  ...Array.from("ZRTK1NAGWInstvV23").map(
    (letter) =>
      [
        `the server's ${letter}`,
        message(letter, text("I")),
        new RegExp(`^invalid frontend message type ${letter.charCodeAt(0)}$`),
      ] as const,
  ),
  ...[0, 1, 3].map(
    (length) => [`length ${length}`, message("Q", text("abcd"), length), /^invalid message length/] as const,
  ),
  ...[-1, 0x8000_0000, 0x7fff_ffff, 0x4000_0003].map(
    (length) =>
      [
        `Query of length ${length} (PgBouncer 1.26.1, advisory 107348)`,
        message("Q", text("select 1\0"), length),
        /^invalid message length/,
      ] as const,
  ),
  ...Array.from("PBdF").map(
    (letter) =>
      [
        `${letter} of length 2^31 - 1`,
        message(letter, text("a"), 0x7fff_ffff),
        /^invalid message length/,
      ] as const,
  ),
  ...Array.from("DECSXHcf").map(
    (letter) =>
      [
        `${letter} of 10,005 bytes`,
        message(letter, Buffer.alloc(10_001)),
        /^invalid message length/,
      ] as const,
  ),
  ["Flush with a body", message("H", text("x")), /^invalid message length/],
];

/** Names without an end: the pooler has to read those itself. */
const endless: readonly (readonly [what: string, bytes: Buffer, text: RegExp])[] = [
  ["Parse without an end of its name", message("P", text("abc")), /^invalid string in message$/],
  ["Parse without a body", message("P"), /^invalid string in message$/],
  ["Bind without an end of its portal", message("B", text("abc")), /^invalid string in message$/],
  ["Bind without an end of its statement", message("B", text("\0abc")), /^invalid string in message$/],
  ["Describe of a statement without an end", message("D", text("Sabc")), /^invalid string in message$/],
  ["Close of a statement without an end", message("C", text("Sabc")), /^invalid string in message$/],
];

describe.each(Object.entries(states))("in %s", (state, enter) => {
  // Neither in COPY nor behind an error does anybody look at names.
  const readsNames = state !== "COPY from the client" && state !== "a batch that has failed";
  const always = readsNames ? [...nonsense, ...endless] : nonsense;
  test("nonsense ends the session, in PostgreSQL's words", async () => {
    for (const [what, bytes, expected] of always) {
      using client = await pooled.connect();
      await enter(client);
      // What follows must not be carried out any more.
      client.send(bytes, query("rollback; insert into touched values ('after nonsense')"));
      const last = (await client.raw.rest()).at(-1);
      expect(last, what).toMatchObject({
        kind: "ErrorResponse",
        fields: { severity: "FATAL", code: "08P01" },
      });
      expect(last?.kind === "ErrorResponse" && last.fields.message, what).toMatch(expected);
    }
  });

  test.each(["end", "reset"] as const)(
    "a client that stops in the middle of a message and leaves (%s)",
    async (how) => {
      for (const cut of [1, 4, 5, 6, 20]) {
        using client = await pooled.connect();
        await enter(client);
        client.send(message("Q", text("insert into touched values ('cut')\0")).subarray(0, cut));
        await bystander.works(1);
        if (how === "end") client.raw.stream.end();
        else client.raw.stream.reset();
      }
    },
  );
});

test("nonsense of a client that waits for a server is judged when it has one", async () => {
  await using full = await Pooled.start(pg.lab, { settings: { default_pool_size: 1 } });
  using holder = await full.connect();
  await holder.run("begin");
  using client = await full.connect();
  client.send(query("select 1"), message("y"));
  await full.untilWaiting(1);
  await holder.run("commit");
  const last = (await client.raw.rest()).at(-1);
  expect(last).toMatchObject({ kind: "ErrorResponse", fields: { severity: "FATAL", code: "08P01" } });
  expect(await holder.value("select 'still here'")).toBe("still here");
});

describe("before a session", () => {
  test.each([
    ["HTTP", text("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")],
    ["zeros", Buffer.alloc(10_000)],
    ["ones", Buffer.alloc(10_000, 0xff)],
    ["a Query", message("Q", text("select 1\0"))],
    [
      "a length without its packet, and then too much of something else",
      Buffer.concat([Buffer.from([0, 0, 0, 8]), Buffer.alloc(20_000, 1)]),
    ],
    [
      "TLS, where there is none",
      Buffer.concat([Buffer.from([0x16, 3, 1, 2, 0, 1, 0]), Buffer.alloc(509, 7)]),
    ],
  ])("%s is closed without a session", async (_, bytes) => {
    using client = await rawClient(pooled.place);
    client.send(bytes);
    const answer = await client.stream.readToEnd();
    expect(answer.includes("Z\0\0\0\x05I")).toBe(false);
    expect(answer.length).toBeLessThan(300);
  });
});

describe("what only PostgreSQL can judge", () => {
  const statement = Buffer.concat([text("\0"), text("select $1::int\0"), Buffer.from([0, 0])]);
  const cases: readonly (readonly [what: string, bytes: Buffer])[] = [
    ["Query without an end", message("Q", text("select 1"))],
    ["Query with two ends", message("Q", text("select 1\0select 2\0"))],
    ["Query without a body", message("Q")],
    ["Parse with half a number of types", message("P", text("\0select 1\0\0"))],
    [
      "Parse with fewer types than it says",
      message("P", Buffer.concat([text("\0select 1\0"), Buffer.from([0, 3, 0, 0])])),
    ],
    ["Parse with more than it says", message("P", Buffer.concat([statement, text("more")]))],
    ["Parse without an end of its text", message("P", text("\0select 1"))],
    [
      "Bind with a huge number of values",
      Buffer.concat([
        message("P", statement),
        message("B", Buffer.concat([text("\0\0"), Buffer.from([0, 0, 0x7f, 0xff])])),
      ]),
    ],
    [
      "Bind with a value longer than itself",
      Buffer.concat([
        message("P", statement),
        message(
          "B",
          Buffer.concat([text("\0\0"), Buffer.from([0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff]), text("1")]),
        ),
      ]),
    ],
    [
      "Bind with a value of length -2",
      Buffer.concat([
        message("P", statement),
        message(
          "B",
          Buffer.concat([
            text("\0\0"),
            Buffer.from([0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe]),
            Buffer.from([0, 0]),
          ]),
        ),
      ]),
    ],
    ["Describe of neither", message("D", text("Xabc\0"))],
    ["Describe of a portal without an end", message("D", text("Pabc"))],
    ["Describe without a body", message("D")],
    ["Close of neither", message("C", text("Xabc\0"))],
    ["Execute without an end", message("E", text("abc"))],
    ["Execute without a number", message("E", text("\0"))],
    ["Execute of nothing", message("E", Buffer.alloc(5))],
    ["Sync with a body", message("S", text("body"))],
    ["FunctionCall of garbage", message("F", Buffer.alloc(30, 0xee))],
    ["FunctionCall without a body", message("F")],
    [
      "CopyData, CopyDone and CopyFail where nothing is copied",
      Buffer.concat([message("d", text("x")), message("c"), message("f")]),
    ],
  ];

  async function told(client: Client, bytes: Buffer): Promise<unknown> {
    client.send(query("begin"));
    await client.outcome();
    client.send(bytes, sync, query("rollback"), query("select 'the end'"));
    const said: unknown[] = [];
    for (;;) {
      const next = await client.raw.next().catch(() => undefined);
      if (next?.kind === "ErrorResponse")
        said.push([next.fields.severity, next.fields.code, next.fields.message]);
      else said.push(next?.kind);
      if (next === undefined || (next.kind === "CommandComplete" && next.tag.startsWith("SELECT")))
        return said;
    }
  }

  test("is told in PostgreSQL's own words", async () => {
    const { host, port } = pg.lab.primary;
    for (const [what, bytes] of cases) {
      using direct = await Client.connect({ host, port });
      using through = await pooled.connect();
      expect(await told(through, bytes), what).toEqual(await told(direct, bytes));
    }
  });
});

describe("an error that belongs to nobody", () => {
  test.each(["transaction", "session"])(
    "a Flush that the server refuses poisons no server (%s)",
    async (mode) => {
      await using one = await Pooled.start(pg.lab, { settings: { default_pool_size: 1, pool_mode: mode } });
      // Behind a Query: once that is answered, the server belongs to the next client.
      using attacker = await one.connect();
      attacker.send(query("select 1"), message("H", text("x")));
      await attacker.raw.rest();
      using victim = await one.connect();
      expect(await victim.value("select 'mine'")).toBe("mine");
      expect(outcomeOf(await victim.raw.query("select 'mine again'")).rows).toEqual([["mine again"]]);
    },
  );
});

describe("a message that is cut off", () => {
  // Longer than what is kept before it is sent on; the comment ends with the message.
  const insert = message("Q", text(`insert into touched values ('cut') --${"-".repeat(300_000)}\0`));

  test.each(["transaction", "session"])("is never completed by anything else (%s)", async (mode) => {
    await using other = await Pooled.start(pg.lab, { settings: { pool_mode: mode } });
    for (const missing of [1, 2, 3, 4, 5, 6]) {
      using client = await other.connect();
      const backend = await client.backendPid();
      client.send(insert.subarray(0, insert.length - missing));
      await waitUntil(() => other.pooler.counts.servers > 0, "a server works for it");
      client.raw.stream.end();
      await other.untilSessions(0);
      await waitUntil(async () => {
        const { rows } = await pg.lab.primary.query(
          `select 1 from pg_stat_activity where pid = ${backend} and state = 'active'`,
        );
        return rows.length === 0;
      }, "its server works no more");
    }
    // What PostgreSQL would have made of it is looked for after each test.
  });

  test("and a Close of what was never prepared, and a Sync, are answered", async () => {
    using client = await pooled.connect();
    const { messages } = await client.ask(closeStatement("never"), sync);
    expect(messages.map(({ kind }) => kind)).toEqual(["CloseComplete", "ReadyForQuery"]);
  });
});

test("whoever is served next is not told what the one before has asked", async () => {
  await using one = await Pooled.start(pg.lab, { settings: { default_pool_size: 1 } });
  const leave: ((client: RawClient) => void)[] = [
    (client) => client.stream.end(),
    (client) => client.stream.reset(),
    (client) => client.send({ kind: "Terminate" }),
    (client) => client.send(message("y")),
  ];
  for (const go of leave) {
    using client = await one.connect();
    client.send(query("select 'not yours' from generate_series(1, 20000)"), query("select 'nor this'"));
    await client.raw.expect("RowDescription");
    go(client.raw);
    using next = await one.connect();
    expect(await next.value("select 'mine'")).toBe("mine");
    expect(next.raw.stream.available).toBe(0);
  }
});
