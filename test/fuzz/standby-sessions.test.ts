/**
 * The random sessions of auto-sessions.test.ts where reads go to a standby: each is answered as by the primary alone, and nothing is
 * left there either. How long, and with which seeds: plan-runs.ts.
 */
import { afterAll, beforeAll, test } from "vitest";
import { rewritesFor } from "../differential/differences.ts";
import { Ground, type Via } from "../kit/differential/ground.ts";
import { waitUntil } from "../kit/wait.ts";
import type { AutoPlan } from "./auto-plans.ts";
import { comparePlans, plansMsMax } from "./plan-runs.ts";

/** What anybody has written is seen by all, as long as it went through the pooler. */
const settings = {
  load_balance_mode: true,
  read_your_writes: "global",
  read_your_writes_wait: 5,
  health_check_user: "postgres",
  health_check_period: 0.2,
};
const tight: readonly Via[] = [1, 3].map((servers) => ({ mode: "auto", servers, settings }));
/** As in auto-sessions.test.ts. */
const roomy: readonly Via[] = [{ mode: "auto", servers: 7, settings }];

/** What a transaction has left on a standby, a portal or a cursor, keeps it there (docs/clusters.md). */
const notMoved = "could not move the transaction from a standby to the primary";

let ground: Ground;
beforeAll(async () => {
  ground = await Ground.start({ lanes: 1, standbys: 1, rewrites: rewritesFor, stepMs: 20_000 });
}, 120_000);
afterAll(() => ground.stop());

test("random sessions that read on a standby are answered as by the primary", {
  timeout: plansMsMax,
}, async () => {
  const viasOf = (plan: AutoPlan): readonly Via[] => (plan.roomy ? roomy : tight);
  const runs = await comparePlans({ ground, viasOf, cut: withoutGates, known: notMoved });
  // One alone may read nothing. A server that is idle counts what it has done within ten seconds.
  if (runs > 1) await waitUntil(async () => (await ground.readsOnStandbys()) > 0, "reads on standbys");
});

/** A table is locked beside the pooler, which holds nobody up on a standby. */
function withoutGates(plan: AutoPlan): AutoPlan {
  return { ...plan, steps: plan.steps.filter(({ kind }) => kind !== "gate") };
}
