import { describe, expect, test } from "vitest";
import { decodeBackend } from "../../../src/wire/decode-backend.ts";
import { sqlstateOf } from "../../../src/wire/fields.ts";
import { decodeText, encodeText } from "../../../src/wire/text.ts";
import { bytes, int32, text, typed } from "./bytes.ts";

describe("text", () => {
  test("valid UTF-8 is what Node makes of it", () => {
    for (const valid of ["", "abc", "é€😀", "\ufffd", "a\ufffdb", "\u{10ffff}", "\ud7ff\ue000"]) {
      const input = Buffer.from(valid);
      expect(decodeText(input, 0, input.length)).toBe(valid);
      expect(encodeText(valid)).toEqual(input);
    }
  });

  test("every pair of bytes, and every byte around valid text, survives", () => {
    for (let first = 1; first < 256; first += 1) {
      for (let second = 1; second < 256; second += 1) {
        const input = Buffer.of(first, second);
        if (!encodeText(decodeText(input, 0, 2)).equals(input)) throw new Error(`${first} ${second}`);
      }
    }
  });

  test("invalid sequences become lone surrogates, byte by byte", () => {
    const invalid: [title: string, input: number[], decoded: string][] = [
      ["Latin-1", [0x61, 0xe9, 0x62], "a\udce9b"],
      ["overlong slash", [0xc0, 0xaf], "\udcc0\udcaf"],
      ["overlong in three", [0xe0, 0x80, 0xaf], "\udce0\udc80\udcaf"],
      ["overlong in four", [0xf0, 0x8f, 0xbf, 0xbf], "\udcf0\udc8f\udcbf\udcbf"],
      ["a surrogate", [0xed, 0xa0, 0x80], "\udced\udca0\udc80"],
      ["beyond U+10FFFF", [0xf4, 0x90, 0x80, 0x80], "\udcf4\udc90\udc80\udc80"],
      ["cut short", [0xe2, 0x82], "\udce2\udc82"],
      ["mixed with an emoji", [0xf0, 0x9f, 0x98, 0x80, 0xff], "😀\udcff"],
    ];
    for (const [title, input, decoded] of invalid) {
      expect([title, decodeText(Buffer.from(input), 0, input.length)]).toEqual([title, decoded]);
      expect([...encodeText(decoded)]).toEqual(input);
    }
  });

  test("a sequence is not continued beyond the end", () => {
    const input = Buffer.from("€");
    expect(decodeText(input, 0, 2)).toBe("\udce2\udc82");
  });

  test("lone surrogates that stand for no byte become U+FFFD", () => {
    expect(encodeText("a\ud800b\udc00")).toEqual(Buffer.from("a\ufffdb\ufffd"));
  });
});

describe("error fields", () => {
  const decoded = (...parts: Buffer[]): unknown => {
    const input = typed("E", ...parts);
    return decodeBackend(input, 0, input.length);
  };

  test("without V, S is the severity; letters we do not know are passed over; the last of two counts", () => {
    const fields = bytes(
      "S",
      text("FATAL"),
      "C",
      text("1"),
      "C",
      text("57P01"),
      "M",
      text("bye"),
      "?",
      text("x"),
    );
    expect(decoded(fields, Buffer.of(0))).toEqual({
      kind: "ErrorResponse",
      fields: { severity: "FATAL", code: "57P01", message: "bye" },
    });
  });

  test("an error that says nothing is still an error", () => {
    expect(decoded(Buffer.of(0))).toEqual({
      kind: "ErrorResponse",
      fields: { severity: "ERROR", code: "XX000", message: "" },
    });
  });

  test("the list must end, and end the message", () => {
    expect(() => decoded()).toThrow("insufficient data left in message");
    expect(() => decoded(bytes("M", text("m")))).toThrow("insufficient data left in message");
    expect(() => decoded(bytes(0, "M", text("m"), 0))).toThrow("invalid message format");
  });

  test("sqlstateOf finds the code wherever it stands", () => {
    const of = (input: Buffer): string => sqlstateOf(input, 0, input.length);
    expect(of(typed("E", "S", text("ERROR"), "C", text("42P01"), "M", text("C"), 0))).toBe("42P01");
    expect(of(typed("E", "C", text("57014"), 0))).toBe("57014");
    expect(of(typed("E", "M", text("no code"), 0))).toBe("XX000");
    expect(of(typed("E"))).toBe("XX000");
    expect(of(bytes("E", int32(9), "C5701"))).toBe("XX000");
    expect(sqlstateOf(bytes("E", int32(9), "C5701", "4", 0), 0, 10)).toBe("XX000");
    const around = bytes("xx", typed("N", "C", text("01000"), 0), "C", text("99999"));
    expect(sqlstateOf(around, 2, around.length - 7)).toBe("01000");
  });
});
