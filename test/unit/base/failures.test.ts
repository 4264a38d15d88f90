/** The three kinds of failure, and the two clocks. */
import { expect, test } from "vitest";
import { AssertionError, assert, unreachable } from "../../../src/base/assert.ts";
import { systemClock, VirtualClock } from "../../../src/base/clock.ts";
import { Failure, OperationError, PeerError, protocolViolation } from "../../../src/base/errors.ts";

test("an assertion passes or throws", () => {
  expect(() => assert(true, "fine")).not.toThrow();
  expect(() => assert(false, "one and one are two")).toThrow(
    new AssertionError("assertion failed: one and one are two"),
  );
  expect(() => unreachable("purple" as never, "colour")).toThrow(
    "assertion failed: unexpected colour: purple",
  );
});

test("a failure carries what programs and clients need", () => {
  const cause = new Error("socket hang up");
  const error = new OperationError("no server", {
    code: "pool.no_server",
    sqlstate: "08006",
    source: "server",
    retrySafe: true,
    detail: "all of them are down",
    hint: "wait",
    cause,
  });
  expect(error).toBeInstanceOf(Failure);
  expect(error).toMatchObject({
    name: "OperationError",
    message: "no server",
    code: "pool.no_server",
    sqlstate: "08006",
    source: "server",
    retrySafe: true,
    detail: "all of them are down",
    hint: "wait",
    cause,
  });
});

test("what is not said is not retry-safe, and absent", () => {
  const error = new PeerError("bad", { code: "peer.bad", sqlstate: "08P01", source: "client" });
  expect(error).toMatchObject({ name: "PeerError", retrySafe: false });
  expect(error.detail).toBeUndefined();
  expect(Object.hasOwn(error, "cause")).toBe(false);
});

test("a protocol violation is a client's 08P01 unless said otherwise", () => {
  expect(protocolViolation("bad")).toMatchObject({
    name: "PeerError",
    code: "peer.protocol_violation",
    sqlstate: "08P01",
    source: "client",
  });
  expect(protocolViolation("bad", { source: "server", code: "peer.length" })).toMatchObject({
    code: "peer.length",
    sqlstate: "08P01",
    source: "server",
  });
});

test("a subclass has its own name", () => {
  class ConnectError extends OperationError {}
  const error = new ConnectError("refused", { code: "connect.refused", sqlstate: "08001", source: "server" });
  expect(error.name).toBe("ConnectError");
  expect(String(error)).toBe("ConnectError: refused");
});

test("the virtual clock moves only when it is told to, and never back", () => {
  const clock = new VirtualClock();
  expect([clock.now(), clock.wall()]).toEqual([0, 0]);
  clock.advance(1_500);
  expect([clock.now(), clock.wall()]).toEqual([1_500, 1_500]);
  expect(() => clock.advance(-1)).toThrow(AssertionError);
});

test("the system clock never runs back", () => {
  let last = systemClock.now();
  for (let i = 0; i < 1_000; i++) {
    const now = systemClock.now();
    expect(now).toBeGreaterThanOrEqual(last);
    last = now;
  }
  const before = Date.now();
  const wall = systemClock.wall();
  expect(wall).toBeGreaterThanOrEqual(before);
  expect(wall).toBeLessThanOrEqual(Date.now());
});
