/**
 * Which node is the primary. Found from what the nodes say of themselves, never believed from a file or a setting.
 *
 * - The highest timeline wins: every promotion begins a new one, so a primary of a lower one is of a history that
 *   is over. The highest ever seen is remembered, whoever told of it, a standby too: that one follows somebody.
 * - A primary of a lower timeline is fenced, for good. Only what it says *after* the higher timeline was known
 *   counts: before, it may have been right, and a planned switchover must not leave it fenced.
 * - Two primaries of one timeline stop all writes until a person decides, even if one of them goes away. They too
 *   have to say so after each other: a claim that is older than the other's is checked first.
 * - Nobody is chosen before every node was tried once, else the old primary might win by answering first. Who was chosen
 *   stays so while nodes that have joined since are tried.
 * - Nodes that administrators took out, and nodes whose configured role forbids what they are, have no say.
 *
 * Lowering any of this is left to `accept` and `unfence`, which a person or a cluster manager asks for.
 */
import type { Answer, Condition } from "./health.ts";
import type { ClusterMemory, Fence } from "./memory.ts";
import type { NodeSettings, NoPrimaryReason } from "./topology.ts";

export interface Observation {
  readonly name: string;
  readonly role: NodeSettings["role"];
  readonly condition: Condition;
  readonly answer: Answer | undefined;
  /** Whether the last result was that answer. */
  readonly fresh: boolean;
  readonly heard: boolean;
}

export interface Detection {
  readonly primary: string | undefined;
  readonly noPrimary: NoPrimaryReason | undefined;
  readonly detail: string;
  /** Nodes that answer and must not be used, with the reason. */
  readonly quarantined: ReadonlyMap<string, string>;
  /** Nodes whose claim has to be heard again before anything follows from it. */
  readonly checking: ReadonlySet<string>;
  readonly memory: ClusterMemory;
}

interface Claim {
  readonly name: string;
  readonly timeline: number;
  /** When the first answer of an unbroken row of such claims was there. */
  readonly since: number;
}

export class PrimaryDetector {
  readonly #claims = new Map<string, Claim>();
  readonly #diverged = new Set<string>();
  #chosen: Claim | undefined;
  /** When the answer that told of the highest timeline was there; from a file: always. */
  #timelineSince = Number.NEGATIVE_INFINITY;
  /** Whether a node has answered as one of the remembered database cluster since this process began. */
  #confirmed = false;

