/** Prepared statements in auto mode: where they differ from PostgreSQL's, and moments that only somebody between the two can choose. */
import { expect, test } from "vitest";
import { Backend } from "../../src/wire/constants.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { startPooled } from "./console-client.ts";
import { MessageProxy } from "./message-proxy.ts";
import { execute, parse, sync } from "./pooled.ts";

const place = useLab();

test("what unseen code has dropped and the client has prepared anew is there for what comes before the ledger has told so", async () => {
  await place.lab.primary.query(
    "create function runs(statement text) returns void language plpgsql as 'begin execute statement; end'",
  );
  await using proxy = await MessageProxy.start(place.lab.primary);
  const { host, port } = proxy;
  const settings = { pool_mode: "auto", default_pool_size: 1 };
  await using pooled = await startPooled(place.lab, { node: { host, port }, settings });
  using client = await pooled.connect();
  using other = await pooled.connect();
  await client.ask(parse("s", "select 'before'"), sync);
  // So the server has it, and is thought to have it still.
  await other.ask(parse("mine", "select 'behind'"), ...execute("mine"), sync);
  const link = proxy.linkOf("select 'behind'");
  if (link === undefined) throw new Error("the server is behind the proxy");
  let isTold = false;
  link.change = (reply) => {
    if (reply[0] === Backend.readyForQuery && !isTold) {
      isTold = true;
      link.hold();
    }
    return [reply];
  };
  const dropping = [parse("", "select runs('deallocate all')"), ...execute("")];
  const again = await client.ask(...dropping, parse("s", "select 'behind'"), ...execute("s"), sync);
  expect(again.rows).toEqual([[""], ["behind"]]);
  client.send(...execute("s"), sync);
  await waitUntil(() => link.heldCount > 0, "the ledger is answered");
  link.release();
  const { rows, error } = await client.outcome();
  expect(error).toBeUndefined();
  expect(rows).toEqual([["behind"]]);
});

test("pg_prepared_statements: what cannot be parsed any more is not listed until it can be again", async () => {
  const settings = { pool_mode: "auto", default_pool_size: 1 };
  await using pooled = await startPooled(place.lab, { settings });
  using client = await pooled.connect();
  using other = await pooled.connect();
  await other.run("prepare q as select 1");
  await client.run("create schema elsewhere; create table unlisted (a int)");
  await client.ask(parse("s1", "select a from unlisted"), parse("s2", "select 'two'"), sync);
  const listed = async (): Promise<unknown> => {
    await other.run("execute q");
    return client.value("select string_agg(name, ' ' order by name) from pg_prepared_statements");
  };
  expect(await listed()).toBe("s1 s2");
  await client.run("set search_path = elsewhere");
  expect(await listed()).toBe("s2");
  await client.run("reset search_path");
  expect(await listed()).toBe("s1 s2");
  await client.run("drop table unlisted");
  expect(await listed()).toBe("s2");
  await client.run("create table unlisted (a int)");
  expect(await listed()).toBe("s1 s2");
});
