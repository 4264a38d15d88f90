/**
 * What servers do to a pipeline that PostgreSQL does too seldom, or at no chosen time, and what is sent to them in which
 * write: a proxy that knows messages stands between.
 */
import { describe, expect, test } from "vitest";
import { encodeErrorResponse, encodeParameterStatus } from "../../src/wire/encode-backend.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import type { Change } from "./message-proxy.ts";
import { expectAnswers, Scene } from "./multiplex-scene.ts";
import { type Client, execute, parse, query, sync } from "./pooled.ts";

const place = useLab();

const readyType = 0x5a;

/** Changes the replies to the unit of this number, counted from now. */
function changeUnit(number: number, change: Change): Change {
  let unit = 0;
  return (reply) => {
    const replies = unit === number ? change(reply) : [reply];
    if (reply[0] === readyType) unit++;
    return replies;
  };
}

describe("in a pipeline", () => {
  test("57014 that hits a stranger is seen by nobody: its statement runs again", async () => {
    await using scene = await Scene.start(place.lab, 1);
    const clients = await scene.connect(3);
    await scene.warm("select 'x'");
    const { link, texts } = await scene.pipeline(clients);
    scene.proxy.passesCancels = false;
    await clients[0]?.cancel();
    expect(scene.proxy.cancels).toBe(1);
    // The request has come too late for the first, and hits the second.
    const fields = { severity: "ERROR", code: "57014", message: "canceling statement due to user request" };
    link.change = changeUnit(1, (reply) =>
      reply[0] === readyType ? [encodeErrorResponse({ ...fields, severityLocalized: "ERROR" }), reply] : [],
    );
    link.release();
    await expectAnswers(clients, texts);
    expect(texts.map((text) => scene.proxy.countOf(text))).toEqual([1, 2, 1]);
    expect(await scene.figure("returned")).toBe(1);
  });

  test("who cancels a read behind others does not wait for them, and goes on", async () => {
    await using scene = await Scene.start(place.lab, 1);
    const clients = await scene.connect(3);
    const [first, second, third] = clients as [Client, Client, Client];
    await second.ask(parse("", "select 'before'"), sync);
    await scene.warm("select 'x'");
    const { link, texts } = await scene.pipeline(clients);
    await second.cancel();
    const canceled = await second.outcome();
    expect(canceled.error).toMatchObject({
      code: "57014",
      message: "canceling statement due to user request",
    });
    expect(canceled.status).toBe("I");
    // It is in front when the others are done, and what is behind it is not hit.
    second.send(query("select 'on'"));
    link.release();
    await expectAnswers([first, third], [texts[0] ?? "", texts[2] ?? ""]);
    await expectAnswers([second], ["select 'on'"]);
    expect((await second.ask(...execute(""), sync)).error?.code).toBe("26000");
  });

  test("who cancels a read behind others gets the notifications that came meanwhile", async () => {
    // It takes longer than who listens is asked to wait for what was notified before; so nobody is taken for blocked yet.
    const slow = (last: string): string => `select count(*) from generate_series(1, ${last})`;
    await using scene = await Scene.start(place.lab, 1, { settings: { multiplex_latency: 1000 } });
    const [first, listening, other] = (await scene.connect(3)) as [Client, Client, Client];
    for (const client of [listening, other]) await client.run("listen news");
    await scene.warm(slow("200000"));
    for (let round = 0; ; round++) {
      expect(round, "one stands behind the other").toBeLessThan(50);
      const texts = [slow(`2${round}0000`), slow(`2${round}0001`)] as const;
      const link = scene.proxy.linkOf(slow("200000"));
      link?.hold();
      first.send(query(texts[0]));
      await waitUntil(() => scene.proxy.countOf(texts[0]) > 0, "the first is sent");
      listening.send(query(texts[1]));
      await waitUntil(
        async () => scene.proxy.countOf(texts[1]) > 0 || (await scene.figure("queued")) === 1,
        "the second is sent, or waits",
      );
      if (link !== undefined && link.countOf(texts[0]) === 1 && link.countOf(texts[1]) === 1) {
        await place.lab.primary.query("notify news, 'meanwhile'");
        await other.raw.until("NotificationResponse");
        await listening.cancel();
        expect((await listening.outcome()).error?.code).toBe("57014");
        expect((await listening.raw.until("NotificationResponse")).at(-1)).toMatchObject({
          payload: "meanwhile",
        });
        link.release();
        return;
      }
      link?.release();
      for (const client of [first, listening]) expect((await client.outcome()).error).toBeUndefined();
    }
  });

  test.each([
    ["a shared statement", "s"],
    ["the unnamed statement", ""],
  ])(
    "who uses %s that the unit in front was to make gets its answer although that is cancelled",
    async (_, name) => {
      await place.lab.primary.query("create table if not exists lockable (a int)");
      await using scene = await Scene.start(place.lab, 1, {
        settings: { max_prepared_statements: 1, multiplex_latency: 1000 },
      });
      const clients = await scene.connect(3);
      const [first, second, other] = clients as [Client, Client, Client];
      const sql = "select count(*) from lockable";
      for (const client of [first, second]) await client.ask(parse(name, sql), ...execute(name), sync);
      await using lock = await place.lab.primary.connect();
      for (let round = 0; ; round++) {
        expect(round, "both get into one pipeline").toBeLessThan(50);
        const before = await scene.figure("units");
        await waitUntil(async () => {
          await first.ask(...execute(name), sync);
          return (await scene.figure("units")) > before;
        }, "it shares");
        await other.ask(parse("", "select 'other'"), ...execute(""), sync);
        await other.ask(parse(`o${round}`, `select 'other' || ${round}`), ...execute(`o${round}`), sync);
        await lock.query("begin; lock table lockable in access exclusive mode");
        for (const client of [first, second]) client.send(...execute(name), sync);
        await waitUntil(
          async () => (await scene.figure("depth")) + (await scene.figure("queued")) === 2,
          "both are sent or wait",
        );
        const shares = (await scene.figure("depth")) === 2;
        if (shares) await first.cancel();
        else await lock.query("rollback");
        expect((await first.outcome()).error?.code).toBe(shares ? "57014" : undefined);
        if (shares) await lock.query("rollback");
        expect(await second.outcome()).toMatchObject({ error: undefined, rows: [["0"]] });
        if (shares) return;
      }
    },
  );

  test("a ParameterStatus in the middle ends the sharing of that server, and every answer is right", async () => {
    await using scene = await Scene.start(place.lab, 1);
    const clients = await scene.connect(3);
    await scene.warm("select 'x'");
    const { link, texts } = await scene.pipeline(clients);
    link.change = changeUnit(1, (reply) =>
      reply[0] === readyType ? [encodeParameterStatus("TimeZone", "Asia/Tokyo"), reply] : [reply],
    );
    link.release();
    await expectAnswers(clients, texts);
    await scene.pooled.untilClosedFor("a shared statement has changed a setting");
    for (const client of clients) expect(await client.value("show timezone")).not.toBe("Asia/Tokyo");
  });

  test("a ReadyForQuery in the middle that is not idle ends the sharing of that server, and every answer is right", async () => {
    await using scene = await Scene.start(place.lab, 1);
    const clients = await scene.connect(3);
    await scene.warm("select 'x'");
    const { link, texts } = await scene.pipeline(clients);
    link.change = changeUnit(1, (reply) =>
      reply[0] === readyType ? [Buffer.concat([reply.subarray(0, 5), Buffer.from("T")])] : [reply],
    );
    link.release();
    await expectAnswers(clients, texts);
    await scene.pooled.untilClosedFor("a shared statement has opened a transaction");
    for (const client of clients) expect((await client.run("select 'y'")).status).toBe("I");
  });

  test("a server that dies between the replies to one takes that client with it, and nobody behind it", async () => {
    await using scene = await Scene.start(place.lab, 1);
    const clients = await scene.connect(4);
    await scene.warm("select 'x'");
    const { link, texts } = await scene.pipeline(clients);
    let ended = false;
    const inSecond = changeUnit(1, (reply) => {
      ended = true;
      setImmediate(() => link.cut());
      return [reply];
    });
    link.change = (reply) => (ended ? [] : inSecond(reply));
    const [first, torn, ...behind] = clients as [Client, Client, ...Client[]];
    link.release();
    await expectAnswers([first, ...behind], [texts[0] ?? "", ...texts.slice(2)]);
    // Half a reply is followed by nothing of ours.
    expect((await torn.raw.next()).kind).toBe("RowDescription");
    await torn.raw.stream.closed;
    expect(texts.map((text) => scene.proxy.countOf(text))).toEqual([1, 1, 2, 2]);
  });

  test("a server whose front takes longer than it should gets nothing more: others are served elsewhere", async () => {
    await using scene = await Scene.start(place.lab, 2);
    const clients = await scene.connect(6);
    await scene.warm("select 'x'");
    const [first, ...others] = clients as [Client, ...Client[]];
    const { link, texts } = await scene.pipeline([first]);
    await scene.untilStuck();
    // Another server is opened meanwhile, or is there: its replies pass.
    for (const other of scene.proxy.links) if (other !== link) other.release();
    const before = link.messages.length;
    for (let round = 0; round < 5; round++)
      expect(new Set(await Promise.all(others.map((client) => client.value("select 'other'"))))).toEqual(
        new Set(["other"]),
      );
    const joined = link.messages.slice(before).length;
    expect(joined, "sent behind the one that is stuck").toBe(0);
    link.release();
    await expectAnswers([first], texts);
  });

  test.each([
    ["Query", (text: string) => [query(text)]],
    ["a batch", (text: string) => [parse("", text), ...execute(""), sync]],
  ])(
    "who was sent behind a unit that is stuck is served elsewhere as soon as there is another server: %s",
    async (_kind, ask) => {
      await using scene = await Scene.start(place.lab, 1);
      const clients = await scene.connect(4);
      await scene.warm("select 'x'");
      const { link, texts } = await scene.pipeline(clients, ask);
      const [first, ...behind] = clients as [Client, ...Client[]];
      await scene.untilStuck();
      await scene.resize(2);
      await expectAnswers(behind, texts.slice(1));
      expect(link.heldCount, "nothing of the first server was needed for that").toBeGreaterThan(0);
      expect(texts.map((text) => scene.proxy.countOf(text))).toEqual([1, 2, 2, 2]);
      expect(await scene.figure("returned")).toBe(3);
      link.release();
      await expectAnswers([first], texts);
      for (const client of clients) expect(await client.value("select 'y'")).toBe("y");
    },
  );

  test("who does not read is not read for: the rest of the result stays at the server", async () => {
    await place.lab.primary.query(
      "create table if not exists wide as select case n when 1 then 1 else 2 end as id, repeat('x', 10000) as text from generate_series(1, 3201) n",
    );
    await using scene = await Scene.start(place.lab, 2);
    const [slow, other] = (await scene.connect(2)) as [Client, Client];
    await scene.warm("select text from wide where id = 1");
    slow.raw.stream.pause();
    slow.send(query("select text from wide where id = 2"));
    await waitUntil(
      () => (scene.proxy.linkOf("select text from wide where id = 2")?.unreadBytes ?? 0) > 16_000_000,
      "the pooler reads no more than its buffers hold",
    );
    expect(await other.value("select text from wide where id = 1")).toHaveLength(10_000);
    slow.raw.stream.resume();
    expect((await slow.outcome()).rows).toHaveLength(3200);
  });
});

