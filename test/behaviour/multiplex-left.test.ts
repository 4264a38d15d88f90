/** Units that are left before their server has answered them: what their clients say next means what it did. */
import { expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { expectAnswers, Scene } from "./multiplex-scene.ts";
import { type Client, execute, parse, query, sync } from "./pooled.ts";

const place = useLab();

test("who has cancelled a read behind others goes on with the statement that is still to be made there", async () => {
  // Of two statements the server has the one that was made last.
  await using scene = await Scene.start(place.lab, 1, { settings: { max_prepared_statements: 1 } });
  const clients = await scene.connect(2);
  const [first, second] = clients as [Client, Client];
  await first.ask(parse("one", "select 'one'"), sync);
  await second.ask(parse("two", "select 'two'"), sync);
  await scene.warm("select 'x'");
  for (const [client, name] of [
    [first, "one"],
    [second, "two"],
  ] as const)
    await scene.warm(name, () => client.ask(...execute(name), sync));
  const { link, texts } = await scene.pipeline(clients, (text) => [
    ...execute(text.endsWith("0'") ? "one" : "two"),
    parse("", text),
    ...execute(""),
    sync,
  ]);
  await second.cancel();
  expect((await second.outcome()).error?.code).toBe("57014");
  await scene.resize(2);
  expect((await second.ask(...execute("two"), sync)).rows).toEqual([["two"]]);
  expect(link.heldCount, "nothing of the first server was needed for that").toBeGreaterThan(0);
  link.release();
  expect((await first.outcome()).rows).toEqual([["one"], [/'(.*)'/.exec(texts[0] ?? "")?.[1]]]);
  for (const [client, name] of [
    [first, "one"],
    [second, "two"],
  ] as const)
    expect((await client.ask(...execute(name), sync)).rows).toEqual([[name]]);
});

test("what was sent behind a unit that is stuck means the same where it is served", async () => {
  await using scene = await Scene.start(place.lab, 1);
  const clients = await scene.connect(2);
  const [first, second] = clients as [Client, Client];
  await scene.warm("select 'x'");
  // Each unit runs what the one before has prepared, and then its own.
  const asked = ["select 'begin'"];
  await second.ask(parse("", asked[0] as string), sync);
  const { link, texts } = await scene.pipeline(clients, (text) => {
    if (text.endsWith("0'")) return [query(text)];
    asked.push(text);
    return [...execute(""), parse("", text), ...execute(""), sync];
  });
  await scene.untilStuck();
  await scene.resize(2);
  const { rows, error } = await second.outcome();
  expect(error).toBeUndefined();
  expect(rows).toEqual(asked.slice(-2).map((text) => [/'(.*)'/.exec(text)?.[1]]));
  link.release();
  await expectAnswers([first], texts);
});

test.each([
  ["goes away", async (follower: Client) => follower.destroy()],
  ["cancels it", (follower: Client) => follower.cancel()],
])(
  "multiplex_coalesce: who %s in the middle of a reply leaves nothing of it to others",
  async (how, leave) => {
    await using scene = await Scene.start(place.lab, 1, {
      settings: { multiplex_coalesce: true, multiplex_latency: 5000 },
    });
    const [holder, leader, follower, other] = (await scene.connect(4)) as [Client, Client, Client, Client];
    // PostgreSQL sends 8 KiB at a time: the first row comes long before the last.
    const first =
      "select repeat('x', 6000) from generate_series(1, 2) union all select count(*)::text from generate_series(1, 1500000)";
    const second = "select 'second'";
    for (const sql of [first, second]) await scene.warm(sql);
    const together = async (one: Client, two: Client, sql: string): Promise<void> => {
      const coalesced = await scene.figure("coalesced");
      await holder.run("begin; lock table pg_class in access share mode");
      one.send(query(sql));
      await waitUntil(async () => (await scene.figure("queued")) === 1, "the first waits");
      two.send(query(sql));
      await waitUntil(
        async () => (await scene.figure("coalesced")) === coalesced + 1,
        "the other follows it",
      );
      await holder.run("commit");
    };
    await together(leader, follower, first);
    await leader.raw.until("DataRow");
    const sessions = scene.pooled.pooler.counts.sessions;
    await leave(follower);
    if (how === "goes away") await scene.pooled.untilSessions(sessions - 1);
    expect((await leader.outcome()).rows).toHaveLength(2);
    await together(leader, other, second);
    for (const client of [leader, other]) expect((await client.outcome()).rows).toEqual([["second"]]);
  },
);
