import { describe, expect, test } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import { PeerError } from "../../../src/base/errors.ts";
import { Handling, ReplyQueue, Request, Verdict } from "../../../src/pool/replies.ts";
import type { RequestOutcome } from "../../../src/pool/request-outcome.ts";
import { typed } from "../wire/bytes.ts";
import * as fakes from "./fakes.ts";
import { accept, complete, failure, ready, row } from "./fakes.ts";

const { forward, swallow, synthesise } = Handling;

/** A queue with these requests in it. */
function queueOf(...requests: (keyof typeof Request)[]): ReplyQueue {
  const queue = new ReplyQueue();
  for (const request of requests) queue.push(Request[request], forward);
  return queue;
}

/** An outcome that counts how it ended. */
class Ending implements RequestOutcome {
  readonly errorReply: RequestOutcome["errorReply"];
  readonly heard: string[] = [];

  constructor(errorReply?: RequestOutcome["errorReply"]) {
    this.errorReply = errorReply;
  }

  onDone(): void {
    this.heard.push("done");
  }

  onFailed(): void {
    this.heard.push("failed");
  }
}

describe("each request takes its own replies and ends with the last of them", () => {
  const cases: [keyof typeof Request, Buffer[]][] = [
    ["query", [fakes.rowDescription, row("a"), row("b"), complete("SELECT 2"), ready()]],
    ["query", [complete("BEGIN"), complete("COMMIT"), ready()]],
    ["query", [fakes.emptyQuery, ready()]],
    ["query", [fakes.copyOut, fakes.copyData("x"), fakes.copyDone, complete("COPY 1"), ready()]],
    ["query", [failure("42601"), ready("E")]],
    ["functionCall", [fakes.functionResult, ready()]],
    ["functionCall", [failure("42883"), ready()]],
    ["parse", [fakes.parseComplete]],
    ["bind", [fakes.bindComplete]],
    ["describe", [fakes.rowDescription]],
    ["describe", [fakes.parameterDescription, fakes.rowDescription]],
    ["describe", [fakes.parameterDescription, fakes.noData]],
    ["execute", [row("a"), complete("SELECT 1")]],
    ["execute", [fakes.emptyQuery]],
    ["execute", [row("a"), fakes.suspended]],
    ["execute", [fakes.copyOut, fakes.copyData("x"), fakes.copyDone, complete("COPY 1")]],
    ["close", [fakes.closeComplete]],
    ["sync", [ready()]],
    ["sync", [failure("23503"), ready()]], // a constraint that is checked at the commit
  ];
  test.each(cases)("%s", (request, replies) => {
    for (const handling of [forward, swallow]) {
      const queue = new ReplyQueue();
      queue.push(Request[request], handling);
      for (const [index, reply] of replies.entries()) {
        expect(queue.length, `before reply ${index}`).toBe(1);
        expect(accept(queue, reply)).toBe(handling === forward ? Verdict.forward : Verdict.swallow);
      }
      expect(queue.length).toBe(0);
    }
  });
});

test("a reply that no request explains is a PeerError of the server", () => {
  const replies = [
    fakes.parseComplete,
    fakes.bindComplete,
    fakes.closeComplete,
    fakes.noData,
    fakes.emptyQuery,
    fakes.suspended,
    fakes.rowDescription,
    fakes.parameterDescription,
    fakes.copyIn,
    fakes.copyOut,
    fakes.copyBoth,
    fakes.copyDone,
    fakes.copyData("x"),
    fakes.functionResult,
    row("a"),
    complete("SELECT 1"),
    ready(),
    typed("R", 0, 0, 0, 0),
    typed("K", 0, 0, 0, 1, 0, 0, 0, 1),
    typed("v", 0, 3, 0, 0, 0, 0, 0, 0),
  ];
  for (const reply of replies) {
    const error = catchError(() => accept(new ReplyQueue(), reply));
    expect(error).toBeInstanceOf(PeerError);
    expect(error).toMatchObject({ code: "peer.unexpected_reply", sqlstate: "08P01", source: "server" });
    expect((error as Error).message).toContain("in reply to nothing");
  }
  for (const reply of replies.filter((reply) => reply !== fakes.bindComplete)) {
    expect(() => accept(queueOf("bind", "sync"), reply)).toThrow("in reply to bind");
  }
  expect(() => accept(queueOf("query"), fakes.parseComplete)).toThrow('message "1" in reply to query');
  expect(() => accept(queueOf("sync"), complete("SELECT 1"))).toThrow("in reply to sync");
  expect(() => accept(queueOf("functionCall"), row("a"))).toThrow("in reply to functionCall");
});

