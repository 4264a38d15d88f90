import { describe, expect, test } from "vitest";
import { PeerError } from "../../../src/base/errors.ts";
import { Backend, Frontend, TransactionStatus } from "../../../src/wire/constants.ts";
import { decodeBackend } from "../../../src/wire/decode-backend.ts";
import {
  decodeFrontend,
  decodePassword,
  decodeSaslInitialResponse,
} from "../../../src/wire/decode-frontend.ts";
import {
  bindComplete,
  closeComplete,
  encodeAuthenticationOk,
  encodeBackend,
  parseComplete,
} from "../../../src/wire/encode-backend.ts";
import {
  encodeClose,
  encodeFrontend,
  encodeParse,
  encodePassword,
  encodeQuery,
  encodeSaslInitialResponse,
  encodeSaslResponse,
  encodeSync,
  encodeTerminate,
} from "../../../src/wire/encode-frontend.ts";
import {
  backendRules,
  type FrameRules,
  frontendLoginRules,
  frontendRules,
} from "../../../src/wire/framer.ts";
import { bytes, int16, int32, text, typed, value } from "./bytes.ts";
import { backendCases, type Case, frontendCases } from "./cases.ts";
import { frameEveryWay } from "./cuts.ts";

type Decode<Message> = (buffer: Buffer, start: number, end: number) => Message;

interface Direction<Message> {
  readonly name: string;
  readonly cases: readonly Case<Message>[];
  readonly decode: Decode<Message>;
  readonly encode: (message: Message) => Buffer;
  readonly types: Readonly<Record<string, number>>;
  readonly rules: (type: number) => FrameRules;
}

const session = frontendRules(1_000_000);
const login = frontendLoginRules();

describeDirection({
  name: "frontend",
  cases: frontendCases,
  decode: decodeFrontend,
  encode: encodeFrontend,
  types: Frontend,
  rules: (type) => (type === Frontend.password ? login : session),
});
describeDirection({
  name: "backend",
  cases: backendCases,
  decode: decodeBackend,
  encode: encodeBackend,
  types: Backend,
  rules: () => backendRules(),
});

function describeDirection<Message>(direction: Direction<Message>): void {
  const { name, cases, decode, encode, types, rules } = direction;
  describe(name, () => {
    test("every type has a case", () => {
      expect(new Set(cases.map(([, , input]) => input[0]))).toEqual(new Set(Object.values(types)));
    });

    for (const [title, message, input] of cases) {
      test(`${title}: decodes, whole and cut`, () => {
        expect(decode(input, 0, input.length)).toEqual(message);
        const framed = frameEveryWay(rules(input.readUInt8(0)), input);
        expect(framed).toEqual({
          messages: [{ type: input[0], bytes: input }],
          begun: false,
          error: undefined,
        });
      });
      test(`${title}: decodes in the middle of a larger buffer`, () => {
        const around = bytes("before\0", input, "behind\0");
        expect(decode(around, 7, 7 + input.length)).toEqual(message);
      });
      test(`${title}: encodes`, () => {
        expect(encode(message)).toEqual(input);
      });
      test(`${title}: cut short or prolonged, its length telling the truth, is a message or a PeerError`, () => {
        for (let length = 5; length < input.length; length += 1) {
          decodesOrRefuses(decode, relabelled(input.subarray(0, length)));
        }
        decodesOrRefuses(decode, relabelled(bytes(input, 0)));
        decodesOrRefuses(decode, relabelled(bytes(input, "x")));
      });
      test(`${title}: a length that lies is refused`, () => {
        for (const length of [-1, 0, 1, 3, 0x7fff_ffff, input.length, input.length - 2]) {
          const lying = Buffer.from(input);
          lying.writeInt32BE(length, 1);
          expect(refusal(() => decode(lying, 0, lying.length))).toBe("invalid message length");
        }
        expect(refusal(() => decode(input, 0, 4))).toBe("invalid message length");
      });
    }

    test("a run of all messages is cut into the same messages however it arrives", () => {
      const sendable = cases.filter(([, , input]) => rules(input.readUInt8(0)) !== login);
      const framed = frameEveryWay(rules(0), Buffer.concat(sendable.map(([, , input]) => input)));
      expect(framed.messages.map(({ bytes: one }) => one)).toEqual(sendable.map(([, , input]) => input));
      expect(framed.begun).toBe(false);
    });

    test("an unknown type is refused by framer and decoder", () => {
      const known = new Set<number>(Object.values(types));
      for (let type = 0; type < 256; type += 1) {
        if (known.has(type)) continue;
        const input = bytes(type, int32(4));
        expect(refusal(() => decode(input, 0, 5))).toBe(`invalid ${name} message type ${type}`);
        expect(frameEveryWay(rules(0), input).error).toMatch("peer.unknown_message");
      }
    });
  });
}

