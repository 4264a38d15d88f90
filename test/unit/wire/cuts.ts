/**
 * Runs one input through a framer in every way it can arrive, and requires the same result each time. Chunks
 * are overwritten once they have been read, as a socket's reused read buffer is.
 */
import { expect } from "vitest";
import { PeerError } from "../../../src/base/errors.ts";
import { Frame, type FrameRules, Framer } from "../../../src/wire/framer.ts";
import { StartupFramer, type StartupRequest } from "../../../src/wire/startup.ts";

export interface FramedMessage {
  readonly type: number;
  readonly bytes: Buffer;
}
export interface Framed {
  readonly messages: FramedMessage[];
  /** What has come of a message that is not whole. */
  readonly begun: boolean;
  readonly error: string | undefined;
}
export interface Started {
  readonly requests: StartupRequest[];
  readonly error: string | undefined;
}

/** Whole, byte by byte, in two at every place (of short inputs), and at 20 random choices of cuts. */
function waysToCut(input: Buffer, seed = 1): Buffer[][] {
  const ways: Buffer[][] = [[input]];
  ways.push(cutAt(input, [...input.keys()].slice(1)));
  if (input.length <= 300) for (let at = 1; at < input.length; at += 1) ways.push(cutAt(input, [at]));
  const random = randomNumbers(seed);
  for (let way = 0; way < 20; way += 1) {
    const cuts = Array.from({ length: 1 + (way % 6) }, () => Math.floor(random() * (input.length + 1)));
    ways.push(cutAt(input, cuts));
  }
  return ways;
}

export function cutAt(input: Buffer, positions: readonly number[]): Buffer[] {
  const sorted = [0, ...[...positions].sort((one, other) => one - other), input.length];
  return sorted.slice(1).map((end, index) => input.subarray(sorted[index], end));
}

/** What a framer makes of the input, the same however it is cut; parts of streamed messages are joined. */
export function frameEveryWay(rules: FrameRules, input: Buffer): Framed {
  const [first, ...others] = waysToCut(input).map((chunks) => frame(rules, chunks));
  for (const other of others) expect(other).toEqual(first);
  return first as Framed;
}

export function frame(rules: FrameRules, chunks: readonly Buffer[]): Framed {
  const framer = new Framer(rules);
  const messages: FramedMessage[] = [];
  let parts: Buffer[] = [];
  try {
    for (const chunk of chunks) {
      const reused = Buffer.from(chunk);
      framer.feed(reused);
      for (let kind = framer.next(); kind !== Frame.need; kind = framer.next()) {
        expect(kind === Frame.middle || kind === Frame.tail).toBe(parts.length > 0);
        parts.push(Buffer.from(framer.buffer.subarray(framer.start, framer.end)));
        if (kind !== Frame.whole && kind !== Frame.tail) continue;
        messages.push({ type: framer.type, bytes: Buffer.concat(parts) });
        parts = [];
      }
      reused.fill(0xaa);
    }
  } catch (error) {
    return { messages, begun: false, error: peerErrorText(error) };
  }
  expect(framer.streaming).toBe(parts.length > 0);
  return { messages, begun: !framer.atBoundary, error: undefined };
}

/** What a startup framer makes of the input, the same however it is cut. */
export function startEveryWay(input: Buffer): Started {
  const [first, ...others] = waysToCut(input).map(start);
  for (const other of others) expect(other).toEqual(first);
  return first as Started;
}

export function start(chunks: readonly Buffer[]): Started {
  const framer = new StartupFramer();
  const requests: StartupRequest[] = [];
  try {
    for (const chunk of chunks) {
      const reused = Buffer.from(chunk);
      framer.feed(reused);
      for (let request = framer.next(); request !== undefined; request = framer.next())
        requests.push(request);
      reused.fill(0xaa);
    }
  } catch (error) {
    return { requests, error: peerErrorText(error) };
  }
  return { requests, error: undefined };
}

/** Anything but a PeerError is a mistake of ours, and fails the test with its own stack. */
export function peerErrorText(error: unknown): string {
  if (!(error instanceof PeerError)) throw error;
  return `${error.source} ${error.sqlstate} ${error.code}: ${error.message}`;
}

/** Numbers in [0, 1) from a seed (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