test("messages that nobody asked for end nothing and go where the head's replies go", () => {
  const messages = [fakes.parameter("TimeZone", "UTC"), fakes.notice("hm")];
  for (const message of messages) {
    const queue = new ReplyQueue();
    expect(accept(queue, message)).toBe(Verdict.forward);
    queue.push(Request.query, swallow);
    queue.push(Request.query, forward);
    expect(accept(queue, message)).toBe(Verdict.swallow);
    accept(queue, complete("SET"));
    accept(queue, ready());
    expect(accept(queue, message)).toBe(Verdict.forward);
    expect(queue.length).toBe(1);
  }
});

test("a notification answers nothing, and is for whoever listens, also behind a request of our own", () => {
  const queue = new ReplyQueue();
  queue.push(Request.query, swallow);
  expect(accept(queue, fakes.notification)).toBe(Verdict.forward);
  expect(queue.length).toBe(1);
});

test("a FATAL error to nobody in particular is forwarded, and means no request", () => {
  const queue = new ReplyQueue();
  expect(accept(queue, failure("57P01", "terminating connection", "FATAL"))).toBe(Verdict.forward);
  expect(queue.length).toBe(0);
  expect(queue.settled).toBe(true);
  queue.push(Request.query, forward);
  expect(queue.length).toBe(1);
});

test("the status is that of the last ReadyForQuery, which may be longer than it was", () => {
  const queue = queueOf("query", "sync");
  expect(queue.status).toBe(0x49);
  accept(queue, complete("BEGIN"));
  accept(queue, ready("T"));
  expect(queue.status).toBe(0x54);
  accept(queue, typed("Z", "E", 1, 2, 3));
  expect(queue.status).toBe(0x45);
});

describe("an error of the extended protocol skips to the next Sync", () => {
  test("what is behind it, up to a Sync that was sent", () => {
    const queue = queueOf("parse", "bind", "describe", "execute", "query", "sync", "query", "sync");
    accept(queue, fakes.parseComplete);
    expect(accept(queue, failure("22P02"))).toBe(Verdict.forward);
    expect(queue.length).toBe(3);
    accept(queue, ready());
    expect(queue.settled).toBe(false);
    accept(queue, complete("SELECT 1"));
    accept(queue, ready());
    accept(queue, ready());
    expect(queue.settled).toBe(true);
  });

  test("what is sent later, while the Sync has not been sent yet", () => {
    const queue = queueOf("parse");
    accept(queue, failure("42601"));
    expect(queue.length).toBe(0);
    expect(queue.settled).toBe(false);
    for (const request of ["bind", "execute", "query", "functionCall", "copyEnd"] as const) {
      queue.push(Request[request], forward);
    }
    const skipped = new Ending();
    queue.push(Request.parse, synthesise, skipped);
    expect(skipped.heard).toEqual(["failed"]);
    expect(queue.length).toBe(0);
    expect(queue.hasSynthesised).toBe(false);
    queue.push(Request.sync, forward);
    queue.push(Request.query, forward);
    expect(queue.length).toBe(2);
    accept(queue, ready());
    accept(queue, complete("SELECT 1"));
    accept(queue, ready());
    expect(queue.settled).toBe(true);
  });

  test("but errors of Query, FunctionCall and Sync skip nothing", () => {
    const queue = queueOf("query", "functionCall", "parse", "sync");
    accept(queue, failure("42601"));
    accept(queue, ready());
    accept(queue, failure("42883"));
    accept(queue, ready());
    expect(queue.length).toBe(2);
    accept(queue, fakes.parseComplete);
    accept(queue, failure("23503"));
    accept(queue, ready());
    expect(queue.settled).toBe(true);
  });
});

test("a batch is open until its Sync is sent, or a Query or FunctionCall ends its transaction", () => {
  for (const request of ["parse", "bind", "describe", "execute", "close"] as const) {
    for (const ending of ["sync", "query", "functionCall"] as const) {
      const queue = queueOf(request);
      const replies = {
        parse: fakes.parseComplete,
        bind: fakes.bindComplete,
        describe: fakes.noData,
        execute: complete("SELECT 0"),
        close: fakes.closeComplete,
      };
      accept(queue, replies[request]); // after a Flush
      expect(queue.length).toBe(0);
      expect(queue.settled, `${request} without Sync`).toBe(false);
      queue.push(Request[ending], forward);
      accept(queue, ready());
      expect(queue.settled).toBe(true);
    }
  }
  const nothingSent = new ReplyQueue();
  nothingSent.push(Request.parse, synthesise);
  expect(nothingSent.settled).toBe(true);
});

