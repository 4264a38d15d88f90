/** The first packet of a connection, bit by bit: what PostgreSQL takes is taken, all else gets its answer. */
import { describe, expect, test } from "vitest";
import {
  encodeCancelRequest,
  encodePassword,
  encodeQuery,
  encodeStartup,
  gssencRequest,
  protocolVersion30,
  sslRequest,
} from "../../src/wire/index.ts";
import { useLab } from "../kit/lab.ts";
import { rawClient } from "../kit/raw-client.ts";
import { waitUntil } from "../kit/wait.ts";
import { fatal, sendSlowly, startPooler, value } from "./login-pooler.ts";

const place = useLab();

/** A packet with the length word that belongs to it. */
function packet(...parts: readonly (number | string | Buffer)[]): Buffer {
  const body = Buffer.concat(
    parts.map((part) => {
      if (typeof part === "string") return Buffer.from(part, "latin1");
      if (Buffer.isBuffer(part)) return part;
      const word = Buffer.alloc(4);
      word.writeUInt32BE(part);
      return word;
    }),
  );
  return Buffer.concat([lengthWord(body.length + 4), body]);
}

function lengthWord(length: number): Buffer {
  const word = Buffer.alloc(4);
  word.writeUInt32BE(length);
  return word;
}

function version(major: number, minor: number): number {
  return major * 0x1_0000 + minor;
}

const namedUser = "user\0postgres\0";
const layout = "invalid startup packet layout: expected terminator as last byte";

describe("length", () => {
  test.each([0, 3, 4, 7, 10_005, 0x1000_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff])(
    "acceptance 28, 41: a packet that claims %i bytes is closed without a word",
    async (length) => {
      await using pooler = await startPooler({ node: place.lab.primary });
      const client = await pooler.open();
      // A client that goes on writing must not make anything grow, or hear of anything but the close.
      client.send(lengthWord(length), Buffer.alloc(64));
      expect(await client.rest()).toEqual([]);
      await pooler.untilNobodyIsLeft();
      expect(pooler.log).toContain("invalid length of startup packet");
      const { client: next } = await pooler.login();
      expect(await value(next, "select 1")).toBe("1");
      next.destroy();
    },
  );

  test("acceptance 28: a body of exactly 10,000 bytes is taken", async () => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const client = await pooler.open();
    const fixed = packet(protocolVersion30, namedUser, "application_name\0", "\0\0").length - 4;
    const name = "x".repeat(10_000 - fixed);
    const bytes = packet(protocolVersion30, namedUser, "application_name\0", name, "\0\0");
    expect(bytes.readUInt32BE(0)).toBe(10_004);
    client.send(bytes);
    await client.until("ReadyForQuery");
    // As every name, it is cut to 63 bytes.
    expect(await value(client, "show application_name")).toBe("x".repeat(63));
    client.destroy();
  });

  test("acceptance 28: a length that is out of range counts as soon as its fourth byte is there", async () => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const client = await pooler.open();
    await sendSlowly(client, lengthWord(10_005));
    expect(await client.rest()).toEqual([]);
  });
});

describe("pieces", () => {
  test("acceptance 106: a startup packet may come byte by byte, and others log in meanwhile", async () => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const slow = await pooler.open();
    const bytes = encodeStartup(protocolVersion30, [["user", "postgres"]]);
    const half = bytes.length >> 1;
    await sendSlowly(slow, bytes.subarray(0, half));
    // It pauses in the middle of its packet for as long as another client's whole session lasts.
    const { client: other } = await pooler.login();
    expect(await value(other, "select 'other'")).toBe("other");
    await other.close();
    await sendSlowly(slow, bytes.subarray(half));
    await slow.until("ReadyForQuery");
    expect(await value(slow, "select 'slow'")).toBe("slow");
    slow.destroy();
  });

  test("acceptance 40, 106: both requests for encryption and the startup, byte by byte", async () => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const client = await pooler.open();
    for (const request of [gssencRequest, sslRequest]) {
      await sendSlowly(client, request);
      expect((await client.stream.read(1, "an answer")).toString()).toBe("N");
    }
    await sendSlowly(client, encodeStartup(protocolVersion30, [["user", "postgres"]]));
    await client.until("ReadyForQuery");
    client.destroy();
  });

  test("a statement right behind the startup packet is not lost", async () => {
    await using pooler = await startPooler({ node: place.lab.primary });
    for (const application of ["plain", "ünïcode"]) {
      const client = await pooler.open();
      const startup = encodeStartup(protocolVersion30, [
        ["user", "postgres"],
        ["application_name", application],
      ]);
      client.send(startup, encodeQuery("select 'one'"), encodeQuery("select 'two'"));
      await client.until("ReadyForQuery");
      expect(await client.until("ReadyForQuery")).toContainEqual({
        kind: "DataRow",
        values: [Buffer.from("one")],
      });
      expect(await client.until("ReadyForQuery")).toContainEqual({
        kind: "DataRow",
        values: [Buffer.from("two")],
      });
      client.destroy();
    }
  });

  test("a statement right behind the password is not lost", async () => {
    await using pooler = await startPooler({
      node: place.lab.primary,
      settings: { auth_type: "password" },
      users: { postgres: { password: "right" } },
    });
    for (const _attempt of ["with a new server", "with one that is there"]) {
      const client = await pooler.open();
      client.send(
        encodeStartup(protocolVersion30, [["user", "postgres"]]),
        encodePassword("right"),
        encodeQuery("select 'at once'"),
      );
      await client.until("ReadyForQuery");
      const answer = await client.until("ReadyForQuery");
      expect(answer).toContainEqual({ kind: "DataRow", values: [Buffer.from("at once")] });
      client.destroy();
    }
  });
});

