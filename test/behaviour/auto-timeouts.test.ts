/** Auto mode: PostgreSQL's own limits on sessions that do nothing, for clients that have no server. */
import { expect, test } from "vitest";
import { useLab } from "../kit/lab.ts";
import { type Client, Pooled } from "./pooled.ts";

const place = useLab();

function startPooled(): Promise<Pooled> {
  return Pooled.start(place.lab, { settings: { pool_mode: "auto", default_pool_size: 1 } });
}

/** Its last words. */
async function end(client: Client): Promise<unknown> {
  const last = (await client.raw.rest()).at(-1);
  return last?.kind === "ErrorResponse" ? [last.fields.severity, last.fields.code] : last;
}

test.each([
  ["idle_session_timeout", "select 1", "57P05"],
  ["idle_in_transaction_session_timeout", "begin", "25P03"],
  ["transaction_timeout", "start transaction read only", "25P04"],
])("%s ends who has no server, not sooner, and no server", async (name, last, sqlstate) => {
  await using pooled = await startPooled();
  using client = await pooled.connect();
  using other = await pooled.connect();
  const pid = await other.backendPid();
  await client.run(`set ${name} = '300ms'`);
  // The ledger has looked, and the server is free again.
  expect(await other.value(`show ${name}`)).toBe("0");
  const since = performance.now();
  await client.run(last);
  expect(await end(client)).toEqual(["FATAL", sqlstate]);
  expect(performance.now() - since).toBeGreaterThan(299);
  expect([await other.backendPid(), pooled.closeReasons]).toEqual([pid, []]);
});

test("idle_session_timeout is not for a client in a transaction", async () => {
  await using pooled = await startPooled();
  using client = await pooled.connect();
  using other = await pooled.connect();
  await client.run("set idle_session_timeout = '400ms'");
  await other.run("set idle_session_timeout = '600ms'");
  await client.run("begin");
  expect(await other.value("show idle_session_timeout")).toBe("600ms");
  // That takes longer than the limit of the one in a transaction.
  expect(await end(other)).toEqual(["FATAL", "57P05"]);
  expect(await client.value("show idle_session_timeout")).toBe("400ms");
  await client.run("commit; reset idle_session_timeout");
  expect(await client.value("show idle_session_timeout")).toBe("0");
  expect(pooled.closeReasons).toEqual([]);
});
