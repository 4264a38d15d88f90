/**
 * How random plans are performed and compared, until the time is over. FUZZ_SECONDS is the time for a file: each plan has a seed of its
 * own, and what is found is told with it, made smaller for at most FUZZ_SHRINK_SECONDS, before the next plan is performed. FUZZ_SEED is
 * the first seed; with FUZZ_PLANS=1 that plan alone. Without FUZZ_SECONDS the same few plans are performed each time: what the long
 * form finds becomes a script in test/differential.
 */
import fc from "fast-check";
import { expect } from "vitest";
import type { Ground, Performance, Via } from "../kit/differential/ground.ts";
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

/** For all plans of a file. */
export const plansMsMax: number = milliseconds + findingsMax * shrinkMs + 300_000;

export interface Comparing {
  readonly ground: Ground;
  /** How a plan is performed. */
  readonly viasOf: (plan: AutoPlan) => readonly Via[];
  /** Leaves out what cannot be compared this way. */
  readonly cut?: (plan: AutoPlan) => AutoPlan;
  /** In what a client is told: it is known that it differs, and what follows from it. */
  readonly known?: string;
}

/** Fails with what is answered otherwise than directly. Returns how many plans were performed. */
export async function comparePlans(comparing: Comparing): Promise<number> {
  // When the first failure of a plan is made smaller no more: all others pass.
  let smallAtMs = Number.POSITIVE_INFINITY;
  const property = fc.asyncProperty(autoPlans, async (plan) => {
    if (performance.now() > smallAtMs) return;
    try {
      await comparePlan(comparing.cut?.(plan) ?? plan, comparing);
    } catch (error) {
      smallAtMs = Math.min(smallAtMs, performance.now() + shrinkMs);
      throw error;
    }
  });
  const until = performance.now() + milliseconds;
  const findings: string[] = [];
  let runs = 0;
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
  process.stdout.write(`random sessions: seed ${seed}, ${runs} runs\n`);
  expect(runs).toBeGreaterThan(0);
  expect(findings).toEqual([]);
  return runs;
}

/** Throws what differs. */
async function comparePlan(plan: AutoPlan, { ground, viasOf, known }: Comparing): Promise<void> {
  const performance: Performance = {
    name: "random sessions in auto mode",
    roles: [{ name: "fz_role", options: "nologin" }],
    ownDatabase: false,
    perform: (transcript, options) => performPlan(plan, transcript, options),
  };
  for (const { via, direct, pooled, difference } of await ground.compare(performance, viasOf(plan))) {
    if (difference === "" || (known !== undefined && pooled.some((line) => line.includes(known)))) continue;
    const done = direct.filter((line) => /^# (\*|c\d:)/.test(line)).join("\n");
    throw new Error(`${done}\n${JSON.stringify(via)} (- direct, + pooled)\n${difference}`);
  }
}