describe("one write", () => {
  test("for the units of many clients that come in one turn", async () => {
    await using scene = await Scene.start(place.lab, 1);
    const clients = await scene.connect(10);
    await scene.warm("select 'x'");
    const rounds: number[] = [];
    for (let round = 0; round < 10; round++) {
      const texts = clients.map((_client, index) => `select 'r${round}.${index}'`);
      for (const [index, client] of clients.entries()) client.send(query(texts[index] ?? ""));
      await expectAnswers(clients, texts);
      const link = scene.proxy.links.find((one) => one.countOf(texts[0] ?? "") > 0);
      const chunks = link?.chunks.filter((chunk) =>
        chunk.some((message) => message.kind === "Query" && texts.includes(message.sql)),
      );
      rounds.push(chunks?.length ?? 0);
    }
    // A turn that ends in between is chance; the rule is one.
    expect(Math.min(...rounds)).toBe(1);
  });

  test("for settings, BEGIN, Parse and the first statement", async () => {
    await using scene = await Scene.start(place.lab, 1);
    const [one, other] = (await scene.connect(2)) as [Client, Client];
    await one.run("set work_mem = '5MB'");
    await other.run("set work_mem = '7MB'");
    await other.run("begin; select 1; commit");
    expect((await one.run("begin")).status).toBe("T");
    expect((await one.ask(parse("", "select 1 + $1::int"), ...execute("", ["2"]), sync)).rows).toEqual([
      ["3"],
    ]);
    const chunk = scene.proxy.links[0]?.chunkWith("begin");
    expect(chunk?.some((message) => message.includes("work_mem"))).toBe(true);
    expect(chunk).toEqual(
      expect.arrayContaining(["Query: begin", "Parse: select 1 + $1::int", "Bind", "Execute", "Sync"]),
    );
    await one.run("commit");
  });
});