  /** After each result. `now` is when the result was there. */
  detect(observations: readonly Observation[], memory: ClusterMemory, now: number): Detection {
    const quarantined = new Map<string, string>();
    const checking = new Set<string>();
    let next = this.#identify(observations, memory, quarantined);
    next = this.#raiseTimeline(observations, next, quarantined, now);
    this.#noteClaims(observations, next, quarantined, now);
    for (const { name, answer } of observations) {
      const report = answer?.report;
      // One answer is enough for this, however unsteady the node is otherwise.
      if (report === undefined || report.inRecovery || report.timeline >= next.timeline) continue;
      if (report.systemIdentifier !== next.systemIdentifier || quarantined.has(name)) continue;
      if (next.fenced[name] !== undefined) continue;
      if (answer !== undefined && answer.startedAt < this.#timelineSince) {
        if (this.#claims.has(name)) checking.add(name);
      } else next = fence(next, name, report.timeline);
    }
    this.#noteDiverged(observations, next, quarantined);
    const claims = [...this.#claims.values()].filter(
      ({ name, timeline }) => timeline === next.timeline && next.fenced[name] === undefined,
    );
    const choice = this.#choose(observations, claims, next, quarantined, checking);
    const { primary, noPrimary, detail } = choice;
    return { primary, noPrimary, detail, quarantined, checking, memory: choice.memory };
  }

  /** The history of this node is the one from now on: everybody who is ahead of it is fenced. */
  accept(
    name: string,
    observations: readonly Observation[],
    memory: ClusterMemory,
    now: number,
  ): ClusterMemory {
    const chosen = observations.find((observation) => observation.name === name)?.answer?.report;
    if (chosen === undefined) return memory;
    const { [name]: _, ...others } = memory.fenced;
    const fenced: Record<string, Fence> = { ...others };
    const reason = `the history of node "${name}" was chosen over that of this node`;
    for (const other of memory.conflict?.nodes ?? []) {
      if (other !== name) fenced[other] = { timeline: memory.timeline, reason };
    }
    for (const { name: other, answer } of observations) {
      if (other === name || answer === undefined) continue;
      const { timeline, inRecovery, systemIdentifier } = answer.report;
      if (systemIdentifier !== chosen.systemIdentifier) continue;
      if (timeline < chosen.timeline || (timeline === chosen.timeline && inRecovery)) continue;
      fenced[other] = { timeline, reason };
    }
    this.#timelineSince = now;
    this.#confirmed = true;
    const { systemIdentifier, timeline } = chosen;
    return { ...memory, systemIdentifier, timeline, fenced, conflict: undefined };
  }

  /** Forgets nodes that are no longer configured. */
  keep(names: ReadonlySet<string>): void {
    for (const name of this.#claims.keys()) if (!names.has(name)) this.#claims.delete(name);
    for (const name of this.#diverged) if (!names.has(name)) this.#diverged.delete(name);
  }

  /** Which database cluster this is about, and who belongs to another one. */
  #identify(
    observations: readonly Observation[],
    memory: ClusterMemory,
    quarantined: Map<string, string>,
  ): ClusterMemory {
    const known = this.#confirmed && memory.systemIdentifier !== undefined;
    const found = known ? nothingCounted : countIdentifiers(observations);
    let next = memory;
    if (memory.systemIdentifier !== undefined && found.counts.has(memory.systemIdentifier))
      this.#confirmed = true;
    else if (!this.#confirmed && found.most !== undefined && observations.every(({ heard }) => heard)) {
      // What a file says of another database cluster, or of the one before pg_upgrade, means nothing here.
      const systemIdentifier = found.most;
      const stale = memory.systemIdentifier !== undefined;
      next = stale
        ? { ...memory, systemIdentifier, timeline: 0, fenced: {}, conflict: undefined }
        : { ...memory, systemIdentifier };
      this.#confirmed = true;
    }
    const expected = next.systemIdentifier;
    for (const { name, answer, role } of observations) {
      const report = answer?.report;
      if (report === undefined) continue;
      if (expected !== undefined && report.systemIdentifier !== expected) {
        quarantined.set(
          name,
          `belongs to another database cluster: its system identifier is ${report.systemIdentifier}, that of the others ${expected}`,
        );
      } else if (expected === undefined && found.counts.size > 1) {
        quarantined.set(name, "the nodes belong to different database clusters");
      } else if (role !== "auto" && (role === "primary") === report.inRecovery) {
        quarantined.set(
          name,
          `is configured as ${role}, but is a ${report.inRecovery ? "standby" : "primary"}`,
        );
      }
    }
    for (const name of Object.keys(next.administrative)) {
      if (next.administrative[name] === "draining") continue;
      if (!quarantined.has(name)) quarantined.set(name, `was taken out by an administrator`);
    }
    return next;
  }

  #raiseTimeline(
    observations: readonly Observation[],
    memory: ClusterMemory,
    quarantined: ReadonlyMap<string, string>,
    now: number,
  ): ClusterMemory {
    let { timeline } = memory;
    for (const { name, answer } of observations) {
      if (answer === undefined || quarantined.has(name)) continue;
      if (answer.report.systemIdentifier !== memory.systemIdentifier) continue;
      const told = answer.report.timeline;
      if (told > timeline && told > (memory.fenced[name]?.timeline ?? 0)) timeline = told;
    }
    if (timeline === memory.timeline) return memory;
    this.#timelineSince = now;
    return { ...memory, timeline };
  }

  #noteClaims(
    observations: readonly Observation[],
    memory: ClusterMemory,
    quarantined: ReadonlyMap<string, string>,
    now: number,
  ): void {
    for (const { name, answer, condition, fresh } of observations) {
      const report = answer?.report;
      const claims =
        report !== undefined &&
        !report.inRecovery &&
        // One answer contradicts another primary, also of a node that has yet to prove itself to be up.
        (condition === "answering" || fresh) &&
        !quarantined.has(name) &&
        report.systemIdentifier === memory.systemIdentifier;
      if (!claims) this.#claims.delete(name);
      else if (this.#claims.get(name)?.timeline !== report.timeline) {
        this.#claims.set(name, { name, timeline: report.timeline, since: now });
      }
    }
  }

  /**
   * A standby that has replayed more of an older timeline than there is of the log since the next one began: its data
   * are of no history that goes on. It stays so until it is on the current timeline; it would look right as soon as
   * the primary has written as much.
   */
  #noteDiverged(
    observations: readonly Observation[],
    memory: ClusterMemory,
    quarantined: Map<string, string>,
  ): void {
    const primary = observations.find(
      ({ name, answer }) => answer !== undefined && this.#claims.get(name)?.timeline === memory.timeline,
    )?.answer;
    const end = primary?.report.lsn;
    for (const { name, answer } of observations) {
      if (answer === undefined) continue;
      const { inRecovery, timeline, lsn } = answer.report;
      if (!inRecovery || timeline >= memory.timeline) this.#diverged.delete(name);
      else if (primary !== undefined && end !== undefined && lsn !== undefined && lsn > end) {
        if (answer.startedAt <= primary.startedAt) this.#diverged.add(name);
      }
      if (this.#diverged.has(name) && !quarantined.has(name)) {
        quarantined.set(
          name,
          `has replayed more of timeline ${timeline} than timeline ${memory.timeline} goes on from`,
        );
      }
    }
  }

  #choose(
    observations: readonly Observation[],
    claims: readonly Claim[],
    memory: ClusterMemory,
    quarantined: ReadonlyMap<string, string>,
    checking: Set<string>,
  ): Pick<Detection, "primary" | "noPrimary" | "detail" | "memory"> {
    const conflict = standingConflict(observations, memory, quarantined);
    const next = conflict === memory.conflict ? memory : { ...memory, conflict };
    if (conflict !== undefined) return inConflict(next, conflict.nodes);
    const [claim] = claims;
    if (claim === undefined) return withoutClaim(observations, next, quarantined);
    const untried = observations.filter(({ heard, name }) => !heard && !quarantined.has(name));
    const stays = claims.length === 1 && claim === this.#chosen;
    if (untried.length > 0 && !stays) {
      return none(next, "checking", `nothing is known yet of ${names(untried.map(({ name }) => name))}`);
    }
    if (claims.length === 1) {
      this.#chosen = claim;
      return { primary: claim.name, noPrimary: undefined, detail: "", memory: next };
    }
    const answers = new Map(
      observations.map(({ name, answer, fresh }) => [name, fresh ? answer : undefined]),
    );
    const newest = Math.max(...claims.map(({ since }) => since));
    const unsure = claims.filter(({ name, since }) => {
      const startedAt = answers.get(name)?.startedAt;
      // The newest claim itself needs no second hearing: the others are heard after it.
      return startedAt === undefined || (startedAt < newest && since !== newest);
    });
    if (unsure.length === 0) {
      const nodes = claims.map(({ name }) => name);
      return inConflict({ ...next, conflict: { timeline: next.timeline, nodes } }, nodes);
    }
    for (const { name } of unsure) checking.add(name);
    return none(next, "checking", `${names(claims.map(({ name }) => name))} claim to be the primary`);
  }
}