describe("errors of requests of our own", () => {
  test("an injected Parse that fails speaks for the Bind that needed it", () => {
    const queue = new ReplyQueue();
    const injected = new Ending();
    queue.push(Request.parse, swallow, injected);
    queue.push(Request.bind, forward);
    queue.push(Request.sync, forward);
    expect(accept(queue, failure("42P01"))).toBe(Verdict.forward);
    expect(injected.heard).toEqual(["failed"]);
    expect(accept(queue, ready())).toBe(Verdict.forward);
    expect(queue.takeSwallowedError()).toBeUndefined();
  });

  test("an error of our own Query is kept for who asks, once", () => {
    const queue = new ReplyQueue();
    const error = failure("22023", "invalid value");
    queue.push(Request.query, swallow);
    queue.push(Request.query, forward);
    const chunk = Buffer.concat([Buffer.from("before"), error]);
    expect(queue.accept(0x45, chunk, 6, chunk.length)).toBe(Verdict.swallow);
    chunk.fill(0);
    expect(accept(queue, ready())).toBe(Verdict.swallow);
    expect(queue.takeSwallowedError()).toEqual(error);
    expect(queue.takeSwallowedError()).toBeUndefined();
    expect(accept(queue, failure("42601"))).toBe(Verdict.forward);
    expect(queue.takeSwallowedError()).toBeUndefined();
  });
});

describe("another text in place of the server's error", () => {
  const bytes = failure("42P05", 'prepared statement "mine" already exists');
  const inPlaceOf = (error: Buffer): Buffer => {
    expect(error).toEqual(failure("42P05", "pgsluice_1"));
    return bytes;
  };

  test("if it is that error", () => {
    const queue = new ReplyQueue();
    const ending = new Ending({ sqlstate: "42P05", inPlaceOf });
    queue.push(Request.parse, forward, ending);
    queue.push(Request.sync, forward);
    expect(accept(queue, failure("42P05", "pgsluice_1"))).toBe(Verdict.replace);
    expect(queue.replacement).toBe(bytes);
    expect(ending.heard).toEqual(["failed"]);
    expect(accept(queue, ready())).toBe(Verdict.forward);
  });

  test("not if it is another, or of another request", () => {
    const queue = new ReplyQueue();
    queue.push(Request.bind, forward);
    queue.push(Request.parse, forward, new Ending({ sqlstate: "42P05", inPlaceOf }));
    queue.push(Request.sync, forward);
    expect(accept(queue, failure("42P05"))).toBe(Verdict.forward);
    accept(queue, ready());
    queue.push(Request.parse, forward, new Ending({ sqlstate: "42P05", inPlaceOf }));
    expect(accept(queue, failure("25P02", "M42P05"))).toBe(Verdict.forward);
    queue.push(Request.sync, forward);
    accept(queue, ready());
    queue.push(Request.parse, forward, new Ending({ sqlstate: "42P05", inPlaceOf }));
    expect(accept(queue, typed("E", "C42P05"))).toBe(Verdict.forward); // no NUL
  });
});

describe("replies that no server sends", () => {
  test("at the head they are due at once", () => {
    const queue = new ReplyQueue();
    const ending = new Ending();
    queue.push(Request.parse, synthesise, ending);
    expect(ending.heard).toEqual(["done"]);
    expect(queue.length).toBe(0);
    expect(queue.takeSynthesised()).toEqual(fakes.parseComplete);
    expect(queue.hasSynthesised).toBe(false);
    queue.push(Request.close, synthesise);
    expect(queue.takeSynthesised()).toEqual(fakes.closeComplete);
  });

  test("behind others they come in their turn, several together", () => {
    const queue = new ReplyQueue();
    const endings = [new Ending(), new Ending(), new Ending()];
    queue.push(Request.execute, forward);
    queue.push(Request.parse, synthesise, endings[0]);
    queue.push(Request.close, synthesise, endings[1]);
    queue.push(Request.bind, forward);
    queue.push(Request.parse, synthesise, endings[2]);
    queue.push(Request.sync, forward);
    accept(queue, row("a"));
    expect(queue.hasSynthesised).toBe(false);
    accept(queue, complete("SELECT 1"));
    expect(queue.takeSynthesised()).toEqual(Buffer.concat([fakes.parseComplete, fakes.closeComplete]));
    expect(endings.map(({ heard }) => heard)).toEqual([["done"], ["done"], []]);
    accept(queue, fakes.bindComplete);
    expect(queue.takeSynthesised()).toEqual(fakes.parseComplete);
    accept(queue, ready());
    expect(queue.settled).toBe(true);
  });

  test("those behind an error never come", () => {
    const queue = new ReplyQueue();
    const endings = [new Ending(), new Ending()];
    queue.push(Request.bind, forward);
    queue.push(Request.close, synthesise, endings[0]);
    queue.push(Request.sync, forward);
    queue.push(Request.close, synthesise, endings[1]);
    accept(queue, failure("26000"));
    expect(queue.hasSynthesised).toBe(false);
    expect(endings.map(({ heard }) => heard)).toEqual([["failed"], []]);
    accept(queue, ready());
    expect(queue.takeSynthesised()).toEqual(fakes.closeComplete);
    expect(endings[1]?.heard).toEqual(["done"]);
  });
});