describe("what shares", () => {
  test("is nothing with effects, locks, a volatile function, a limit of rows, or in a transaction", async () => {
    await using scene = await Scene.start(place.lab, 1);
    await place.lab.primary.query(
      "create table if not exists shares (a int); create sequence if not exists shares_s",
    );
    const [client] = (await scene.connect(1)) as [Client];
    await scene.warm("select 'x'");
    const units = await scene.figure("units");
    for (let run = 0; run < 5; run++) {
      for (const sql of [
        "select a from shares for update",
        "select a from shares for share",
        "select random()",
        "select nextval('shares_s')",
        "select set_config('work_mem', '6MB', false)",
        "select 'x'; select 'y'",
        "begin; select 'x'; commit",
        "insert into shares values (1)",
        "with added as (insert into shares values (1) returning a) select a from added",
        "show work_mem",
      ])
        expect((await client.run(sql)).error).toBeUndefined();
      await client.ask(
        parse("", "select 'x'"),
        { kind: "Bind", portal: "", statement: "", formats: [], values: [], resultFormats: [] },
        { kind: "Execute", portal: "", maxRows: 1 },
        sync,
      );
    }
    expect(await scene.figure("units")).toBe(units);
    client.destroy();
    await scene.warm("select 'x'");
    expect(await scene.figure("units")).toBe(units + 1);
  });

  test("is switched off for one database by its own multiplex = false", async () => {
    await using scene = await Scene.start(place.lab, 2, {
      databases: { postgres: {}, off: { dbname: "postgres", multiplex: false } },
    });
    await scene.warm("select 'x'");
    const units = await scene.figure("units");
    const [off] = (await scene.connect(1, "off")) as [Client];
    for (let run = 0; run < 10; run++) expect(await off.value("select 'x'")).toBe("x");
    expect(await scene.figure("units")).toBe(units);
  });

  test("is nothing for one database by its own multiplex_latency = 0, which no read is brief enough for", async () => {
    await using scene = await Scene.start(place.lab, 2, {
      databases: { postgres: {}, none: { dbname: "postgres", multiplex_latency: 0 } },
    });
    await scene.warm("select 'x'");
    const units = await scene.figure("units");
    const alone = await scene.figure("alone");
    const [none] = (await scene.connect(1, "none")) as [Client];
    for (let run = 0; run < 10; run++) expect(await none.value("select 'x'")).toBe("x");
    expect(await scene.figure("units")).toBe(units);
    expect(await scene.figure("alone")).toBeGreaterThan(alone);
  });
});