describe("version", () => {
  test.each([
    [2, 0],
    [1, 0],
    [0, 0],
  ])("acceptance 30, 31, 35: protocol %i.%i is refused in the form of protocol 2", async (major, minor) => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const client = await pooler.open();
    client.send(packet(version(major, minor), Buffer.alloc(288)));
    const text = `EFATAL:  unsupported frontend protocol ${major}.${minor}: server supports 3.0 to 3.2\n\0`;
    expect((await client.stream.readToEnd()).toString()).toBe(text);
  });

  test.each([
    [4, 0],
    [1233, 1],
    [1234, 5677],
    [1234, 5681],
    [65_535, 65_535],
  ])("acceptance 30, 31, 34, 35: version %i.%i gets an error of protocol 3", async (major, minor) => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const client = await pooler.open();
    client.send(packet(version(major, minor), namedUser, "\0"));
    expect(await fatal(client)).toMatchObject({
      severity: "FATAL",
      code: "0A000",
      message: `unsupported frontend protocol ${major}.${minor}: server supports 3.0 to 3.2`,
    });
    await pooler.untilNobodyIsLeft();
  });
});

describe("parameters", () => {
  test.each([
    ["nothing at all", ""],
    ["no terminator of the list", namedUser],
    ["bytes behind the terminator", `${namedUser}\0x`],
    ["a second terminator", `${namedUser}\0\0`],
    ["a name without a value", `${namedUser}application_name\0`],
    ["a name without an end", `${namedUser}application_name`],
    ["a value without an end", `${namedUser}application_name\0x`],
  ])("acceptance 32: %s is a wrong layout", async (_what, body) => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const client = await pooler.open();
    client.send(packet(protocolVersion30, body));
    expect(await fatal(client)).toMatchObject({ severity: "FATAL", code: "08P01", message: layout });
  });

  test.each([
    ["no user", "database\0postgres\0\0"],
    ["an empty user", "user\0\0database\0postgres\0\0"],
    ["nothing", "\0"],
    ["only requests for what follows", "application_name\0x\0\0"],
  ])("acceptance 36: %s is refused as PostgreSQL refuses it", async (_what, body) => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const answers = [];
    for (const port of [pooler.port, place.lab.primary.port]) {
      const client = await rawClient(port);
      client.send(packet(protocolVersion30, body));
      const { severity, code, message } = await fatal(client);
      answers.push({ severity, code, message });
    }
    expect(answers[0]).toEqual({
      severity: "FATAL",
      code: "28000",
      message: "no PostgreSQL user name specified in startup packet",
    });
    expect(answers[0]).toEqual(answers[1]);
    expect(pooler.log).toContain("no PostgreSQL user name specified");
  });

  test("acceptance 37: without a database, or with an empty one, it is the user's own", async () => {
    await using pooler = await startPooler({ node: place.lab.primary });
    for (const database of [undefined, ""]) {
      const { client } = await pooler.login(database === undefined ? {} : { database });
      expect(await value(client, "select current_database()")).toBe("postgres");
      client.destroy();
    }
  });

  test("acceptance 32: of several values for a name the last one counts", async () => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const { client, session } = await pooler.login({
      user: "nobody at all",
      parameters: [
        ["application_name", "first"],
        ["user", "postgres"],
        ["application_name", "last"],
      ],
    });
    expect(session.parameters.get("application_name")).toBe("last");
    expect(await value(client, "select current_user || ' ' || current_setting('application_name')")).toBe(
      "postgres last",
    );
    client.destroy();
  });

  test("acceptance 55: bytes that are no UTF-8 mean what they mean to PostgreSQL", async () => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const names: unknown[] = [];
    for (const port of [pooler.port, pooler.port, place.lab.primary.port]) {
      const client = await rawClient(port);
      client.send(packet(protocolVersion30, namedUser, "application_name\0caf\xe9 \xff\0\0"));
      await client.until("ReadyForQuery");
      names.push(await value(client, "show application_name"));
      client.destroy();
    }
    expect(names).toEqual([names[2], names[2], names[2]]);
    const client = await pooler.open();
    client.send(packet(protocolVersion30, "user\0caf\xe9\0\0"));
    const direct = await rawClient(place.lab.primary.port);
    direct.send(packet(protocolVersion30, "user\0caf\xe9\0\0"));
    expect((await fatal(client)).message).toBe((await fatal(direct)).message);
  });

  test("acceptance 38: version, user and database of every startup are in the log for debugging", async () => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const { client } = await pooler.login({ database: "template1", version: 196_610 });
    const line = pooler.log.split("\n").find((text) => text.includes('"startup"')) ?? "";
    expect(JSON.parse(line)).toMatchObject({
      level: 20,
      version: "3.2",
      user: "postgres",
      database: "template1",
    });
    client.destroy();
  });

  test("acceptance 32: replication has a server of its own, which nobody else gets", async () => {
    await using pooler = await startPooler({
      node: place.lab.primary,
      settings: { pool_mode: "transaction" },
    });
    const parameters = [["replication", "database"]] as const;
    const { client: walsender } = await pooler.login({ parameters });
    const answer = await walsender.query("IDENTIFY_SYSTEM");
    expect(answer.some(({ kind }) => kind === "DataRow")).toBe(true);
    const { client: other } = await pooler.login();
    const kinds = "select string_agg(backend_type, ',') from pg_stat_activity where pid = pg_backend_pid()";
    expect(await value(other, kinds)).toBe("client backend");
    await walsender.close();
    const walsenders = "select count(*) from pg_stat_activity where backend_type = 'walsender'";
    await waitUntil(async () => (await value(other, walsenders)) === "0", "the walsender is gone");
    other.destroy();
  });
});

