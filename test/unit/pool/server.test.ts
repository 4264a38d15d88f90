import { describe, expect, test } from "vitest";
import { OperationError } from "../../../src/base/errors.ts";
import { Handling, Request } from "../../../src/pool/replies.ts";
import { unnamedUnknown } from "../../../src/pool/server.ts";
import * as fakes from "./fakes.ts";
import { complete, failure, fakeServer, ready, row } from "./fakes.ts";

const { forward, swallow, synthesise } = Handling;
const rowDescription = fakes.rowDescription;

test("replies are forwarded in runs, and the owner hears when all are in", () => {
  const { server, owner } = fakeServer();
  server.replies.push(Request.query, forward);
  const replies = Buffer.concat([rowDescription, row("a"), complete("SELECT 1"), ready()]);
  server.onData(replies);
  expect(owner.replies).toEqual([replies]);
  expect(owner.heard).toEqual(["settled"]);
  expect(server.clean).toBe(true);
});

test("what is swallowed cuts a run in two", () => {
  const { server, owner } = fakeServer();
  server.replies.push(Request.query, swallow);
  server.replies.push(Request.parse, swallow);
  server.replies.push(Request.bind, forward);
  server.replies.push(Request.execute, forward);
  server.replies.push(Request.sync, forward);
  server.onData(
    Buffer.concat([
      complete("SET"),
      ready(),
      fakes.parseComplete,
      fakes.bindComplete,
      complete("UPDATE 1"),
      ready(),
    ]),
  );
  expect(owner.replies).toEqual([Buffer.concat([fakes.bindComplete, complete("UPDATE 1"), ready()])]);
  expect(owner.heard).toEqual(["settled"]);
});

test("a server that is fed byte by byte forwards the same", () => {
  const { server, owner } = fakeServer();
  server.replies.push(Request.query, swallow);
  server.replies.push(Request.query, forward);
  const own = Buffer.concat([rowDescription, row("x"), complete("SET"), ready()]);
  const clients = Buffer.concat([rowDescription, row("a"), row("b"), complete("SELECT 2"), ready()]);
  for (const byte of Buffer.concat([own, clients])) server.onData(Buffer.of(byte));
  expect(owner.takeReplies()).toEqual(clients);
  expect(owner.heard).toEqual(["settled"]);
});

test("a client that does not take replies keeps the chunk", () => {
  const { server, owner, transport } = fakeServer();
  server.replies.push(Request.query, forward);
  server.onData(complete("BEGIN"));
  expect(transport.retained).toBe(0);
  owner.takes = false;
  server.onData(complete("SELECT 1"));
  expect(transport.retained).toBe(1);
});

test("what follows the last ReadyForQuery in a chunk is still the owner's, then it hears that all is in", () => {
  const { server, owner } = fakeServer();
  server.replies.push(Request.query, forward);
  const replies = Buffer.concat([complete("LISTEN"), ready(), fakes.notification]);
  server.onData(replies.subarray(0, replies.length - 3));
  expect(owner.heard).toEqual([]);
  expect(server.clean).toBe(false);
  server.onData(replies.subarray(replies.length - 3));
  expect(owner.heard).toEqual(["settled"]);
  expect(server.clean).toBe(true);
  expect(owner.takeReplies()).toEqual(replies);
});

describe("synthesised replies", () => {
  test("come behind the reply before them, even if that comes in parts", () => {
    const { server, owner } = fakeServer();
    server.replies.push(Request.describe, forward);
    server.replies.push(Request.close, synthesise);
    server.replies.push(Request.sync, forward);
    const description = Buffer.concat([rowDescription, Buffer.alloc(0)]);
    server.onData(description.subarray(0, 6));
    expect(owner.takeReplies()).toEqual(description.subarray(0, 6));
    expect(server.midReply).toBe(true);
    server.onData(description.subarray(6));
    expect(server.midReply).toBe(false);
    server.onData(ready());
    expect(owner.takeReplies()).toEqual(
      Buffer.concat([description.subarray(6), fakes.closeComplete, ready()]),
    );
  });

  test("come between replies of one chunk", () => {
    const { server, owner } = fakeServer();
    server.replies.push(Request.bind, forward);
    server.replies.push(Request.parse, synthesise);
    server.replies.push(Request.execute, forward);
    server.replies.push(Request.sync, forward);
    server.onData(Buffer.concat([fakes.bindComplete, complete("SELECT 0"), ready()]));
    expect(owner.takeReplies()).toEqual(
      Buffer.concat([fakes.bindComplete, fakes.parseComplete, complete("SELECT 0"), ready()]),
    );
  });
});

test("an error with another text goes out once, however many parts the server's has", () => {
  const { server, owner } = fakeServer();
  const bytes = failure("42P05", "in other words");
  const outcome = {
    errorReply: { sqlstate: "42P05", inPlaceOf: () => bytes },
    onDone: () => {},
    onFailed: () => {},
  };
  server.replies.push(Request.parse, forward, outcome);
  server.replies.push(Request.sync, forward);
  const long = failure("42P05", "x".repeat(100_000));
  for (let start = 0; start < long.length; start += 40_000) {
    server.onData(long.subarray(start, start + 40_000));
  }
  server.onData(ready());
  expect(owner.takeReplies()).toEqual(Buffer.concat([bytes, ready()]));
});

