/**
 * Small writes of one turn of the event loop leave together, after everything that has come in this turn has
 * been read and handled. It costs a copy of some bytes and saves much more: a peer that is woken by a write at
 * once takes the processor away in the middle of a turn, and is woken again for the next reply that was about
 * to follow (a tenth of the throughput at 64 clients, bench/micro/README.md).
 *
 * Bytes are copied into one arena, so that whoever wrote them may use them again at once.
 */
import { assert } from "./assert.ts";

/** A stream that has bytes in the arena. */
export interface TurnWriter {
  /** Writes its bytes; says so with {@link keepTurn} if the kernel has not taken them all. */
  sendTurn(): void;
}

/** Has something to do when everything that has come in a turn has been handled. */
export interface TurnEnding {
  /** What it writes leaves with the rest of the turn. Must not throw. */
  onTurnEnd(): void;
}

const arenaBytes = 256 * 1024;
/** Longer chunks gain nothing from waiting. */
export const turnBytesMax = 2048;

let arena = Buffer.allocUnsafeSlow(arenaBytes);
let used = 0;
let writers: TurnWriter[] = [];
let spareWriters: TurnWriter[] = [];
let endings: TurnEnding[] = [];
let spareEndings: TurnEnding[] = [];
let scheduled = false;
let kept = false;
/** Turns that had something to do at their end. */
let turns = 0;

/** How many turns had something to do at their end: what was sent two turns ago has had time to be answered. */
export function turnNumber(): number {
  return turns;
}

/** Where the arena is filled to: a writer whose bytes end here can append. */
export function turnEnd(): number {
  return used;
}

/** Copies a chunk into the arena; returns where it ends. `first`: the writer has no bytes there yet. */
export function addToTurn(writer: TurnWriter, chunk: Buffer, first: boolean): number {
  assert(
    chunk.length <= turnBytesMax && used + chunk.length <= arenaBytes,
    "a turn's bytes fit in the arena",
  );
  chunk.copy(arena, used);
  used += chunk.length;
  if (first) writers.push(writer);
  schedule();
  return used;
}

/** Calls `ending` once, before what was written in this turn is sent. */
export function atTurnEnd(ending: TurnEnding): void {
  endings.push(ending);
  schedule();
}

function schedule(): void {
  if (scheduled) return;
  scheduled = true;
  setImmediate(endTurn);
}

function endTurn(): void {
  scheduled = false;
  const ending = endings;
  endings = spareEndings;
  for (const one of ending) one.onTurnEnd();
  ending.length = 0;
  spareEndings = ending;
  sendTurn();
  turns++;
}

/** Whether the arena has no room for `bytes` more. */
export function turnIsFull(bytes: number): boolean {
  return used + bytes > arenaBytes;
}

/** The bytes between two places of the arena. */
export function turnSpan(start: number, end: number): Buffer {
  return arena.subarray(start, end);
}

/** Bytes of the arena wait in a stream and are read from it later: it is not to be used again. */
export function keepTurn(): void {
  kept = true;
}

/** Sends what everybody has written. */
export function sendTurn(): void {
  const sending = writers;
  writers = spareWriters;
  for (const writer of sending) writer.sendTurn();
  sending.length = 0;
  spareWriters = sending;
  if (kept) arena = Buffer.allocUnsafeSlow(arenaBytes);
  kept = false;
  used = 0;
}
