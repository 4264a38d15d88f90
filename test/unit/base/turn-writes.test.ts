/** When small writes leave: at the end of the turn, or behind the chunk that they answer where turns are small. */
import { expect, test } from "vitest";
import {
  atTurnEnd,
  beginChunk,
  endChunk,
  fillPlace,
  placeBytes,
  takePlace,
  turnNumber,
} from "../../../src/base/turn-writes.ts";

/** Writes two bytes, and says whether they have left. */
class Stream {
  sent: string | undefined;
  #place = -1;

  write(text: string): void {
    this.#place = takePlace(this);
    fillPlace(this.#place, 0, Buffer.from(text));
  }

  sendTurn(): void {
    this.sent = placeBytes(this.#place, 2).toString();
  }
}

const turn = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
const countsAnew = () => atTurnEnd({ onTurnEnd() {} });

/** Handles chunks in one turn, each with a reply; returns how many replies had left before the turn's end. */
async function chunks(count: number): Promise<number> {
  const streams = Array.from({ length: count }, () => new Stream());
  for (const [index, stream] of streams.entries()) {
    beginChunk();
    stream.write(String(index % 100).padStart(2, "0"));
    expect(stream.sent).toBeUndefined();
    endChunk();
  }
  const left = streams.filter(({ sent }) => sent !== undefined).length;
  await turn();
  expect(streams.map(({ sent }) => sent)).toEqual(
    streams.map((_, index) => String(index % 100).padStart(2, "0")),
  );
  return left;
}

test("where few chunks come in a turn, replies leave behind each; where many come, at the end", async () => {
  countsAnew();
  await turn();
  expect(await chunks(1)).toBe(0);
  for (let i = 0; i < 40; i++) await chunks(1);
  const before = turnNumber();
  expect(await chunks(3)).toBe(3);
  expect(turnNumber(), "each is a turn of its own").toBe(before + 3);
  // They are counted again, and are large now.
  for (let i = 0; i < 3000; i += 50) await chunks(50);
  expect(await chunks(50)).toBe(0);
});

test("what is written outside of a chunk leaves at the end of the turn, in places of their own for all", async () => {
  countsAnew();
  await turn();
  for (let i = 0; i < 40; i++) await chunks(1);
  const stream = new Stream();
  stream.write("ab");
  expect(stream.sent).toBeUndefined();
  // What comes meanwhile leaves with it.
  expect(await chunks(1)).toBe(0);
  expect(stream.sent).toBe("ab");
});

test("while somebody waits for the ends of turns, writes wait for them as well", async () => {
  for (let i = 0; i < 40; i++) await chunks(1);
  countsAnew();
  expect(await chunks(1)).toBe(0);
});

test("more streams than the arena has places", async () => {
  countsAnew();
  await turn();
  expect(await chunks(300)).toBeGreaterThanOrEqual(128);
});