test("an outcome is heard once: done, refused, skipped, or lost with the server", () => {
  const queue = new ReplyQueue();
  const endings = Array.from({ length: 5 }, () => new Ending());
  for (const ending of endings.slice(0, 3)) queue.push(Request.parse, forward, ending);
  queue.push(Request.sync, forward);
  for (const ending of endings.slice(3)) queue.push(Request.close, forward, ending);
  accept(queue, fakes.parseComplete);
  accept(queue, failure("42601"));
  accept(queue, ready());
  queue.abandon();
  queue.abandon();
  expect(endings.map(({ heard }) => heard)).toEqual([
    ["done"],
    ["failed"],
    ["failed"],
    ["failed"],
    ["failed"],
  ]);
  expect(queue.settled).toBe(true);
  expect(queue.hasSynthesised).toBe(false);
});

test("a Query is done when it is answered, failed when it is skipped or lost", () => {
  const queue = new ReplyQueue();
  const endings = [new Ending(), new Ending(), new Ending(), new Ending()];
  queue.push(Request.query, forward, endings[0]);
  queue.push(Request.parse, forward, endings[1]);
  queue.push(Request.query, forward, endings[2]);
  queue.push(Request.sync, forward);
  queue.push(Request.query, forward, endings[3]);
  accept(queue, failure("42601"));
  expect(endings[0]?.heard).toEqual([]);
  accept(queue, ready());
  expect(endings[0]?.heard).toEqual(["done"]);
  accept(queue, failure("42601"));
  accept(queue, ready());
  queue.abandon();
  expect(endings.map(({ heard }) => heard)).toEqual([["done"], ["failed"], ["failed"], ["failed"]]);
});

test("only Parse, Close and Query have an outcome", () => {
  for (const request of ["functionCall", "bind", "describe", "execute", "sync"] as const) {
    expect(() => new ReplyQueue().push(Request[request], forward, new Ending())).toThrow(AssertionError);
  }
});

test("more requests than the ring has room for keep their order and their outcomes", () => {
  const queue = new ReplyQueue();
  const endings: Ending[] = [];
  for (let round = 0; round < 40; round++) {
    const ending = new Ending();
    endings.push(ending);
    queue.push(Request.parse, forward, ending);
    queue.push(Request.sync, forward);
    if (round % 3 === 0) {
      accept(queue, fakes.parseComplete);
      accept(queue, ready());
    }
  }
  while (queue.length > 0) {
    accept(queue, fakes.parseComplete);
    accept(queue, ready());
  }
  expect(endings.every(({ heard }) => heard.join() === "done")).toBe(true);
});

function catchError(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

test("a unit that failed and lacks its Sync is not over: what follows belongs to it, and must be sent", () => {
  const queue = queueOf("parse");
  accept(queue, failure("42601"));
  expect(queue.betweenUnits).toBe(false);
  queue.push(Request.sync, forward);
  accept(queue, ready());
  expect(queue.betweenUnits).toBe(true);
  expect(queue.settled).toBe(true);
});

test("what a client is owed is counted, and is not known where nobody could answer in the server's place", () => {
  const queue = new ReplyQueue();
  expect(queue.owed).toBe(0);
  queue.push(Request.query, Handling.swallow);
  expect(queue.owed).toBe(0);
  queue.push(Request.query, Handling.forward);
  expect(queue.owed).toBe(1);
  queue.push(Request.parse, Handling.forward);
  expect(queue.owed).toBeUndefined();
  queue.push(Request.sync, Handling.forward);
  expect(queue.owed).toBe(2);
  // A request of the client's that goes on in one of ours, whose ReadyForQuery is the client's.
  queue.push(Request.query, Handling.forward, undefined, true);
  queue.push(Request.query, Handling.swallow, undefined, true);
  expect(queue.owed).toBe(3);
  queue.failed = true;
  expect(queue.owed).toBeUndefined();
});
