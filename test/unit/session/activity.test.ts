import { expect, test } from "vitest";
import { VirtualClock } from "../../../src/base/clock.ts";
import { Statistics } from "../../../src/pool/statistics.ts";
import { Activity } from "../../../src/session/activity.ts";
import { fakeServer } from "../pool/fakes.ts";
import { query, StatementsClient } from "./statements-client.ts";

const limits = { idleMs: 0, idleTransactionMs: 0, queryMs: 1000, transactionMs: 0, queryWaitMs: undefined };

test("query_timeout does not count what was dropped before the query", () => {
  const clock = new VirtualClock();
  const activity = new Activity(new Statistics(), clock.now());
  const { server } = fakeServer();
  new StatementsClient().send(server, query("select 1"));
  const exceeded = (nowMs: number): string | undefined =>
    activity.exceeded({ ...limits, fastClose: false }, server, false, nowMs, false)?.code;
  activity.begin(clock);
  expect([exceeded(1), exceeded(900)]).toEqual([undefined, undefined]);
  activity.dropped();
  activity.begin(clock);
  expect([exceeded(1100), exceeded(2099), exceeded(2100)]).toEqual([
    undefined,
    undefined,
    "session.query_timeout",
  ]);
});