/** How many nodes are of which database cluster, and of which one most are, if that is one. */
interface Identifiers {
  readonly counts: ReadonlyMap<string, number>;
  readonly most: string | undefined;
}

const nothingCounted: Identifiers = { counts: new Map(), most: undefined };

function countIdentifiers(observations: readonly Observation[]): Identifiers {
  const counts = new Map<string, number>();
  for (const { answer } of observations) {
    if (answer === undefined) continue;
    const { systemIdentifier } = answer.report;
    counts.set(systemIdentifier, (counts.get(systemIdentifier) ?? 0) + 1);
  }
  const [first, second] = [...counts].sort(([, a], [, b]) => b - a);
  return { counts, most: first === undefined || first[1] === second?.[1] ? undefined : first[0] };
}

/** A node that claims to be the primary of a history that is over. */
function fence(memory: ClusterMemory, name: string, timeline: number): ClusterMemory {
  const reason = `was the primary of timeline ${timeline}, and timeline ${memory.timeline} exists`;
  return { ...memory, fenced: { ...memory.fenced, [name]: { timeline, reason } } };
}

/** The remembered conflict, unless it is over: all but one have given up the role, or a higher timeline ended it. */
function standingConflict(
  observations: readonly Observation[],
  memory: ClusterMemory,
  quarantined: ReadonlyMap<string, string>,
): ClusterMemory["conflict"] {
  const { conflict } = memory;
  if (conflict === undefined || memory.timeline > conflict.timeline) return undefined;
  const claiming = conflict.nodes.filter((name) => {
    const seen = observations.find((observation) => observation.name === name);
    if (seen === undefined || memory.fenced[name] !== undefined || quarantined.has(name)) return false;
    return !(seen.fresh && seen.answer?.report.inRecovery === true);
  });
  return claiming.length > 1 ? conflict : undefined;
}

function inConflict(memory: ClusterMemory, nodes: readonly string[]): ReturnType<typeof none> {
  return none(
    memory,
    "conflict",
    `${names(nodes)} are primaries of the same timeline ${memory.timeline}; nothing is written until one of them is fenced`,
  );
}

function withoutClaim(
  observations: readonly Observation[],
  memory: ClusterMemory,
  quarantined: ReadonlyMap<string, string>,
): ReturnType<typeof none> {
  const last = observations.find(
    ({ name, answer }) =>
      answer?.report.inRecovery === false &&
      answer.report.timeline === memory.timeline &&
      memory.fenced[name] === undefined,
  );
  if (last?.condition === "starting") return none(memory, "recovering", `node "${last.name}" is starting up`);
  if (last?.condition === "stopping") return none(memory, "draining", `node "${last.name}" is shutting down`);
  if (observations.some(({ heard }) => !heard))
    return none(memory, "checking", "not every node was probed yet");
  const barred = observations.find(
    ({ name, answer }) => answer?.report.inRecovery === false && quarantined.has(name),
  );
  if (barred !== undefined) {
    return none(memory, "none_found", `node "${barred.name}" ${quarantined.get(barred.name)}`);
  }
  const fenced = observations.find(({ name }) => memory.fenced[name] !== undefined);
  if (last !== undefined)
    return none(memory, "none_found", `node "${last.name}", the primary, is not reached`);
  if (fenced !== undefined) return none(memory, "none_found", `node "${fenced.name}" is fenced`);
  return none(memory, "none_found", "no node is a primary");
}

function none(
  memory: ClusterMemory,
  noPrimary: NoPrimaryReason,
  detail: string,
): Pick<Detection, "primary" | "noPrimary" | "detail" | "memory"> {
  return { primary: undefined, noPrimary, detail, memory };
}

function names(nodes: readonly string[]): string {
  return nodes.map((name) => `node "${name}"`).join(" and ");
}
