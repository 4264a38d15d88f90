/**
 * Random sessions in auto mode: two to five clients do whatever a session can hold, in steps that follow each other or together where
 * that cannot matter, and each is answered through the pooler as directly; with one server for all of them, with a few, and with one
 * for each; with reads that share servers, and with such that run once for several clients. Afterwards strangers on these servers see nothing of it.
 * FUZZ_SECONDS is the time for this file, FUZZ_SEED repeats a run, FUZZ_PATH goes on at a plan of it. Without FUZZ_SECONDS the same few plans
 * are performed each time: what the long form finds becomes a script in test/differential.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { rewritesFor } from "../differential/differences.ts";
import { Ground, type Performance, type Via } from "../kit/differential/ground.ts";
import { performPlan } from "./auto-performance.ts";
import { autoPlans } from "./auto-plans.ts";

const short = process.env["FUZZ_SECONDS"] === undefined;
const seed = Number(process.env["FUZZ_SEED"] ?? (short ? 1 : Math.floor(Math.random() * 0x7fff_ffff)));
const plansMax = short ? 4 : Number.MAX_SAFE_INTEGER;
const path = process.env["FUZZ_PATH"];
const milliseconds = Number(process.env["FUZZ_SECONDS"] ?? 0) * 1000;

const coalescing = { multiplex_coalesce: true };
const tight: readonly Via[] = [
  { mode: "auto", servers: 1 },
  { mode: "auto", servers: 3, settings: coalescing },
];
const roomy: readonly Via[] = [
  { mode: "auto", servers: 5 },
  { mode: "auto", servers: 5, settings: coalescing },
];

let ground: Ground;
let runs = 0;
beforeAll(async () => {
  ground = await Ground.start({ lanes: 1, rewrites: rewritesFor, stepMs: 20_000 });
});
afterAll(async () => {
  process.stdout.write(`auto session fuzz: seed ${seed}, ${runs} runs\n`);
  await ground.stop();
});

test("random sessions in auto mode are answered as without a pooler", {
  timeout: milliseconds + 300_000,
}, async () => {
  const property = fc.asyncProperty(autoPlans, async (plan) => {
    const performance: Performance = {
      name: "random sessions in auto mode",
      roles: [{ name: "fz_role", options: "nologin" }],
      ownDatabase: false,
      perform: (transcript, options) => performPlan(plan, transcript, options),
    };
    for (const { via, direct, difference } of await ground.compare(performance, plan.roomy ? roomy : tight)) {
      if (difference === "") continue;
      const done = direct.filter((line) => /^# (\*|c\d:)/.test(line)).join("\n");
      throw new Error(`${done}\n${JSON.stringify(via)} (- direct, + pooled)\n${difference}`);
    }
  });
  const details = await fc.check(property, {
    seed,
    ...(path === undefined ? {} : { path }),
    numRuns: plansMax,
    includeErrorInReport: true,
    plugins: short ? [] : [fc.interruptAfterTimeLimit(milliseconds)],
  });
  runs = details.numRuns;
  const { failed, counterexamplePath, errorInstance } = details;
  if (failed) throw new Error(`FUZZ_SEED=${seed} FUZZ_PATH=${counterexamplePath}\n${String(errorInstance)}`);
  expect(details.numRuns).toBeGreaterThan(0);
});