describe("requests that are not for a session", () => {
  test("acceptance 34, 40: GSSENCRequest is answered N, and the connection goes on", async () => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const client = await pooler.open();
    client.send(gssencRequest);
    expect((await client.stream.read(1, "the answer")).toString()).toBe("N");
    await client.startup();
    expect(await value(client, "select 1")).toBe("1");
    client.destroy();
  });

  test.each([
    ["SSLRequest", sslRequest, "1234.5679"],
    ["GSSENCRequest", gssencRequest, "1234.5680"],
  ])("acceptance 40: a second %s is refused", async (_name, request, number) => {
    await using pooler = await startPooler({ node: place.lab.primary });
    const client = await pooler.open();
    client.send(request);
    expect((await client.stream.read(1, "the answer")).toString()).toBe("N");
    client.send(request);
    expect(await fatal(client)).toMatchObject({
      severity: "FATAL",
      code: "0A000",
      message: `unsupported frontend protocol ${number}: server supports 3.0 to 3.2`,
    });
  });

  test.each([
    ["no client has this key", 12_345, Buffer.from([1, 2, 3, 4])],
    ["zeros", 0, Buffer.alloc(4)],
    ["a long key", 12_345, Buffer.alloc(256, 7)],
  ])(
    "acceptance 39, 41: a cancel request is answered by nothing but a close: %s",
    async (_what, pid, key) => {
      await using pooler = await startPooler({
        node: place.lab.primary,
        settings: { auth_type: "reject" },
      });
      const client = await pooler.open();
      client.send(encodeCancelRequest(pid, key));
      expect(await client.stream.readToEnd()).toEqual(Buffer.alloc(0));
      await pooler.untilNobodyIsLeft();
      expect(pooler.log).not.toContain("login");
    },
  );
});

test("acceptance 21, 41: whoever leaves, and however, is not counted any more", async () => {
  await using pooler = await startPooler({ node: place.lab.primary });
  const startup = encodeStartup(protocolVersion30, [["user", "postgres"]]);
  const leaves: ((client: Awaited<ReturnType<typeof pooler.open>>) => Promise<void> | void)[] = [
    (client) => client.destroy(),
    (client) => client.stream.reset(),
    (client) => client.stream.end(),
    (client) => {
      client.send(startup.subarray(0, 11));
      client.stream.end();
    },
    (client) => {
      client.send(startup.subarray(0, 2));
      client.stream.reset();
    },
    (client) => {
      client.send(startup);
      client.destroy();
    },
    (client) => {
      client.send(startup);
      client.stream.reset();
    },
    async (client) => {
      client.send(startup);
      await client.until("ReadyForQuery");
      client.stream.reset();
    },
    async (client) => {
      client.sendStartup({ user: "no such role" });
      await client.rest();
    },
    async (client) => {
      client.sendStartup({ parameters: [["options", "-c no_such_setting=1"]] });
      await client.rest();
    },
    async (client) => {
      client.sendStartup({ parameters: [["datestyle", "no such style"]] });
      await client.rest();
    },
  ];
  for (const leave of leaves) {
    const client = await pooler.open();
    await leave(client);
  }
  await pooler.untilNobodyIsLeft();
  // Nothing is left of them but servers that can be used.
  const { client } = await pooler.login();
  expect(await value(client, "select 1")).toBe("1");
  client.destroy();
});