test("multiplex_coalesce: a read that is answered with another's is younger than every request", async () => {
  await place.lab.primary.query("create table if not exists younger (a int); truncate younger");
  await using scene = await Scene.start(place.lab, 1, { settings: { multiplex_coalesce: true } });
  const [first, second, third] = (await scene.connect(3)) as [Client, Client, Client];
  const sql = "select count(*) from younger";
  await scene.warm(sql);
  const coalesced = await scene.figure("coalesced");
  scene.proxy.hold();
  first.send(query(sql));
  await waitUntil(
    () => (scene.proxy.linkOf(sql)?.heldCount ?? 0) > 0,
    "the first has been answered, and waits",
  );
  // Nothing more is sent behind it.
  await scene.untilStuck();
  await place.lab.primary.query("insert into younger values (1)");
  // What is sent already is joined by nobody, although it is the same and not answered yet.
  second.send(query(sql));
  await waitUntil(async () => (await scene.figure("queued")) === 1, "the second waits");
  await place.lab.primary.query("insert into younger values (2)");
  third.send(query(sql));
  await waitUntil(
    async () => (await scene.figure("coalesced")) === coalesced + 1,
    "the third waits for the second",
  );
  await place.lab.primary.query("insert into younger values (3)");
  scene.proxy.release();
  const counts = [await first.outcome(), await second.outcome(), await third.outcome()].map(
    ({ rows }) => rows[0]?.[0],
  );
  expect(counts).toEqual(["0", "3", "3"]);
});
