/**
 * Whatever a server sends, in whatever pieces, the handshake ends in a session or in a ConnectError, or waits
 * for more: it never throws, never asks for two things at once, and never goes on for ever.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { connectOptions } from "../../../src/client/conninfo/options.ts";
import { ConnectError } from "../../../src/client/errors.ts";
import { Handshake } from "../../../src/client/handshake/handshake.ts";
import { TransactionStatus } from "../../../src/wire/constants.ts";
import { encodeBackend } from "../../../src/wire/encode-backend.ts";
import type { BackendMessage } from "../../../src/wire/messages.ts";

const nonce = Buffer.alloc(18, 7).toString("base64");
const challenge = Buffer.from(`r=${nonce}abc,s=AAAA,i=4096`);

/** Messages of a login, right or wrong, in no order. */
const message: fc.Arbitrary<Buffer> = fc
  .oneof(
    fc.constantFrom<BackendMessage>(
      { kind: "AuthenticationOk" },
      { kind: "AuthenticationCleartextPassword" },
      { kind: "AuthenticationMD5Password", salt: Buffer.of(1, 2, 3, 4) },
      { kind: "AuthenticationSASL", mechanisms: ["SCRAM-SHA-256"] },
      { kind: "AuthenticationSASL", mechanisms: ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"] },
      { kind: "AuthenticationSASLContinue", data: challenge },
      { kind: "AuthenticationSASLFinal", data: Buffer.from(`v=${Buffer.alloc(32).toString("base64")}`) },
      { kind: "AuthenticationUnsupported", code: 7, data: Buffer.alloc(0) },
      { kind: "NegotiateProtocolVersion", version: 196608, unsupported: [] },
      { kind: "BackendKeyData", pid: 1, key: Buffer.alloc(32) },
      { kind: "BackendKeyData", pid: 1, key: Buffer.alloc(4) },
      { kind: "ParameterStatus", name: "a", value: "b" },
      { kind: "ReadyForQuery", status: TransactionStatus.idle },
      { kind: "EmptyQueryResponse" },
    ),
    fc.record({
      kind: fc.constant("ErrorResponse" as const),
      fields: fc.record({
        severity: fc.constant("FATAL"),
        code: fc.constantFrom("57P03", "28P01", "28000"),
        message: fc.constant("no"),
      }),
    }),
  )
  .map(encodeBackend);

const bytes: fc.Arbitrary<Buffer> = fc.oneof(
  { weight: 6, arbitrary: fc.array(message, { maxLength: 4 }).map((parts) => Buffer.concat(parts)) },
  { weight: 1, arbitrary: fc.constantFrom(Buffer.from("S"), Buffer.from("N"), Buffer.from("E")) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)) },
);

/** What happens next to the machine: bytes, or a whim of the network. */
const step = fc.oneof(
  { weight: 8, arbitrary: bytes },
  { weight: 1, arbitrary: fc.constantFrom("ended", "broken", "timedOut", "refuse") },
);

const given = fc.record({
  sslmode: fc.constantFrom("disable", "allow", "prefer", "require"),
  channelBinding: fc.constantFrom("disable", "prefer", "require"),
  password: fc.constantFrom(undefined, "secret"),
  maxProtocolVersion: fc.constantFrom(196608, 196610),
  cancel: fc.boolean(),
});

test("anything that a server does ends in a session, an error, or waiting", () => {
  fc.assert(
    fc.property(given, fc.array(step, { maxLength: 25 }), ({ cancel, ...chosen }, steps) => {
      fc.pre(chosen.sslmode !== "disable" || chosen.channelBinding !== "require");
      const hosts = [
        { host: "a.example", port: 1 },
        { host: "127.0.0.1", port: 2 },
      ];
      const options = connectOptions({ user: "ada", hosts, ...chosen });
      const machine = new Handshake(options, {
        random: (count) => Buffer.alloc(count, 7),
        cancel: cancel ? { pid: 1, key: Buffer.alloc(4) } : undefined,
      });
      let demands = 0;
      for (const next of steps) {
        demands += answerUntilRead(machine, next === "refuse");
        if (machine.finished) break;
        if (next === "ended") machine.handle({ kind: "ended", error: undefined });
        else if (next === "broken") machine.handle({ kind: "ended", error: new Error("ECONNRESET") });
        else if (next === "timedOut") machine.handle({ kind: "timedOut" });
        else if (Buffer.isBuffer(next)) {
          const copy = Buffer.from(next);
          machine.receive(copy);
          copy.fill(0xee);
        }
      }
      demands += answerUntilRead(machine, false);
      const last = machine.poll();
      if (machine.status === "OK") expect(["done", "cancelled"]).toContain(last.kind);
      else if (last.kind === "failed") expect(last.error).toBeInstanceOf(ConnectError);
      else expect(last.kind).toBe("read");
      expect(demands).toBeLessThan(500);
    }),
    { numRuns: 3000 },
  );
});

/** Does what the machine asks for until it needs the server; returns how much that was. */
function answerUntilRead(machine: Handshake, refuse: boolean): number {
  for (let count = 0; ; count++) {
    const demand = machine.poll();
    switch (demand.kind) {
      case "resolve":
        if (refuse) machine.handle({ kind: "resolveFailed", error: new Error("ENOTFOUND") });
        else machine.handle({ kind: "resolved", addresses: ["10.0.0.1", "10.0.0.2"] });
        break;
      case "connect":
        if (refuse) machine.handle({ kind: "connectFailed", error: new Error("ECONNREFUSED") });
        else machine.handle({ kind: "connected" });
        break;
      case "write":
        machine.handle({ kind: "written" });
        break;
      case "startTls":
        if (refuse) machine.handle({ kind: "tlsFailed", error: new Error("alert") });
        else machine.handle({ kind: "tlsStarted", endPoint: Buffer.alloc(32), alpn: "postgresql" });
        break;
      case "derive":
        machine.handle({ kind: "derived", saltedPassword: Buffer.alloc(32) });
        break;
      case "disconnect":
        machine.handle({ kind: "disconnected" });
        break;
      default:
        return count;
    }
  }
}
