/**
 * What has to outlive a restart of the pooler, and a reload: what was seen of histories and what people said. All of it
 * makes things stricter; none of it makes a node usable. Where nodes are and which of them is the primary
 * is found anew each time.
 */
export interface ClusterMemory {
  /** The database cluster that the timelines are of. */
  readonly systemIdentifier: string | undefined;
  /** The highest timeline ever seen; 0 for none. */
  readonly timeline: number;
  /** Nodes of histories that are over. */
  readonly fenced: Readonly<Record<string, Fence>>;
  /** Nodes that claimed to be the primary on one timeline; writes stop until a person decides. */
  readonly conflict: Conflict | undefined;
  /** What administrators have set; it lasts until they take it back. */
  readonly administrative: Readonly<Record<string, AdministrativeState>>;
}

export interface Fence {
  /** The highest timeline of this node that is known to be over; what it reports beyond is news. */
  readonly timeline: number;
  readonly reason: string;
  /** A person said so: no cluster manager ends it. */
  readonly administrative?: boolean;
}

export interface Conflict {
  readonly timeline: number;
  readonly nodes: readonly string[];
}

export type AdministrativeState = "draining" | "down" | "quarantined";

export const noMemory: ClusterMemory = Object.freeze({
  systemIdentifier: undefined,
  timeline: 0,
  fenced: Object.freeze({}),
  conflict: undefined,
  administrative: Object.freeze({}),
});

const formatVersion = 1;

export function memoryToText(memory: ClusterMemory): string {
  return `${JSON.stringify({ version: formatVersion, ...memory }, undefined, 2)}\n`;
}

/** Undefined if the text is not what {@link memoryToText} writes. */
export function memoryFromText(text: string): ClusterMemory | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value) || value["version"] !== formatVersion) return undefined;
  const { systemIdentifier, timeline, fenced, conflict, administrative } = value;
  const identifier = systemIdentifier === undefined || typeof systemIdentifier === "string";
  if (!identifier || !isTimeline(timeline) || !isRecord(fenced) || !isRecord(administrative))
    return undefined;
  if (!Object.values(fenced).every(isFence)) return undefined;
  if (!Object.values(administrative).every(isAdministrativeState)) return undefined;
  if (conflict !== undefined && !isConflict(conflict)) return undefined;
  return {
    systemIdentifier,
    timeline,
    fenced: fenced as Record<string, Fence>,
    conflict,
    administrative: administrative as Record<string, AdministrativeState>,
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTimeline(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffffffff;
}

function isFence(value: unknown): value is Fence {
  return isRecord(value) && isTimeline(value["timeline"]) && typeof value["reason"] === "string";
}

function isConflict(value: unknown): value is Conflict {
  if (!isRecord(value) || !isTimeline(value["timeline"])) return false;
  const { nodes } = value;
  return Array.isArray(nodes) && nodes.every((node) => typeof node === "string");
}

function isAdministrativeState(value: unknown): value is AdministrativeState {
  return value === "draining" || value === "down" || value === "quarantined";
}
