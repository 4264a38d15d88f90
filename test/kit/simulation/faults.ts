/** What goes wrong in one run of the simulation, from its seed. */
import { seeded } from "../random.ts";
import type { Fault, TimedFault } from "./world.ts";

export const faultsEndMs = 3000;
const faultsBeginMs = 200;
const faultsMax = 10;

/** Promotions are twice as likely as anything else. */
const kinds = [
  "crash",
  "start",
  "cut",
  "heal",
  "stall",
  "resume",
  "slow",
  "quick",
  "promote",
  "promote",
  "switch_over",
  "rewind",
  "silence",
  "deceive",
  "hear",
  "restart_pooler",
] as const;

export function randomFaults(seed: number, nodeCount: number): TimedFault[] {
  const random = seeded(seed);
  const count = 1 + Math.floor(random() * faultsMax);
  const faults = Array.from({ length: count }, (): TimedFault => {
    const kind = kinds[Math.floor(random() * kinds.length)] ?? "crash";
    const fault = faultOf(kind, Math.floor(random() * nodeCount));
    return { at: Math.floor(faultsBeginMs + random() * (faultsEndMs - faultsBeginMs)), fault };
  });
  return faults.sort((a, b) => a.at - b.at);
}

function faultOf(kind: Fault["kind"], node: number): Fault {
  switch (kind) {
    case "silence":
    case "deceive":
    case "hear":
    case "restart_pooler":
      return { kind };
    default:
      return { kind, node };
  }
}
