/**
 * What a client keeps its server for while it is in the middle of something: an open transaction, a COPY, a batch without its
 * Sync. Nothing is noted for it while statements pass, but how often and by which of the rare ones: what there is now is read from the
 * server's queue of replies when somebody asks.
 */
import type { Server } from "../../pool/server.ts";
import { redacted } from "../../sql/index.ts";
import { TransactionStatus } from "../../wire/constants.ts";
import type { Activity } from "../activity.ts";
import type { HeldFor } from "./causes.ts";
import type { ClientTexts } from "./client-texts.ts";
import type { HeldBegin } from "./held-begin.ts";

/** `portal`: a batch was sent in part, with Flush, and may have a portal open. */
export const passingNames = ["transaction", "copy", "portal"] as const;
export type PassingName = (typeof passingNames)[number];

const nothing: readonly HeldFor[] = [];

export function passingReservations(
  server: Server | undefined,
  activity: Activity,
  heldBegin: HeldBegin,
  texts: ClientTexts,
): readonly HeldFor[] {
  if (server === undefined) return nothing;
  const { replies } = server;
  const held: HeldFor[] = [];
  const add = (reservation: PassingName, sinceMs: number, text: string): void => {
    held.push({ reservation, sinceMs, statement: redacted(text) });
  };
  if (replies.status !== TransactionStatus.idle) add("transaction", activity.xactStartMs, heldBegin.text);
  if (replies.copies) add("copy", activity.queryStartMs, texts.copy);
  else if (!replies.betweenUnits) add("portal", activity.queryStartMs, texts.bound);
  return held;
}
