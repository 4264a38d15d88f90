/**
 * What a cluster manager says, and what that changes. It never makes a node the primary: only what the node says of
 * itself does, as without a manager. Its word can
 * - hold a primary back: if it names another one, nothing is written to this one until that one is found to be it;
 * - decide between two primaries of one timeline, as a person would with ACCEPT;
 * - end the fence of a former primary that it has made a standby and that says so itself, on the current timeline. A
 *   fence that an administrator has set stays.
 * A word counts until the next one, or until the manager is not reached: then all is as without one.
 */
import type { Member } from "../config/members.ts";
import type { ClusterMemory } from "./memory.ts";
import type { Observation } from "./primary.ts";

export interface ManagerAnswer {
  readonly members: readonly ManagedMember[];
}

export interface ManagedMember extends Member {
  readonly leader: boolean;
  /** It runs, as far as the manager knows, and follows its leader if it is not the leader itself. */
  readonly running: boolean;
  readonly timeline: number | undefined;
}

/** An answer, and when it was asked for: what happened since it cannot know. */
export interface ManagerWord extends ManagerAnswer {
  readonly askedAt: number;
}

/** Whom it names as the primary; undefined: nobody, or it is not heard. */
export function leaderOf(word: ManagerAnswer | undefined): string | undefined {
  return word?.members.find(({ leader }) => leader)?.name;
}

/** Why nothing is to be written to the primary that was found; undefined: the manager has nothing against it. */
export function objection(
  word: ManagerWord | undefined,
  primary: string,
  timeline: number,
): string | undefined {
  const leader = leaderOf(word);
  if (word === undefined || leader === undefined || leader === primary) return undefined;
  // Whoever answers for it may be cut off from the rest and know no better.
  const known = Math.max(...word.members.map((member) => member.timeline ?? 0));
  if (known < timeline) return undefined;
  return `the cluster manager names node "${leader}", which is not found to be the primary; node "${primary}" is`;
}

/** The node whose history it chooses; undefined: there is nothing to choose. */
export function chosenBy(
  word: ManagerWord | undefined,
  { conflict }: ClusterMemory,
  conflictSince: number,
  observations: readonly Observation[],
): string | undefined {
  const leader = leaderOf(word);
  if (word === undefined || leader === undefined || conflict === undefined) return undefined;
  if (word.askedAt < conflictSince || !conflict.nodes.includes(leader)) return undefined;
  const seen = observations.find(({ name }) => name === leader);
  return seen?.fresh === true && seen.answer?.report.inRecovery === false ? leader : undefined;
}

/** The memory without the fences that the manager ends. */
export function withoutEndedFences(
  word: ManagerWord | undefined,
  memory: ClusterMemory,
  observations: readonly Observation[],
): ClusterMemory {
  if (word === undefined || leaderOf(word) === undefined) return memory;
  const ended = Object.entries(memory.fenced).filter(([name, fence]) => {
    const member = word.members.find((one) => one.name === name);
    if (member === undefined || member.leader || !member.running || fence.administrative === true)
      return false;
    const seen = observations.find((one) => one.name === name);
    if (seen?.fresh !== true || seen.answer === undefined) return false;
    const { report } = seen.answer;
    return (
      report.inRecovery &&
      report.timeline === memory.timeline &&
      report.systemIdentifier === memory.systemIdentifier
    );
  });
  if (ended.length === 0) return memory;
  const over = new Set(ended.map(([name]) => name));
  const fenced = Object.fromEntries(Object.entries(memory.fenced).filter(([name]) => !over.has(name)));
  return { ...memory, fenced };
}
