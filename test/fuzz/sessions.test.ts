/**
 * Random sessions: two to five clients write random simple and extended messages and COPY data, cut at random places and
 * interleaved as it happens. Each must be answered through the pooler as directly, here in session mode, with a server for each.
 * FUZZ_SECONDS is the time for this file, FUZZ_SEED repeats a run.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { rewritesFor } from "../differential/differences.ts";
import { Ground, type Via } from "../kit/differential/ground.ts";
import type { RunOptions } from "../kit/differential/run.ts";
import { Transcript } from "../kit/differential/transcript.ts";
import { waitUntil } from "../kit/wait.ts";
import { type SessionPlan, sessionPlans } from "./sessions-arbitraries.ts";
import { SessionClient } from "./sessions-client.ts";

const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 0x7fff_ffff));
const milliseconds = Number(process.env["FUZZ_SECONDS"] ?? 4) * 1000;
const vias: readonly Via[] = [{ mode: "session", servers: 5 }];

let ground: Ground;
let runs = 0;
beforeAll(async () => {
  ground = await Ground.start({ lanes: 1, rewrites: rewritesFor, stepMs: 20_000 });
});
afterAll(async () => {
  process.stdout.write(`session fuzz: seed ${seed}, ${milliseconds / 1000} s, ${runs} runs\n`);
  await ground.stop();
});

test("random sessions are answered as without a pooler", { timeout: milliseconds + 120_000 }, async () => {
  const property = fc.asyncProperty(sessionPlans, async (plans) => {
    const perform = (transcript: Transcript, options: RunOptions): Promise<void> =>
      performAll(plans, transcript, options);
    const performance = { name: "random sessions", roles: [], ownDatabase: false, perform };
    for (const { via, difference } of await ground.compare(performance, vias)) {
      if (difference === "") continue;
      throw new Error(`${via.mode} mode, ${via.servers} servers (- direct, + pooled)\n${difference}`);
    }
  });
  const details = await fc.check(property, {
    seed,
    numRuns: Number.MAX_SAFE_INTEGER,
    includeErrorInReport: true,
    plugins: [fc.interruptAfterTimeLimit(milliseconds)],
  });
  runs = details.numRuns;
  if (details.failed) throw new Error(fc.defaultReportMessage(details));
  expect(details.numRuns).toBeGreaterThan(0);
});

async function performAll(
  plans: readonly SessionPlan[],
  transcript: Transcript,
  options: RunOptions,
): Promise<void> {
  const tables = plans.map((_, index) => `create table t${index}(a int)`);
  await options.direct.query(tables.join("; "));
  const transcripts = await Promise.all(plans.map((plan, index) => performOne(plan, index, options)));
  for (const own of transcripts) transcript.append(own);
  // Who vanished may still be in a transaction, and hold its table.
  const busy =
    "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid()";
  await waitUntil(async () => (await options.direct.query(busy)).rows[0]?.[0] === "0", "all have left");
}

async function performOne(plan: SessionPlan, index: number, options: RunOptions): Promise<Transcript> {
  const transcript = new Transcript();
  const client = await SessionClient.connect(index, options, transcript);
  for (const burst of plan.bursts) await client.perform(burst, transcript);
  await client.leave(plan.leaves, transcript);
  return transcript;
}
