/**
 * Random sessions in auto mode: two to five clients do whatever a session can hold, in steps that follow each other or together where
 * that cannot matter, are cancelled, vanish and come again, and each is answered through the pooler as directly; with one server for all of them, with a few, and with one
 * for each; with reads that share servers, and with such that run once for several clients. Afterwards strangers on these servers see nothing of it.
 * How long, and with which seeds: plan-runs.ts.
 */
import { afterAll, beforeAll, test } from "vitest";
import { rewritesFor } from "../differential/differences.ts";
import { Ground, type Via } from "../kit/differential/ground.ts";
import { comparePlans, plansMsMax } from "./plan-runs.ts";

const coalescing = { multiplex_coalesce: true };
const tight: readonly Via[] = [
  { mode: "auto", servers: 1 },
  { mode: "auto", servers: 3, settings: coalescing },
];
/** One for each client, for who listens for them all, and for who has made what is there. */
const roomy: readonly Via[] = [
  { mode: "auto", servers: 7 },
  { mode: "auto", servers: 7, settings: coalescing },
];

let ground: Ground;
beforeAll(async () => {
  ground = await Ground.start({ lanes: 1, rewrites: rewritesFor, stepMs: 20_000 });
}, 120_000);
afterAll(() => ground.stop());

test("random sessions in auto mode are answered as without a pooler", { timeout: plansMsMax }, async () => {
  await comparePlans({ ground, viasOf: (plan) => (plan.roomy ? roomy : tight) });
});
