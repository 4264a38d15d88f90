import { describe, expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import { Backend, Frontend } from "../../../src/wire/constants.ts";
import {
  backendRules,
  Frame,
  FrameRules,
  Framer,
  frontendLoginRules,
  frontendRules,
} from "../../../src/wire/framer.ts";
import { bytes, int32, text, typed } from "./bytes.ts";
import { frame, frameEveryWay } from "./cuts.ts";

const collectedBytesMax = 100_000;
const session = frontendRules(collectedBytesMax);
const nameOf = (kind: number): string => Object.entries(Frame).find(([, code]) => code === kind)?.[0] ?? "?";

/** What `next` answers, chunk by chunk, with the text of each span. */
function steps(rules: FrameRules, ...chunks: Buffer[]): string[] {
  const framer = new Framer(rules);
  const found: string[] = [];
  for (const chunk of chunks) {
    framer.feed(chunk);
    for (let kind = framer.next(); kind !== Frame.need; kind = framer.next()) {
      found.push(`${nameOf(kind)} ${framer.buffer.toString("latin1", framer.start, framer.end)}`);
    }
    found.push("need");
  }
  return found;
}

describe("spans", () => {
  test("a whole message is a span of the chunk itself", () => {
    const chunk = bytes(typed("S"), typed("Q", text("SELECT 1")), typed("S"));
    const framer = new Framer(session);
    framer.feed(chunk);
    expect(framer.next()).toBe(Frame.whole);
    expect([framer.type, framer.start, framer.end]).toEqual([Frontend.sync, 0, 5]);
    expect(framer.next()).toBe(Frame.whole);
    expect(framer.buffer).toBe(chunk);
    expect([framer.type, framer.start, framer.end]).toEqual([Frontend.query, 5, 19]);
    expect(framer.atBoundary).toBe(false);
    expect(framer.next()).toBe(Frame.whole);
    expect(framer.next()).toBe(Frame.need);
    expect(framer.atBoundary).toBe(true);
    expect(framer.next()).toBe(Frame.need);
  });

  test("rows that follow whole are taken with the first, as far as all is well with them", () => {
    const taken = (...chunks: Buffer[]): string[] => {
      const framer = new Framer(backendRules());
      const found: string[] = [];
      for (const chunk of chunks) {
        framer.feed(chunk);
        for (let kind = framer.next(); kind !== Frame.need; kind = framer.next()) {
          if (kind === Frame.whole) framer.takeAlike();
          found.push(`${nameOf(kind)} ${framer.buffer.toString("latin1", framer.start, framer.end)}`);
        }
      }
      return found;
    };
    const [a, b, c] = [typed("D", "a"), typed("D"), typed("D", "ccc")];
    const done = typed("C", text("SELECT 3"));
    const whole = (...parts: Buffer[]): string => `whole ${bytes(...parts).toString("latin1")}`;
    expect(taken(bytes(a, b, c, done, a))).toEqual([whole(a, b, c), whole(done), whole(a)]);
    expect(taken(bytes(a, b), bytes(c, done))).toEqual([whole(a, b), whole(c), whole(done)]);
    // One that is cut off, anywhere, is as `next` gives it.
    const cut = bytes(a, b, c);
    for (let at = a.length + b.length + 1; at < cut.length; at++) {
      const found = taken(cut.subarray(0, at), bytes(cut.subarray(at), b, done));
      expect(found[0]).toBe(whole(a, b));
      expect(found.map((text) => text.slice(text.indexOf(" ") + 1)).join("")).toBe(
        bytes(cut, b, done).toString("latin1"),
      );
    }
    expect(() => taken(bytes(a, "D", int32(3), b))).toThrow("invalid message length");
    expect(() => taken(bytes(a, "D", int32(-1), b))).toThrow("invalid message length");
  });

  test("a streamed message comes in parts, a collected one whole", () => {
    expect(steps(session, bytes("d", int32(12), "SEL"), bytes("ECT"), bytes("1", 0, typed("S")))).toEqual([
      "head d\0\0\0\x0cSEL",
      "need",
      "middle ECT",
      "need",
      "tail 1\0",
      "whole S\0\0\0\x04",
      "need",
    ]);
    expect(steps(session, bytes("P", int32(10), "s", 0), bytes("q"), bytes(0, 0, 0, typed("S")))).toEqual([
      "need",
      "need",
      "whole P\0\0\0\x0as\0q\0\0\0",
      "whole S\0\0\0\x04",
      "need",
    ]);
  });

  test("the header of a streamed message that comes split is yielded alone, the body follows", () => {
    expect(steps(session, bytes("d", 0, 0), bytes(0, 8, "SEL", 0, typed("S")))).toEqual([
      "need",
      "head d\0\0\0\x08",
      "tail SEL\0",
      "whole S\0\0\0\x04",
      "need",
    ]);
    expect(steps(session, bytes("d", 0, 0, 0), bytes(8), bytes("SEL", 0))).toEqual([
      "need",
      "head d\0\0\0\x08",
      "need",
      "tail SEL\0",
      "need",
    ]);
  });

  test("a header alone begins a streamed message", () => {
    expect(steps(session, bytes("d", int32(8)), bytes("SEL", 0))).toEqual([
      "head d\0\0\0\x08",
      "need",
      "tail SEL\0",
      "need",
    ]);
  });

  test("an empty body makes a whole message, split header or not, streamed type or not", () => {
    for (const letter of ["d", "Q", "S", "P"]) {
      expect(frameEveryWay(session, bytes(typed(letter), typed(letter))).messages.length).toBe(2);
      expect(steps(session, bytes(letter, 0, 0), bytes(0, 4))).toEqual([
        "need",
        `whole ${letter}\0\0\0\x04`,
        "need",
      ]);
    }
  });

  test("empty chunks change nothing", () => {
    const empty = Buffer.alloc(0);
    const chunks = [empty, bytes("d"), empty, bytes(int32(6), "a"), empty, bytes(0), empty];
    const [head, middle, tail] = ["head d\0\0\0\x06", "middle a", "tail \0"];
    const found = [["need"], ["need"], ["need"], [head, middle, "need"], ["need"], [tail, "need"], ["need"]];
    expect(steps(session, ...chunks)).toEqual(found.flat());
  });
});

describe("what is kept", () => {
  test("an idle framer holds no chunk and nothing of a message", () => {
    const framer = new Framer(session);
    framer.feed(typed("Q", text("SELECT 1")));
    framer.next();
    framer.next();
    expect([framer.buffer.length, framer.keptBytes, framer.streaming]).toEqual([0, 0, false]);
  });

  test("a claimed length alone allocates next to nothing", () => {
    const framer = new Framer(session);
    framer.feed(bytes("P", int32(collectedBytesMax), "begun"));
    expect(framer.next()).toBe(Frame.need);
    expect(framer.keptBytes).toBeLessThanOrEqual(4096);
    expect(framer.atBoundary).toBe(false);
  });

  test("a streamed message keeps nothing, however long", () => {
    const framer = new Framer(backendRules());
    framer.feed(bytes("D", int32(0x3fff_0000), "begun"));
    expect(framer.next()).toBe(Frame.head);
    for (let index = 0; index < 100; index += 1) {
      framer.feed(Buffer.alloc(1000));
      expect(framer.next()).toBe(Frame.middle);
      expect(framer.next()).toBe(Frame.need);
    }
    expect([framer.keptBytes, framer.streaming]).toEqual([0, true]);
  });

  test("a long collected message in many chunks arrives whole, with at most twice its bytes kept", () => {
    const input = typed("P", text("s"), text("x".repeat(50_000)), 0, 0);
    const framer = new Framer(session);
    const chunkBytes = 777;
    let received = 0;
    for (let at = 0; at < input.length; at += chunkBytes) {
      const chunk = Buffer.from(input.subarray(at, at + chunkBytes));
      framer.feed(chunk);
      received += chunk.length;
      if (received < input.length) expect(framer.next()).toBe(Frame.need);
      expect(framer.keptBytes).toBeLessThanOrEqual(Math.max(4096, 2 * received));
    }
    expect(framer.next()).toBe(Frame.whole);
    expect(framer.buffer.subarray(framer.start, framer.end).equals(input)).toBe(true);
  });

  test("the rest can be taken between messages, not inside one", () => {
    const framer = new Framer(session);
    framer.feed(bytes(typed("S"), "rest"));
    framer.next();
    expect(framer.takeRest()).toEqual(Buffer.from("rest"));
    expect(framer.next()).toBe(Frame.need);
    framer.feed(bytes("Q", int32(100)));
    framer.next();
    expect(() => framer.takeRest()).toThrow(AssertionError);
  });

  test("feeding before the last chunk was read is a mistake of ours", () => {
    const framer = new Framer(session);
    framer.feed(typed("S"));
    expect(() => framer.feed(typed("S"))).toThrow(AssertionError);
  });
});

describe("limits", () => {
  test("lengths that include less than themselves are refused", () => {
    for (const length of [0, 1, 3]) {
      for (const letter of ["Q", "S", "P", "B"]) {
        const { error, messages } = frameEveryWay(session, bytes(letter, int32(length), "some bytes"));
        expect(error).toBe("client 08P01 peer.message_length: invalid message length");
        expect(messages).toEqual([]);
      }
    }
  });

  test("lengths beyond the limit of the type are refused before anything is kept", () => {
    const limits: [letter: string, bodyBytesMax: number][] = [
      ["Q", 0x3fff_fffe],
      ["d", 0x3fff_fffe],
      ["F", 0x3fff_fffe],
      ["P", collectedBytesMax],
      ["B", 0x3fff_fffe],
      ["D", 10_000],
      ["E", 10_000],
      ["S", 10_000],
      ["f", 10_000],
    ];
    for (const [letter, bodyBytesMax] of limits) {
      expect(frameEveryWay(session, bytes(letter, int32(bodyBytesMax + 4))).error).toBeUndefined();
      for (const length of [bodyBytesMax + 5, 0x7fff_ffff, 0x8000_0000, -2, -1]) {
        expect(frameEveryWay(session, bytes(letter, int32(length))).error).toMatch("peer.message_too_long");
      }
    }
  });

  test("a limit of the operator's own goes before that of the type", () => {
    const limited = frontendRules(collectedBytesMax).limit(2000);
    expect(frame(limited, [typed("Q", Buffer.alloc(2000, 0x20))]).messages.length).toBe(1);
    expect(frame(limited, [bytes("Q", int32(2005))]).error).toMatch("peer.message_too_long");
    expect(frame(limited, [bytes("y", int32(4))]).error).toMatch("invalid frontend message type");
  });

  test("the first part of a long Bind holds its names, however it was cut", () => {
    const body = Buffer.alloc(1_000_000, 0x61);
    const whole = typed("B", body);
    for (const cut of [1, 4, 5, 6, 100, 5000, 8192, 8193, 300_000]) {
      const framer = new Framer(frontendRules(collectedBytesMax));
      const parts: Buffer[] = [];
      let firstBytes = 0;
      for (const chunk of [whole.subarray(0, cut), whole.subarray(cut)]) {
        framer.feed(chunk);
        for (let kind = framer.next(); kind !== Frame.need; kind = framer.next()) {
          if (kind === Frame.head || kind === Frame.whole) firstBytes = framer.end - framer.start;
          parts.push(Buffer.from(framer.buffer.subarray(framer.start, framer.end)));
        }
      }
      expect(firstBytes).toBeGreaterThanOrEqual(8192);
      expect(Buffer.concat(parts).equals(whole)).toBe(true);
      expect(framer.atBoundary).toBe(true);
    }
  });

  test("while a client logs in only passwords may come, of at most 65,535 bytes", () => {
    const login = frontendLoginRules();
    expect(frame(login, [typed("p", Buffer.alloc(65_535))]).messages.length).toBe(1);
    expect(frame(login, [bytes("p", int32(65_540))]).error).toMatch("peer.message_too_long");
    expect(frame(login, [typed("Q", text("SELECT 1"))]).error).toMatch("invalid frontend message type 81");
  });

  test("a session may not send passwords", () => {
    expect(frame(session, [typed("p", text("secret"))]).error).toMatch("invalid frontend message type 112");
  });

  test("the mistakes of a server are the server's", () => {
    const rules = backendRules();
    expect(frame(rules, [bytes("Z", int32(40_000))]).error).toMatch(/^server 08P01 peer.message_too_long/);
    expect(frame(rules, [bytes("Q", int32(4))]).error).toBe(
      "server 08P01 peer.unknown_message: invalid backend message type 81",
    );
  });

  test("messages before a bad one are still yielded, and a broken framer stays broken", () => {
    const framer = new Framer(session);
    framer.feed(bytes(typed("S"), "!", int32(4), typed("S")));
    expect(framer.next()).toBe(Frame.whole);
    expect(() => framer.next()).toThrow("invalid frontend message type 33");
    expect(() => framer.next()).toThrow("invalid frontend message type 33");
    framer.feed(typed("S"));
    expect(() => framer.next()).toThrow("invalid frontend message type 33");
  });

  test("rules of one's own", () => {
    const rules = new FrameRules((type) => `no ${type}`)
      .stream(Backend.dataRow, 10)
      .collect(Backend.noData, 0);
    expect(frame(rules, [bytes(typed("n"), typed("D", "0123456789"))]).messages.length).toBe(2);
    expect(frame(rules, [typed("n", "x")]).error).toMatch("peer.message_too_long");
    expect(frame(rules, [typed("Z", "I")]).error).toMatch("no 90");
  });
});
