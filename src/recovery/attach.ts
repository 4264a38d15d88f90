/** What the poolers are asked and told: who is the primary, that a node is being made anew, and that it is back. */
import { setTimeout as sleep } from "node:timers/promises";
import { recoveryError } from "./errors.ts";
import type { NodeRow, PoolerConsole } from "./pooler-console.ts";

const pollMs = 100;

/** Undefined: nobody was asked. Rejects with `recovery.refused` if there is none, if it is the node itself, or if they disagree. */
export async function primaryOf(
  consoles: readonly PoolerConsole[],
  node: string,
): Promise<string | undefined> {
  let primary: string | undefined;
  for (const console of consoles) {
    await console.node(node);
    const name = (await console.nodes()).find((row) => row.primary)?.name;
    if (name === undefined) {
      throw recoveryError("recovery.refused", `the pooler at ${console.place} knows no primary`, {
        hint: "SHOW NODES of its console says why. A standby needs a primary to be copied from: promote a node first.",
      });
    }
    if (primary !== undefined && name !== primary) {
      throw recoveryError(
        "recovery.refused",
        `the poolers disagree on the primary: "${primary}" or "${name}"`,
      );
    }
    primary = name;
  }
  if (primary !== node) return primary;
  throw recoveryError("recovery.refused", `node "${node}" is the primary; nothing was changed`, {
    hint: "Promote another node first (PROMOTE of the console).",
  });
}

/** Nothing is read there until it has caught up. */
export async function detach(
  consoles: readonly PoolerConsole[],
  node: string,
  onDone: (text: string) => void,
): Promise<void> {
  for (const console of consoles) {
    await console.tell("DETACH", node);
    onDone(`the pooler at ${console.place} leaves node "${node}" alone`);
  }
}

export interface AttachOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly onDone: (text: string) => void;
}

/** Rejects with `recovery.not_attached`. */
export async function attach(
  consoles: readonly PoolerConsole[],
  node: string,
  { timeoutMs, signal, onDone }: AttachOptions,
): Promise<void> {
  for (const console of consoles) {
    const deadline = performance.now() + timeoutMs;
    let told = false;
    for (;;) {
      const row = await console.node(node);
      if (told && row.state === "up") break;
      if (!told && (await follows(console, row))) {
        if (row.state === "fenced") await console.tell("UNFENCE", node);
        await console.tell("ATTACH", node);
        told = true;
      }
      if (performance.now() > deadline) throw notAttached(console, row, timeoutMs);
      await sleep(pollMs, undefined, { signal });
    }
    onDone(`the pooler at ${console.place} uses node "${node}"`);
  }
}

/** Whether the pooler has seen itself that the node is a standby of the history that counts. */
async function follows(console: PoolerConsole, { role, timeline }: NodeRow): Promise<boolean> {
  const primary = (await console.nodes()).find((row) => row.primary);
  return role === "standby" && (primary === undefined || primary.timeline === timeline);
}

function notAttached(console: PoolerConsole, row: NodeRow, timeoutMs: number): Error {
  const because = row.reason === "" ? "" : `: ${row.reason}`;
  return recoveryError(
    "recovery.not_attached",
    `node "${row.name}" is a standby that has caught up, and the pooler at ${console.place} does not use it`,
    {
      detail: `After ${timeoutMs / 1000} s (recovery_timeout) it is ${row.role ?? "unknown"} and ${row.state} there${because}.`,
      hint: "When the reason is gone, say ATTACH (or UNFENCE) at its console, or run the command again with --no-copy.",
    },
  );
}
