/**
 * The answer of Patroni's REST API to `GET /cluster` (Patroni's manual, "REST API", "Cluster status endpoints"): a
 * `members` list of objects with `name`, `role`, `state`, `host`, `port`, `timeline` and `tags`. Members that have not said yet
 * where they are have no `host`.
 */
import type { ManagedMember, ManagerAnswer } from "./manager.ts";

/** Roles of the member that holds the leader key; `master` is that of Patroni before 4. */
const leaderRoles: ReadonlySet<unknown> = new Set(["leader", "master", "primary"]);
/** States of members that follow; the last one is what is told of a standby that does not stream. */
const runningStates: ReadonlySet<unknown> = new Set(["running", "streaming", "in archive recovery"]);

/** A text instead of it: what is wrong with the answer. */
export function patroniAnswer(body: string): ManagerAnswer | string {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return "the answer is not JSON";
  }
  const list = isRecord(value) ? value["members"] : undefined;
  if (!Array.isArray(list)) return "the answer has no list of members";
  const members = list.map(memberOf).filter((member) => member !== undefined);
  if (members.length === 0) return "the answer lists no member with an address";
  if (new Set(members.map(({ name }) => name)).size < members.length)
    return "the answer lists a member twice";
  if (members.filter(({ leader }) => leader).length > 1) return "the answer names several leaders";
  return { members };
}

function memberOf(value: unknown): ManagedMember | undefined {
  if (!isRecord(value)) return undefined;
  const { name, host, role, state, timeline, tags } = value;
  const port = value["port"] ?? 5432;
  if (!isText(name) || !isText(host)) return undefined;
  if (!isInteger(port) || port < 1 || port > 65_535) return undefined;
  return {
    name,
    host,
    port,
    leader: leaderRoles.has(role),
    running: runningStates.has(state),
    timeline: isInteger(timeline) ? timeline : undefined,
    ...(isRecord(tags) && tags["noloadbalance"] === true ? { noLoadBalance: true } : {}),
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "" && !value.includes("\0");
}

function isInteger(value: unknown): value is number {
  return Number.isInteger(value);
}