describe("parameters", () => {
  test("are noted, and told to the owner unless they answer what we sent", () => {
    const { server, owner } = fakeServer({ parameters: [["TimeZone", "UTC"]] });
    server.replies.push(Request.query, swallow);
    server.replies.push(Request.query, forward);
    server.onData(Buffer.concat([fakes.parameter("TimeZone", "Asia/Tokyo"), complete("SET"), ready()]));
    expect(server.parameters.tracked.get("TimeZone")).toBe("Asia/Tokyo");
    expect(owner.heard).toEqual([]);
    server.onData(Buffer.concat([fakes.parameter("TimeZone", "UTC"), complete("SET"), ready()]));
    expect(server.parameters.tracked.get("TimeZone")).toBe("UTC");
    expect(owner.heard).toEqual(["TimeZone=UTC", "settled"]);
  });
});

test("DEALLOCATE ALL and DISCARD ALL drop what is prepared, but not the unnamed statement", () => {
  for (const [tag, drops] of [
    ["DEALLOCATE ALL", true],
    ["DISCARD ALL", true],
    ["DEALLOCATE", false],
    ["INSERT 0 1001", false],
    ["INSERT 0 1", false],
  ] as const) {
    const { server, owner } = fakeServer();
    server.prepared.set("pgsluice_1", true);
    server.unnamed = "select\0\0\0";
    server.replies.push(Request.execute, forward);
    server.onData(complete(tag));
    expect(server.prepared.has("pgsluice_1"), tag).toBe(!drops);
    expect(owner.heard).toEqual(drops ? ["statements dropped"] : []);
    expect(server.unnamed).toBe("select\0\0\0");
  }
  expect(unnamedUnknown).not.toContain("\0");
});

describe("the end of a connection", () => {
  const last = failure("57P01", "terminating connection due to administrator command", "FATAL");

  test("with last words that the client has got", () => {
    const { server, owner, closed } = fakeServer();
    server.onData(last);
    server.onClose(undefined);
    expect(owner.takeReplies()).toEqual(last);
    expect(owner.heard).toEqual(["lost: terminating connection due to administrator command (relayed)"]);
    expect(closed).toHaveLength(1);
    expect(server.closeReason).toContain("administrator");
  });

  test("with last words that were swallowed: the client is still to be told", () => {
    const { server, owner } = fakeServer();
    server.replies.push(Request.query, swallow);
    server.replies.push(Request.query, forward);
    server.onData(last);
    server.onClose(undefined);
    expect(owner.replies).toEqual([]);
    expect(owner.heard).toEqual(["lost: terminating connection due to administrator command"]);
  });

  test("without a word", () => {
    const { server, owner } = fakeServer();
    const heard: string[] = [];
    server.replies.push(Request.parse, forward, {
      errorReply: undefined,
      onDone: () => heard.push("done"),
      onFailed: () => heard.push("failed"),
    });
    server.onClose(new Error("ECONNRESET"));
    expect(owner.heard).toEqual(["lost: server conn crashed?"]);
    expect(heard).toEqual(["failed"]);
    expect(server.owner).toBeUndefined();
  });

  test("because it broke the protocol", () => {
    const { server, owner, transport } = fakeServer();
    server.onData(complete("SELECT 1"));
    expect(transport.destroyed).toBe(true);
    server.onClose(undefined);
    expect(owner.heard).toEqual(['lost: server sent message "C" in reply to nothing']);
  });

  test("a reason given by us wins", () => {
    const { server, owner } = fakeServer();
    server.destroy(new OperationError("query timeout", { code: "x", sqlstate: "57014", source: "client" }));
    server.onClose(new Error("EPIPE"));
    expect(owner.heard).toEqual(["lost: query timeout"]);
  });
});

test("a ReadyForQuery without a status ends the connection", () => {
  const { server, transport } = fakeServer();
  server.replies.push(Request.query, forward);
  server.onData(Buffer.from([0x5a, 0, 0, 0, 4]));
  expect(transport.destroyed).toBe(true);
});

test("it says Terminate at its end", () => {
  const { server, transport } = fakeServer();
  server.terminate();
  expect(transport.takeWritten()).toEqual(Buffer.from([0x58, 0, 0, 0, 4]));
  expect(transport.ended).toBe(true);
});

test("a mistake of its owner's ends the connection and is not thrown at whoever reads from it", () => {
  const { server, owner, transport } = fakeServer();
  owner.onReplies = () => {
    throw new TypeError("a mistake");
  };
  server.replies.push(Request.query, forward);
  expect(() => server.onData(Buffer.concat([complete("SELECT 1"), ready()]))).not.toThrow();
  expect(transport.destroyed).toBe(true);
  server.onClose(undefined);
  expect(owner.heard).toEqual(["lost: internal error"]);
});
