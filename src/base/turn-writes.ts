/**
 * Small writes of one turn of the event loop leave together, after everything that has come in this turn has
 * been read and handled. It costs a copy of some bytes and saves much more: a peer that is woken by a write at
 * once takes the processor away in the middle of a turn, and is woken again for the next reply that was about
 * to follow (a tenth of the throughput at 64 clients, bench/micro/README.md).
 *
 * Where turns are small there is nothing to gather, and the end of a turn costs more than what it saves: some microseconds
 * of Node's own. So turns are counted now and then, and if few chunks come in each, what is written while a chunk is
 * handled leaves as soon as it has been, for the next thousand chunks.
 *
 * Bytes are copied into places of one arena, so that whoever wrote them may use them again at once. A place belongs to one
 * writer until the end of the turn. What is written to the handle is a view of its beginning; for short ones these views
 * are made once and kept, as making one costs more than copying what it shows (bench/micro/README.md).
 */
import { assert } from "./assert.ts";

/** A stream that has bytes in the arena. */
export interface TurnWriter {
  /** Writes its bytes; says so with {@link keepTurn} if the kernel has not taken them all. */
  sendTurn(): void;
}

/** Writes the bytes of many streams by one call. */
export interface JointWrites {
  /** From now on streams may add what they have in this arena instead of writing it. */
  begin(arena: Buffer): void;
  /** Writes what was added. */
  send(): void;
}

/** Has something to do when everything that has come in a turn has been handled. */
export interface TurnEnding {
  /** What it writes leaves with the rest of the turn. Must not throw. */
  onTurnEnd(): void;
}

/** Fewer writes are made one by one. */
const jointMin = 3;
/** What fits in a place. Longer chunks gain nothing from waiting. */
export const turnBytesMax = 2048;
const placesMax = 128;
/** Turns that are counted, and how many chunks may come in one, on average, if writes are not to wait for its end. */
const countedTurns = 32;
const chunksPerTurnMax = 2;
/** Chunks that are handled before turns are counted again. */
const uncountedChunks = 1024;
/** Of so many places the views of so many bytes are kept: some 1.5 MB if all lengths occur in all of them. */
const keptPlacesMax = 64;
const keptBytesMax = 256;

let arena = Buffer.allocUnsafeSlow(placesMax * turnBytesMax);
/** Views by place and length. */
let views = emptyViews();
const writers: (TurnWriter | undefined)[] = [];
/** Places taken: as many as there are writers. */
let taken = 0;
let endings: (TurnEnding | undefined)[] = [];
let spareEndings: (TurnEnding | undefined)[] = [];
let endingCount = 0;
let scheduled = false;
/** Whoever reads the descriptors of this turn ends it, see {@link beginDrivenTurn}. */
let driven = false;
let joint: JointWrites | undefined;
let kept = false;
/** Turns that had something to do at their end, or were to be counted. */
let turns = 0;
/** What is written while a chunk is handled leaves behind it, and not at the end of the turn. */
let leavesAtOnce = false;
let handlesChunk = false;
/** Since turns are counted, or not counted. */
let chunks = 0;
let turnsSeen = 0;

/** How many turns had something to do at their end, or were to be counted: the same as long as such a turn has not ended. */
export function turnNumber(): number {
  return turns;
}

/** This turn has a number of its own, though nothing may be left to do at its end. */
export function countTurn(): void {
  schedule();
}

/** A place of {@link turnBytesMax} bytes for a writer that has none in this turn. */
export function takePlace(writer: TurnWriter): number {
  if (taken === placesMax) sendTurn();
  writers[taken] = writer;
  schedule();
  return taken++;
}

/** Copies a chunk into a place, behind what is there. */
export function fillPlace(place: number, bytesBefore: number, chunk: Buffer): void {
  assert(place < taken && bytesBefore + chunk.length <= turnBytesMax, "a turn's bytes fit in their place");
  arena.set(chunk, place * turnBytesMax + bytesBefore);
}

/** The bytes in a place. */
export function placeBytes(place: number, bytes: number): Buffer {
  const start = place * turnBytesMax;
  if (place >= keptPlacesMax || bytes > keptBytesMax) return arena.subarray(start, start + bytes);
  const ofPlace = (views[place] ??= []);
  return (ofPlace[bytes] ??= arena.subarray(start, start + bytes));
}

/** Bytes of the arena wait in a stream and are read from it later: it is not to be used again. */
export function keepTurn(): void {
  kept = true;
}

/** A chunk has come, and is handled until {@link endChunk}. */
export function beginChunk(): void {
  handlesChunk = true;
}

export function endChunk(): void {
  handlesChunk = false;
  chunks++;
  if (!leavesAtOnce) return;
  if (!scheduled) {
    sendTurn();
    turns++;
  }
  if (chunks >= uncountedChunks) countTurns();
}

function countTurns(): void {
  leavesAtOnce = false;
  chunks = 0;
  turnsSeen = 0;
}

/** Calls `ending` once, before what was written in this turn is sent. */
export function atTurnEnd(ending: TurnEnding): void {
  // Who waits for the end of turns needs all of them.
  countTurns();
  endings[endingCount++] = ending;
  schedule();
}

/** Sends what everybody has written. */
function sendTurn(): void {
  // Who is told that a write failed may have others write: they take further places.
  for (let sent = 0; sent < taken; ) {
    const joined = taken - sent >= jointMin ? joint : undefined;
    joined?.begin(arena);
    // The array stays as long as it is: to cut it is a call into the runtime, and so is to let it grow again.
    for (; sent < taken; sent++) {
      const writer = writers[sent];
      writers[sent] = undefined;
      writer?.sendTurn();
    }
    joined?.send();
  }
  taken = 0;
  if (!kept) return;
  arena = Buffer.allocUnsafeSlow(placesMax * turnBytesMax);
  views = emptyViews();
  kept = false;
}

/** Until {@link endDrivenTurn} what is to be done at the end of the turn waits for it, which costs nothing: no need to count turns. */
export function beginDrivenTurn(joins: JointWrites | undefined): void {
  driven = true;
  joint = joins;
  leavesAtOnce = false;
}

export function endDrivenTurn(): void {
  if (scheduled) endTurn();
  driven = false;
  joint = undefined;
}

function schedule(): void {
  if (scheduled || (leavesAtOnce && handlesChunk)) return;
  scheduled = true;
  if (!driven) setImmediate(endScheduledTurn);
}

function endScheduledTurn(): void {
  // A turn that was driven may have come first.
  if (scheduled) endTurn();
}

function endTurn(): void {
  scheduled = false;
  if (endingCount > 0) callEndings();
  sendTurn();
  turns++;
  if (driven || leavesAtOnce || ++turnsSeen < countedTurns) return;
  leavesAtOnce = chunks <= countedTurns * chunksPerTurnMax;
  chunks = 0;
  turnsSeen = 0;
}

function callEndings(): void {
  const calling = endings;
  const count = endingCount;
  endings = spareEndings;
  endingCount = 0;
  for (let i = 0; i < count; i++) {
    const ending = calling[i];
    calling[i] = undefined;
    ending?.onTurnEnd();
  }
  spareEndings = calling;
}

function emptyViews(): Buffer[][] {
  return Array.from({ length: keptPlacesMax }, () => []);
}
