/**
 * Any bytes at all: each codec makes a value of them or says that they are none, and either way looks at its own
 * bytes only.
 */
import { inspect } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { OperationError, PeerError } from "../../../src/base/errors.ts";
import type { Decode } from "../../../src/client/types/codec.ts";
import { allCodecs, decodeWithin } from "./types-spans.ts";

/** Counts and lengths that are nearly right lead deeper than noise does. */
const words = fc
  .array(fc.oneof(fc.integer({ min: -2, max: 9 }), fc.constantFrom(0x7fff_ffff, -0x8000_0000, 0x1000_0000)), {
    maxLength: 12,
  })
  .map((values) => {
    const bytes = Buffer.alloc(4 * values.length);
    values.forEach((value, index) => bytes.writeInt32BE(value, 4 * index));
    return bytes;
  });
const marks = "{}[](),;\"\\ '-+.:=\\x0123789NULLemptyinfinityBCT<>/";
const punctuation = fc
  .array(fc.constantFrom(...marks.split("")), { maxLength: 30 })
  .map((characters) => Buffer.from(characters.join("")));
const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  words,
  fc.tuple(fc.uint8Array({ maxLength: 4 }), words).map((parts) => Buffer.concat(parts)),
  punctuation,
);

/** What came of it, as text: two invalid Dates are alike here, though no two are equal. */
function outcome(decode: Decode, bytes: Uint8Array, fill: number): string {
  try {
    return inspect(decodeWithin(decode, bytes, fill), { depth: 10 });
  } catch (error) {
    if (error instanceof PeerError || error instanceof OperationError)
      return `${error.code}: ${error.message}`;
    throw error;
  }
}

test.each(allCodecs.map((codec) => [codec.name, codec] as const))("%s", (_name, codec) => {
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      for (const decode of [codec.decodeText, codec.decodeBinary]) {
        // Bytes around it that would go on with digits, with an element, or with nothing.
        const [first, ...others] = [0x31, 0x22, 0x00, 0xff].map((fill) => outcome(decode, bytes, fill));
        for (const other of others) expect(other).toBe(first);
      }
    }),
    { numRuns: 150 },
  );
});

test("a failure names the type and never the value", () => {
  for (const codec of allCodecs) {
    for (const decode of [codec.decodeText, codec.decodeBinary]) {
      const told = outcome(decode, Buffer.from("\\xsecret{[(secret"), 0x31);
      if (told.startsWith("client.")) {
        expect(told).toMatch(/^client\.bad_value: /);
        expect(told).not.toContain("secret");
      }
    }
  }
});
