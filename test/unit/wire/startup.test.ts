import { describe, expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import {
  cancelRequestCode,
  gssencRequestCode,
  protocolVersion30,
  protocolVersion32,
  sslRequestCode,
} from "../../../src/wire/constants.ts";
import {
  encodeCancelRequest,
  encodeNegotiateProtocolVersion,
  encodeStartup,
  encodeV2Error,
  gssencRequest,
  StartupFramer,
  sslRequest,
} from "../../../src/wire/startup.ts";
import { bytes, int32, text, typed, untyped } from "./bytes.ts";
import { cutAt, startEveryWay } from "./cuts.ts";

const lengthError = "client 08P01 peer.startup_length: invalid length of startup packet";
const layoutError =
  "client 08P01 peer.malformed_startup: invalid startup packet layout: expected terminator as last byte";
const version = (major: number, minor: number): Buffer => int32(major * 0x1_0000 + minor);
const usual = untyped(version(3, 0), text("user"), text("ann"), text("database"), text("shop"), 0);
const usualRequest = {
  kind: "startup",
  major: 3,
  minor: 0,
  parameters: [
    ["user", "ann"],
    ["database", "shop"],
  ],
};

describe("length", () => {
  test("acceptance 28: a body of 4 to 10,000 bytes is read, any other length is refused at once", () => {
    for (const body of [0, 1, 3, 10_001, 100_000, 0x7fff_fffb, 0x8000_0000 - 4, -5, -4, -1]) {
      expect(startEveryWay(bytes(int32(body + 4), "no"))).toEqual({ requests: [], error: lengthError });
    }
    const longest = bytes(version(3, 0), text("user"), text("x".repeat(10_000 - 4 - 5 - 1 - 1)), 0);
    expect(longest.length).toBe(10_000);
    expect(startEveryWay(untyped(longest)).requests.length).toBe(1);
    expect(startEveryWay(untyped(version(9, 9))).requests).toEqual([
      { kind: "unsupported", major: 9, minor: 9 },
    ]);
  });

  test("acceptance 28: the length is checked when its four bytes are there, not later", () => {
    const framer = new StartupFramer();
    framer.feed(bytes(0xff, 0xff, 0xff));
    expect(framer.next()).toBeUndefined();
    framer.feed(Buffer.of(0xff));
    expect(() => framer.next()).toThrow("invalid length of startup packet");
    framer.feed(usual);
    expect(() => framer.next()).toThrow("invalid length of startup packet");
  });

  test("acceptance 28: a claimed length alone allocates next to nothing", () => {
    const framer = new StartupFramer();
    framer.feed(bytes(int32(10_004), version(3, 0)));
    expect(framer.next()).toBeUndefined();
    expect(framer.keptBytes).toBeLessThanOrEqual(512);
  });
});

describe("version", () => {
  test("acceptance 30: the major version is in the high 16 bits, the minor in the low 16", () => {
    for (const minor of [0, 2, 9999, 0xffff]) {
      const { requests } = startEveryWay(untyped(version(3, minor), text("user"), text("ann"), 0));
      expect(requests).toEqual([{ kind: "startup", major: 3, minor, parameters: [["user", "ann"]] }]);
    }
    const { requests } = startEveryWay(untyped(Buffer.of(0x12, 0x34, 0xab, 0xcd)));
    expect(requests).toEqual([{ kind: "unsupported", major: 0x1234, minor: 0xabcd }]);
  });

  test("acceptance 31: protocol 2 has fields of fixed size, of which database and user are taken", () => {
    const field = (content: string, size: number): Buffer =>
      bytes(content, Buffer.alloc(Math.max(0, size - content.length))).subarray(0, size);
    const packet = (database: string, user: string): Buffer =>
      untyped(
        version(2, 0),
        field(database, 64),
        field(user, 32),
        field("-c a=b", 64),
        field("", 64),
        field("", 64),
      );
    expect(startEveryWay(packet("shop", "ann")).requests).toEqual([
      { kind: "v2", database: "shop", user: "ann" },
    ]);
    expect(startEveryWay(packet("", "")).requests).toEqual([{ kind: "v2", database: "", user: "" }]);
    // A field that is full has no terminator.
    expect(startEveryWay(packet("d".repeat(70), "u".repeat(40))).requests).toEqual([
      { kind: "v2", database: "d".repeat(64), user: "u".repeat(32) },
    ]);
  });

  test("acceptance 31: a packet of protocol 2 that is too short is still recognised, and never over-read", () => {
    expect(startEveryWay(untyped(version(2, 0))).requests).toEqual([{ kind: "v2", database: "", user: "" }]);
    expect(startEveryWay(untyped(version(2, 1), "shop")).requests).toEqual([
      { kind: "v2", database: "shop", user: "" },
    ]);
    expect(startEveryWay(bytes(untyped(version(2, 0), "a"), usual)).requests[0]).toEqual({
      kind: "v2",
      database: "a",
      user: "",
    });
  });

  test("acceptance 31: the error for protocol 2 is a letter and a text", () => {
    expect(encodeV2Error("unsupported frontend protocol 2.0")).toEqual(
      bytes("E", text("FATAL:  unsupported frontend protocol 2.0\n")),
    );
  });

  test("acceptance 31, 35: any other major version is yielded for the answer, not a protocol error", () => {
    for (const major of [0, 1, 4, 1234, 0xffff]) {
      const { requests, error } = startEveryWay(untyped(version(major, 7), "whatever follows"));
      expect(requests).toEqual([{ kind: "unsupported", major, minor: 7 }]);
      expect(error).toBeUndefined();
    }
  });
});

describe("parameters", () => {
  test("acceptance 32: all names and values are passed on as they are, in order, duplicates too", () => {
    const packet = untyped(
      version(3, 2),
      bytes(text("user"), text("ann"), text("application_name"), text("é €"), text("options"), text("")),
      bytes(text("user"), text("bob"), text("_pq_.x"), text("1"), text("replication"), text("database"), 0),
    );
    expect(startEveryWay(packet).requests).toEqual([
      {
        kind: "startup",
        major: 3,
        minor: 2,
        parameters: [
          ["user", "ann"],
          ["application_name", "é €"],
          ["options", ""],
          ["user", "bob"],
          ["_pq_.x", "1"],
          ["replication", "database"],
        ],
      },
    ]);
  });

  test("acceptance 32: bytes that are not UTF-8 are kept apart and come out as they came in", () => {
    const packet = untyped(version(3, 0), text("user"), Buffer.of(0xe9, 0x41, 0xff, 0), 0);
    const { requests } = startEveryWay(packet);
    expect(requests).toEqual([
      { kind: "startup", major: 3, minor: 0, parameters: [["user", "\udce9A\udcff"]] },
    ]);
    expect(encodeStartup(protocolVersion30, [["user", "\udce9A\udcff"]])).toEqual(packet);
  });

  test("acceptance 32: no parameter at all is well-formed; the user is missed later", () => {
    expect(startEveryWay(untyped(version(3, 0), 0)).requests).toEqual([
      { kind: "startup", major: 3, minor: 0, parameters: [] },
    ]);
  });

  test("acceptance 32: the terminator must be there and be the last byte", () => {
    const user = bytes(text("user"), text("ann"));
    const broken: [title: string, body: Buffer][] = [
      ["nothing", bytes()],
      ["no terminator", user],
      ["a byte behind it", bytes(user, 0, "x")],
      ["a NUL behind it", bytes(user, 0, 0)],
      ["parameters behind it", bytes(user, 0, user, 0)],
      ["a value without an end", bytes(text("user"), "ann")],
      ["a name without a value", bytes(text("user"))],
      ["a name without an end", bytes("user")],
      ["a value missing before the terminator", bytes(user, text("database"))],
      ["one byte that is no terminator", bytes("x")],
    ];
    for (const [title, body] of broken) {
      expect([title, startEveryWay(untyped(version(3, 0), body)).error]).toEqual([title, layoutError]);
    }
  });

  test("acceptance 32: strings are never read beyond the packet", () => {
    const packet = bytes(int32(4 + 4 + 4), version(3, 0), "user");
    expect(startEveryWay(bytes(packet, 0, text("ann"), 0)).error).toBe(layoutError);
  });

  test("acceptance 32: NegotiateProtocolVersion answers newer minors and unknown options", () => {
    expect(encodeNegotiateProtocolVersion(protocolVersion32, ["_pq_.x"])).toEqual(
      typed("v", int32(196610), int32(1), text("_pq_.x")),
    );
  });
});

describe("requests", () => {
  test("SSLRequest and GSSENCRequest have no body", () => {
    expect(sslRequest).toEqual(untyped(int32(sslRequestCode)));
    expect(gssencRequest).toEqual(untyped(int32(gssencRequestCode)));
    expect(startEveryWay(sslRequest).requests).toEqual([{ kind: "ssl" }]);
    expect(startEveryWay(gssencRequest).requests).toEqual([{ kind: "gssenc" }]);
    for (const code of [sslRequestCode, gssencRequestCode]) {
      expect(startEveryWay(untyped(int32(code), 0)).error).toMatch("peer.malformed_startup");
    }
  });

  test("several packets may follow each other", () => {
    expect(startEveryWay(bytes(gssencRequest, sslRequest, usual)).requests).toEqual([
      { kind: "gssenc" },
      { kind: "ssl" },
      usualRequest,
    ]);
  });

  test("a CancelRequest carries a key of 4 to 256 bytes", () => {
    for (const length of [4, 5, 32, 255, 256]) {
      const key = Buffer.from(Array.from({ length }, (_, index) => index));
      const packet = encodeCancelRequest(-7, key);
      expect(packet).toEqual(untyped(int32(cancelRequestCode), int32(-7), key));
      expect(startEveryWay(packet).requests).toEqual([{ kind: "cancel", pid: -7, key }]);
    }
    for (const length of [0, 1, 3, 257, 1000]) {
      const packet = untyped(int32(cancelRequestCode), int32(7), Buffer.alloc(length));
      expect(startEveryWay(packet).error).toMatch("invalid length of query cancel packet");
      expect(() => encodeCancelRequest(7, Buffer.alloc(length))).toThrow(AssertionError);
    }
    for (const rest of [bytes(), Buffer.alloc(3)]) {
      expect(startEveryWay(untyped(int32(cancelRequestCode), rest)).error).toMatch("query cancel packet");
    }
  });
});

describe("arrival", () => {
  test("acceptance 106: a startup packet that arrives byte by byte is read when its last byte is there", () => {
    const framer = new StartupFramer();
    const chunks = cutAt(bytes(sslRequest, usual), [...bytes(sslRequest, usual).keys()].slice(1));
    const seen = chunks.map((chunk) => {
      framer.feed(Buffer.from(chunk));
      return framer.next()?.kind;
    });
    expect(seen.indexOf("ssl")).toBe(sslRequest.length - 1);
    expect(seen.indexOf("startup")).toBe(seen.length - 1);
    expect(seen.filter((kind) => kind !== undefined)).toEqual(["ssl", "startup"]);
    expect(framer.keptBytes).toBe(0);
  });

  test("acceptance 106: a half-open login keeps what has come, not what was promised", () => {
    const framer = new StartupFramer();
    const packet = untyped(version(3, 0), text("user"), text("x".repeat(9000)), 0);
    for (let at = 0; at < packet.length - 1; at += 1) {
      framer.feed(packet.subarray(at, at + 1));
      expect(framer.next()).toBeUndefined();
      if (framer.keptBytes > Math.max(512, 2 * (at + 1)))
        throw new Error(`${framer.keptBytes} after ${at + 1}`);
    }
    framer.feed(packet.subarray(-1));
    expect(framer.next()).toMatchObject({ kind: "startup" });
  });

  test("the rest can be taken, as sent behind the packet", () => {
    const framer = new StartupFramer();
    framer.feed(bytes(sslRequest, "smuggled"));
    expect(framer.next()).toEqual({ kind: "ssl" });
    expect(framer.takeRest()).toEqual(Buffer.from("smuggled"));
    expect(framer.takeRest()).toEqual(Buffer.alloc(0));
    framer.feed(usual.subarray(0, 6));
    framer.next();
    expect(framer.takeRest()).toEqual(usual.subarray(0, 6));
    framer.feed(usual);
    expect(framer.next()).toEqual(usualRequest);
  });

  test("a TLS handshake instead of a packet is recognised by its first byte", () => {
    const framer = new StartupFramer();
    expect(framer.firstByteIsTls).toBe(false);
    const hello = bytes(0x16, 3, 1, 2, 0, 1);
    framer.feed(hello);
    expect(framer.firstByteIsTls).toBe(true);
    expect(framer.takeRest()).toEqual(hello);

    const other = new StartupFramer();
    other.feed(bytes(sslRequest, 0x16));
    expect(other.firstByteIsTls).toBe(false);
    other.next();
    expect(other.firstByteIsTls).toBe(false);
  });

  test("feeding before the last chunk was read is a mistake of ours", () => {
    const framer = new StartupFramer();
    framer.feed(usual);
    expect(() => framer.feed(usual)).toThrow(AssertionError);
  });
});

describe("encodeStartup", () => {
  test("writes what the framer reads", () => {
    const packet = encodeStartup(protocolVersion30, [
      ["user", "ann"],
      ["database", "shop"],
    ]);
    expect(packet).toEqual(usual);
  });

  test("refuses what no server would read", () => {
    expect(() => encodeStartup(protocolVersion30, [["", "x"]])).toThrow(AssertionError);
    expect(() => encodeStartup(protocolVersion30, [["user", "x".repeat(10_000)]])).toThrow(AssertionError);
  });
});
