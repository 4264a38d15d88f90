/**
 * Which of several nodes gets the next read. Chance comes in as a function, so that a seed repeats everything.
 *
 * - `weighted`: by chance, in the proportion of the weights, whatever the nodes do. Vose's alias method: one random
 *   number and two array reads for any number of nodes.
 * - `least_outstanding`: the fewest statements running there per weight; ties by chance.
 * - `latency`: of two drawn by weight, the one that answers sooner, its running statements counted in (the power of two
 *   choices, Mitzenmacher 2001): a slow node gets less without all going to the fastest one at once.
 *
 * Own zone first: nodes of other zones are only asked while no node of the own one may be read.
 */
import { assert } from "../base/assert.ts";

export type BalancePolicy = "weighted" | "least_outstanding" | "latency";

/** From 0 inclusive to 1 exclusive. */
export type RandomNumber = () => number;

/** What is known of a node's load at this moment; asked for only by the policies that need it. */
export interface NodeLoad {
  /** Statements that run there, or wait to. */
  outstanding(node: string): number;
  /** How long they take of late, in milliseconds; undefined if nothing is known. */
  latencyMs(node: string): number | undefined;
}

export interface Candidate {
  readonly name: string;
  readonly weight: number;
  readonly zone: string | undefined;
}

/** Over one set of candidates, made anew when the set or a weight changes. */
export interface Balancer {
  readonly candidates: readonly Candidate[];
  pick(random: RandomNumber): string;
}

/** Undefined if nobody has a weight. `zone`: where the pooler is, undefined if that does not matter. */
export function makeBalancer(
  policy: BalancePolicy,
  all: readonly Candidate[],
  zone: string | undefined,
  load: NodeLoad,
): Balancer | undefined {
  const weighted = all.filter(({ weight }) => weight > 0);
  const near = zone === undefined ? weighted : weighted.filter((candidate) => candidate.zone === zone);
  const candidates = near.length > 0 ? near : weighted;
  if (candidates.length === 0) return undefined;
  const table = new AliasTable(candidates.map(({ weight }) => weight));
  const at = (index: number): Candidate => {
    const candidate = candidates[index];
    assert(candidate !== undefined, "the table is over the candidates");
    return candidate;
  };
  switch (policy) {
    case "weighted":
      return { candidates, pick: (random) => at(table.draw(random)).name };
    case "least_outstanding":
      return { candidates, pick: (random) => leastOutstanding(candidates, load, random) };
    case "latency":
      return {
        candidates,
        pick: (random) => sooner(at(table.draw(random)), at(table.draw(random)), load).name,
      };
  }
}

/** Draws an index in proportion to its weight (M. D. Vose, IEEE Trans. Software Eng. 17(9), 1991). */
export class AliasTable {
  readonly #probability: Float64Array;
  readonly #alias: Uint32Array;

  constructor(weights: readonly number[]) {
    const count = weights.length;
    const sum = weights.reduce((total, weight) => total + weight, 0);
    assert(count > 0 && sum > 0 && Number.isFinite(sum), "there is something to draw from");
    assert(
      weights.every((weight) => weight >= 0),
      "weights are not negative",
    );
    this.#probability = new Float64Array(count).fill(1);
    this.#alias = Uint32Array.from({ length: count }, (_, index) => index);
    const scaled = weights.map((weight) => (weight * count) / sum);
    const small = scaled.flatMap((share, index) => (share < 1 ? [index] : []));
    const large = scaled.flatMap((share, index) => (share < 1 ? [] : [index]));
    for (let low = small.pop(), high = large.at(-1); low !== undefined && high !== undefined; ) {
      this.#probability[low] = scaled[low] ?? 0;
      this.#alias[low] = high;
      const left = (scaled[high] ?? 0) + (scaled[low] ?? 0) - 1;
      scaled[high] = left;
      if (left < 1) {
        large.pop();
        small.push(high);
      }
      low = small.pop();
      high = large.at(-1);
      // What rounding leaves over has a probability of one, as it was set at first.
    }
  }

  draw(random: RandomNumber): number {
    const position = random() * this.#probability.length;
    const index = Math.floor(position);
    return position - index < (this.#probability[index] ?? 0) ? index : (this.#alias[index] ?? 0);
  }
}

/** The first of the fewest, begun at a random place so that ties go round. */
function leastOutstanding(candidates: readonly Candidate[], load: NodeLoad, random: RandomNumber): string {
  const start = Math.floor(random() * candidates.length);
  let best = "";
  let least = Number.POSITIVE_INFINITY;
  for (let step = 0; step < candidates.length; step++) {
    const candidate = candidates[(start + step) % candidates.length];
    if (candidate === undefined) continue;
    const per = (load.outstanding(candidate.name) + 1) / candidate.weight;
    if (per >= least) continue;
    least = per;
    best = candidate.name;
  }
  assert(best !== "", "one candidate has the fewest");
  return best;
}

/** A node of which nothing is known yet is tried, so that something becomes known. */
function sooner(a: Candidate, b: Candidate, load: NodeLoad): Candidate {
  const expected = ({ name }: Candidate): number =>
    (load.latencyMs(name) ?? 0) * (load.outstanding(name) + 1);
  return expected(b) < expected(a) ? b : a;
}

/**
 * How long statements take on each node: a moving average over time, in which a second-old sample counts a third.
 * Peak-sensitive: a slower sample counts at once, so that a node that begins to hang is left quickly.
 */
export class LatencyAverage {
  #ms: number | undefined;
  #at = 0;

  get ms(): number | undefined {
    return this.#ms;
  }

  note(ms: number, now: number): void {
    if (this.#ms === undefined || ms > this.#ms) this.#ms = ms;
    else {
      const old = Math.exp((this.#at - now) / decayMs);
      this.#ms = this.#ms * old + ms * (1 - old);
    }
    this.#at = now;
  }
}

const decayMs = 1000;
