/**
 * Properties of the wire room. One sentence for all hostile input: any bytes give messages or a PeerError,
 * nothing else, within the limits, and however they are cut. FUZZ_SECONDS is the time for the whole file;
 * FUZZ_SEED repeats a run.
 */
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { startupBytesMax } from "../../src/wire/constants.ts";
import { decodeBackend } from "../../src/wire/decode-backend.ts";
import { decodeFrontend } from "../../src/wire/decode-frontend.ts";
import { encodeBackend } from "../../src/wire/encode-backend.ts";
import { encodeFrontend } from "../../src/wire/encode-frontend.ts";
import { sqlstateOf } from "../../src/wire/fields.ts";
import {
  backendRules,
  Frame,
  type FrameRules,
  Framer,
  frontendLoginRules,
  frontendRules,
} from "../../src/wire/framer.ts";
import {
  encodeCancelRequest,
  encodeStartup,
  gssencRequest,
  StartupFramer,
  sslRequest,
} from "../../src/wire/startup.ts";
import { decodeText, encodeText } from "../../src/wire/text.ts";
import { Tracer } from "../../src/wire/trace.ts";
import { cutAt, frame, peerErrorText, start } from "../unit/wire/cuts.ts";
import {
  backendMessage,
  cancelKey,
  damagedStream,
  frontendMessage,
  parameters,
  processId,
} from "./wire-arbitraries.ts";

const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 0x7fff_ffff));
const seconds = Number(process.env["FUZZ_SECONDS"] ?? 3);
const properties = 8;
const millisecondsEach = (seconds * 1000) / properties;
let runs = 0;

afterAll(() => {
  process.stdout.write(`wire fuzz: seed ${seed}, ${seconds} s, ${runs} runs\n`);
});

/** Runs a property for its share of the time. */
function property(title: string, holds: fc.IRawProperty<unknown>): void {
  test(title, { timeout: millisecondsEach + 60_000 }, () => {
    const details = fc.check(holds as fc.IProperty<unknown>, {
      seed,
      numRuns: Number.MAX_SAFE_INTEGER,
      plugins: [fc.interruptAfterTimeLimit(millisecondsEach)],
    });
    runs += details.numRuns;
    if (details.failed) throw new Error(fc.defaultReportMessage(details));
    expect(details.numRuns).toBeGreaterThan(0);
  });
}

const collectedBytesMax = 20_000;
const session = frontendRules(collectedBytesMax);
const login = frontendLoginRules();
const server = backendRules();
const cuts = fc.array(fc.nat(400), { maxLength: 8 });
const cutBy = (input: Buffer, positions: number[]): Buffer[] =>
  cutAt(
    input,
    positions.map((position) => position % (input.length + 1)),
  );

property(
  "decoding what was encoded gives the message back: frontend",
  fc.property(frontendMessage, (message) => {
    const encoded = encodeFrontend(message);
    expect(decodeFrontend(encoded, 0, encoded.length)).toEqual(message);
  }),
);

property(
  "decoding what was encoded gives the message back: backend",
  fc.property(backendMessage, (message) => {
    const encoded = encodeBackend(message);
    expect(decodeBackend(encoded, 0, encoded.length)).toEqual(message);
  }),
);

property(
  "any bytes of a client are messages or a PeerError, however cut",
  fc.property(
    damagedStream(frontendMessage.map(encodeFrontend)),
    cuts,
    fc.boolean(),
    (input, positions, isLogin) => {
      const rules = isLogin ? login : session;
      holdsFor(rules, input, cutBy(input, positions), decodeFrontend, encodeFrontend);
    },
  ),
);

property(
  "any bytes of a server are messages or a PeerError, however cut",
  fc.property(damagedStream(backendMessage.map(encodeBackend)), cuts, (input, positions) => {
    holdsFor(server, input, cutBy(input, positions), decodeBackend, undefined);
  }),
);

property(
  "what a framer keeps is bounded by what has come and by the limit",
  fc.property(damagedStream(frontendMessage.map(encodeFrontend)), cuts, (input, positions) => {
    const framer = new Framer(session);
    let received = 0;
    try {
      for (const chunk of cutBy(input, positions)) {
        framer.feed(chunk);
        received += chunk.length;
        while (framer.next() !== Frame.need) expect(framer.end).toBeLessThanOrEqual(framer.buffer.length);
        expect(framer.keptBytes).toBeLessThanOrEqual(Math.max(4096, 2 * received));
        expect(framer.keptBytes).toBeLessThanOrEqual(2 * collectedBytesMax + 10);
      }
    } catch (error) {
      peerErrorText(error);
    }
  }),
);

const startupPacket: fc.Arbitrary<Buffer> = fc.oneof(
  fc
    .tuple(fc.constantFrom(196608, 196610, 196609, 131072, 65536, 262144), parameters)
    .map(([version, list]) => encodeStartup(version, list)),
  fc.constantFrom(sslRequest, gssencRequest),
  fc.tuple(processId, cancelKey).map(([pid, key]) => encodeCancelRequest(pid, key)),
);

property(
  "any bytes at the start are requests or a PeerError, however cut",
  fc.property(damagedStream(startupPacket), cuts, (input, positions) => {
    const whole = start([input]);
    expect(start(cutBy(input, positions))).toEqual(whole);
    const framer = new StartupFramer();
    try {
      for (let at = 0; at < input.length; at += 1) {
        framer.feed(input.subarray(at, at + 1));
        framer.next();
        expect(framer.keptBytes).toBeLessThanOrEqual(
          Math.max(512, Math.min(2 * (at + 1), 2 * startupBytesMax)),
        );
      }
    } catch (error) {
      expect(peerErrorText(error)).toBe(whole.error);
    }
  }),
);

property(
  "a startup packet gives its parameters back",
  fc.property(fc.constantFrom(0, 2, 9999), parameters, (minor, list) => {
    const packet = encodeStartup(3 * 0x1_0000 + minor, list);
    expect(start([packet]).requests).toEqual([{ kind: "startup", major: 3, minor, parameters: list }]);
  }),
);

property(
  "text never loses a byte, and tracing never throws",
  fc.property(fc.uint8Array({ min: 1, maxLength: 60 }), fc.boolean(), (bytes, regress) => {
    const input = Buffer.from(bytes);
    expect(encodeText(decodeText(input, 0, input.length)).equals(input)).toBe(true);
    if (input.length < 5) return;
    const tracer = new Tracer({ regress });
    for (const line of [tracer.frontend(input), tracer.backend(input), tracer.startup(input)]) {
      expect(line.endsWith("\n")).toBe(true);
    }
  }),
);

/** The invariant for typed streams; what decodes also encodes to the same bytes, where nothing is left out. */
function holdsFor<Message>(
  rules: FrameRules,
  input: Buffer,
  chunks: Buffer[],
  decode: (buffer: Buffer, start: number, end: number) => Message,
  encode: ((message: Message) => Buffer) | undefined,
): void {
  const whole = frame(rules, [input]);
  expect(frame(rules, chunks)).toEqual(whole);
  let position = 0;
  for (const { type, bytes } of whole.messages) {
    expect(bytes.equals(input.subarray(position, position + bytes.length))).toBe(true);
    expect(bytes.length - 5).toBeLessThanOrEqual(rules.bodyBytesMax[type] ?? 0);
    position += bytes.length;
    expect(sqlstateOf(bytes, 0, bytes.length)).toBeTypeOf("string");
    try {
      const message = decode(bytes, 0, bytes.length);
      if (encode !== undefined) expect(encode(message).equals(bytes)).toBe(true);
    } catch (error) {
      peerErrorText(error);
    }
  }
}