/** The same bytes with a length word that says how many they are. */
function relabelled(input: Buffer): Buffer {
  const copy = Buffer.from(input);
  copy.writeInt32BE(copy.length - 1, 1);
  return copy;
}

function decodesOrRefuses<Message>(decode: Decode<Message>, input: Buffer): void {
  try {
    expect(decode(input, 0, input.length)).toBeDefined();
  } catch (error) {
    expect(error).toBeInstanceOf(PeerError);
  }
}

function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof PeerError && error.sqlstate === "08P01") return error.message;
    throw error;
  }
  throw new Error("nothing was refused");
}

const frontendRefusal = (input: Buffer): string => refusal(() => decodeFrontend(input, 0, input.length));
const backendRefusal = (input: Buffer): string => refusal(() => decodeBackend(input, 0, input.length));

describe("strictness", () => {
  test("bytes behind the last field are refused", () => {
    for (const [, message, input] of frontendCases) {
      if (message.kind === "CopyData" || message.kind === "PasswordMessage") continue;
      expect(frontendRefusal(relabelled(bytes(input, "x")))).toBe("invalid message format");
    }
    const openEnded =
      /^(CopyData|AuthenticationSASL.+|AuthenticationUnsupported|BackendKeyData|ReadyForQuery)$/;
    for (const [, message, input] of backendCases) {
      if (openEnded.test(message.kind)) continue;
      expect(backendRefusal(relabelled(bytes(input, "x")))).toBe("invalid message format");
    }
  });

  test("bytes behind the status of ReadyForQuery are ignored", () => {
    const input = typed("Z", "T", "more", 0);
    expect(decodeBackend(input, 0, input.length)).toEqual({
      kind: "ReadyForQuery",
      status: TransactionStatus.inTransaction,
    });
    expect(frameEveryWay(backendRules(), input).messages).toEqual([
      { type: Backend.readyForQuery, bytes: input },
    ]);
  });

  test("a ReadyForQuery without a status, or with an unknown one, is refused", () => {
    expect(backendRefusal(typed("Z"))).toBe("insufficient data left in message");
    expect(backendRefusal(typed("Z", "X"))).toBe("invalid transaction status 88 in ReadyForQuery");
  });

  test("a string ends inside its message, not in the next one", () => {
    const query = bytes("Q", int32(8), "SELE", typed("Q", text("CT")));
    expect(refusal(() => decodeFrontend(query, 0, 9))).toBe("invalid string in message");
  });

  test("counts and lengths larger than the message are refused", () => {
    expect(frontendRefusal(typed("P", 0, 0, int16(0xffff)))).toBe("insufficient data left in message");
    expect(frontendRefusal(typed("B", 0, 0, int16(0), int16(1), int32(5), "four", int16(0)))).toBe(
      "insufficient data left in message",
    );
    expect(backendRefusal(typed("D", int16(1), int32(0x7fff_ffff)))).toBe(
      "insufficient data left in message",
    );
    expect(backendRefusal(typed("v", int32(196608), int32(0x7fff_ffff)))).toBe("invalid string in message");
    expect(backendRefusal(typed("v", int32(196608), int32(-1)))).toMatch("negative number");
  });

  test("-1 is NULL, other negative lengths are refused", () => {
    for (const length of [-2, -0x8000_0000]) {
      expect(backendRefusal(typed("D", int16(1), int32(length)))).toBe("insufficient data left in message");
      expect(backendRefusal(typed("V", int32(length)))).toBe("insufficient data left in message");
    }
  });

  test("cancel keys have 4 to 256 bytes", () => {
    for (const length of [0, 3, 257, 1000]) {
      expect(backendRefusal(typed("K", int32(1), Buffer.alloc(length)))).toMatch(
        `cancel key of ${length} bytes`,
      );
    }
    for (const length of [4, 5, 32, 255, 256]) {
      const input = typed("K", int32(1), Buffer.alloc(length, 5));
      expect(decodeBackend(input, 0, input.length)).toMatchObject({ key: Buffer.alloc(length, 5) });
    }
  });

  test("Describe and Close name a statement or a portal, nothing else", () => {
    expect(frontendRefusal(typed("D", "X", text("")))).toBe("invalid DESCRIBE message subtype 88");
    expect(frontendRefusal(typed("C", 0, text("")))).toBe("invalid CLOSE message subtype 0");
  });

  test("errors say whose they are", () => {
    expect(() => decodeFrontend(typed("Q"), 0, 5)).toThrow(expect.objectContaining({ source: "client" }));
    expect(() => decodeBackend(typed("C"), 0, 5)).toThrow(expect.objectContaining({ source: "server" }));
  });
});

