/**
 * Random sessions in auto mode: two to five clients do whatever a session can hold, in steps that follow each other or together where
 * that cannot matter, are cancelled, vanish and come again, and each is answered through the pooler as directly; with one server for all of them, with a few, and with one
 * for each; with reads that share servers, and with such that run once for several clients. Afterwards strangers on these servers see nothing of it.
 * FUZZ_SECONDS is the time for this file: each plan has a seed of its own, and what is found is told with it, made smaller for at most
 * FUZZ_SHRINK_SECONDS, before the next plan is performed. FUZZ_SEED is the first seed; with FUZZ_PLANS=1 that plan alone. Without
 * FUZZ_SECONDS the same few plans are performed each time: what the long form finds becomes a script in test/differential.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { rewritesFor } from "../differential/differences.ts";
import { Ground, type Performance, type Via } from "../kit/differential/ground.ts";
import { performPlan } from "./auto-performance.ts";
import { type AutoPlan, autoPlans } from "./auto-plans.ts";

const short = process.env["FUZZ_SECONDS"] === undefined;
const seed = Number(process.env["FUZZ_SEED"] ?? (short ? 1 : Math.floor(Math.random() * 0x7fff_ffff)));
const plansMax = Number(process.env["FUZZ_PLANS"] ?? (short ? 4 : Number.MAX_SAFE_INTEGER));
const milliseconds = Number(process.env["FUZZ_SECONDS"] ?? 0) * 1000;
const shrinkMs = Number(process.env["FUZZ_SHRINK_SECONDS"] ?? 30) * 1000;
/** A plan that takes longer hangs. */
const planMsMax = 180_000;
/** More are found in the next run. */
const findingsMax = 10;

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
}, 120_000);
afterAll(async () => {
  process.stdout.write(`auto session fuzz: seed ${seed}, ${runs} runs\n`);
  await ground.stop();
});

test("random sessions in auto mode are answered as without a pooler", {
  timeout: milliseconds + findingsMax * shrinkMs + 300_000,
}, async () => {
  // When the first failure of a plan is made smaller no more: all others pass.
  let smallAtMs = Number.POSITIVE_INFINITY;
  const property = fc.asyncProperty(autoPlans, async (plan) => {
    if (performance.now() > smallAtMs) return;
    try {
      await comparePlan(plan);
    } catch (error) {
      smallAtMs = Math.min(smallAtMs, performance.now() + shrinkMs);
      throw error;
    }
  });
  const until = performance.now() + milliseconds;
  const findings: string[] = [];
  while (runs < plansMax && findings.length < findingsMax && (short || performance.now() < until)) {
    const planSeed = seed + runs++;
    smallAtMs = Number.POSITIVE_INFINITY;
    const { failed, errorInstance } = await fc.check(property, {
      seed: planSeed,
      numRuns: 1,
      includeErrorInReport: true,
      plugins: [
        fc.timeout(planMsMax),
        // What is drawn is small as a rule, and often the same; half of the plans are not so.
        ...(planSeed % 2 === 0 ? [fc.unbiased()] : []),
      ],
    });
    if (!failed) continue;
    findings.push(`FUZZ_SEED=${planSeed} FUZZ_PLANS=1\n${String(errorInstance)}`);
    process.stdout.write(`${findings.at(-1)}\n`);
  }
  expect(runs).toBeGreaterThan(0);
  expect(findings).toEqual([]);
});

/** Throws what differs. */
async function comparePlan(plan: AutoPlan): Promise<void> {
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
}
