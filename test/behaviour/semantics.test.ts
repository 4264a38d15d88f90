/** Auto mode: rows of docs/semantics.md about what the server sees of a client. */
import { expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { backends, Pooled } from "./pooled.ts";

const place = useLab();

function startPooled(): Promise<Pooled> {
  return Pooled.start(place.lab, { settings: { pool_mode: "auto", default_pool_size: 1 } });
}

test("inet_client_addr(), inet_client_port(): the pooler's", async () => {
  await using pooled = await startPooled();
  using client = await pooled.connect();
  const { rows } = await client.run("select host(inet_client_addr()) || ':' || inet_client_port()");
  const opened = pooled.log.find(({ message }) => message === "new connection to server");
  expect(rows).toEqual([[opened?.fields["from"]]]);
});

test("pg_stat_activity: servers, with the application_name of the client that has them, and no idle client", async () => {
  await using pooled = await startPooled();
  using one = await pooled.connect({ parameters: [["application_name", "one"]] });
  using other = await pooled.connect({ parameters: [["application_name", "other"]] });
  const seen = async (name: string): Promise<number> =>
    await backends(place.lab, `application_name = '${name}' and state = 'idle in transaction'`);
  await one.run("begin; select 1");
  expect([await seen("one"), await seen("other")]).toEqual([1, 0]);
  await one.run("commit");
  await other.run("begin; select 1");
  expect([await seen("one"), await seen("other")]).toEqual([0, 1]);
  expect(await backends(place.lab, "application_name = 'one'")).toBe(0);
  await other.run("commit");
});

test("transaction ids: one transaction has one", async () => {
  await using pooled = await startPooled();
  using client = await pooled.connect();
  await client.run("begin");
  const id = await client.value("select pg_current_xact_id()");
  expect(await client.value("select txid_current()")).toBe(id);
  await client.run("commit");
  expect(await client.value(`select pg_xact_status('${id}')`)).toBe("committed");
  expect(await client.value("select pg_current_xact_id()")).not.toBe(id);
});