describe("direct encoders", () => {
  test("are the messages of their names", () => {
    expect(encodeQuery("SELECT 1")).toEqual(typed("Q", text("SELECT 1")));
    expect(encodeParse("s", "SELECT $1", [23])).toEqual(
      typed("P", text("s"), text("SELECT $1"), int16(1), int32(23)),
    );
    expect(encodeClose("statement", "s")).toEqual(typed("C", "S", text("s")));
    expect(encodeSync()).toEqual(typed("S"));
    expect(encodeTerminate()).toEqual(typed("X"));
    expect(encodePassword("secret")).toEqual(typed("p", text("secret")));
    expect(encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("n,,n=,r=x"))).toEqual(
      typed("p", text("SCRAM-SHA-256"), value("n,,n=,r=x")),
    );
    expect(encodeSaslResponse(Buffer.from("c=biws"))).toEqual(typed("p", "c=biws"));
    expect(parseComplete).toEqual(typed("1"));
    expect(bindComplete).toEqual(typed("2"));
    expect(closeComplete).toEqual(typed("3"));
  });

  test("constants are encoded once", () => {
    expect(encodeSync()).toBe(encodeSync());
    expect(encodeFrontend({ kind: "Terminate" })).toBe(encodeTerminate());
    expect(encodeAuthenticationOk()).toBe(encodeBackend({ kind: "AuthenticationOk" }));
  });

  test("a NUL in a text is refused, for it would smuggle in further fields", () => {
    expect(() => encodeQuery("SELECT 1\0DROP")).toThrow(
      expect.objectContaining({ code: "wire.nul_in_text", sqlstate: "22021" }),
    );
  });

  test("long texts grow the buffer", () => {
    const sql = "é".repeat(100_000);
    expect(encodeQuery(sql).equals(typed("Q", text(sql)))).toBe(true);
    for (let length = 0; length < 300; length += 1) {
      const name = "x".repeat(length);
      const executed = encodeFrontend({ kind: "Execute", portal: name, maxRows: 7 });
      expect(executed.equals(typed("E", text(name), int32(7)))).toBe(true);
    }
  });
});

describe("password bodies", () => {
  test("a password is one string and nothing else", () => {
    expect(decodePassword(text("secret"))).toBe("secret");
    expect(decodePassword(text(""))).toBe("");
    expect(refusal(() => decodePassword(Buffer.from("secret")))).toBe("invalid string in message");
    expect(refusal(() => decodePassword(bytes(text("a"), text("b"))))).toBe("invalid password packet size");
  });

  test("a SASLInitialResponse has a mechanism and perhaps data", () => {
    expect(decodeSaslInitialResponse(bytes(text("SCRAM-SHA-256"), value("n,,")))).toEqual({
      mechanism: "SCRAM-SHA-256",
      data: Buffer.from("n,,"),
    });
    expect(decodeSaslInitialResponse(bytes(text("X"), value(null)))).toEqual({
      mechanism: "X",
      data: undefined,
    });
    expect(refusal(() => decodeSaslInitialResponse(bytes(text("X"), int32(9), "short")))).toMatch(
      "insufficient",
    );
    expect(refusal(() => decodeSaslInitialResponse(bytes(text("X"), value("a"), "b")))).toMatch("format");
  });
});
