/** COPY's part of the reply queue. What the server does in these cases was seen on PostgreSQL 18. */
import { describe, expect, test } from "vitest";
import { Handling, ReplyQueue, Request, Verdict } from "../../../src/pool/replies.ts";
import * as fakes from "./fakes.ts";
import { accept, complete, copyIn, failure, ready } from "./fakes.ts";

const { forward, swallow } = Handling;

function queueOf(...requests: (keyof typeof Request)[]): ReplyQueue {
  const queue = new ReplyQueue();
  for (const request of requests) queue.push(Request[request], forward);
  return queue;
}

test("a COPY by simple Query", () => {
  const queue = queueOf("query");
  expect(accept(queue, copyIn)).toBe(Verdict.forward);
  expect(queue.copyIn).toBe(true);
  queue.push(Request.copyEnd, forward);
  expect(queue.copyIn).toBe(false);
  accept(queue, complete("COPY 2"));
  accept(queue, ready());
  expect(queue.settled).toBe(true);
});

test("Sync before CopyInResponse is ignored by the server: libpq's own order", () => {
  const queue = queueOf("parse", "bind", "describe", "execute", "sync");
  accept(queue, fakes.parseComplete);
  accept(queue, fakes.bindComplete);
  accept(queue, fakes.noData);
  accept(queue, copyIn);
  expect(queue.length).toBe(1);
  expect(queue.copyIn).toBe(true);
  queue.push(Request.copyEnd, forward);
  accept(queue, complete("COPY 1"));
  expect(queue.length).toBe(0);
  expect(queue.settled, "the Sync that counts is still to come").toBe(false);
  queue.push(Request.sync, forward);
  accept(queue, ready());
  expect(queue.settled).toBe(true);
});

test("Sync while the server reads COPY data is ignored", () => {
  const queue = queueOf("execute");
  accept(queue, copyIn);
  queue.push(Request.sync, forward);
  queue.push(Request.sync, forward);
  expect(queue.length).toBe(1);
  queue.push(Request.copyEnd, forward);
  queue.push(Request.sync, forward);
  accept(queue, complete("COPY 1"));
  accept(queue, ready());
  expect(queue.settled).toBe(true);
});

test("CopyDone sent before CopyInResponse, with Syncs before and after it", () => {
  const queue = queueOf("parse", "bind", "execute", "sync", "copyEnd", "sync", "query");
  accept(queue, fakes.parseComplete);
  accept(queue, fakes.bindComplete);
  accept(queue, copyIn);
  expect(queue.copyIn).toBe(false);
  expect(queue.length).toBe(3);
  accept(queue, complete("COPY 1"));
  accept(queue, ready());
  accept(queue, complete("SELECT 1"));
  accept(queue, ready());
  expect(queue.settled).toBe(true);
});

test("two COPY commands in one Query, all sent ahead", () => {
  const queue = queueOf("query", "copyEnd", "copyEnd", "query");
  accept(queue, copyIn);
  expect(queue.copyIn).toBe(false);
  accept(queue, complete("COPY 1"));
  accept(queue, copyIn);
  expect(queue.copyIn).toBe(false);
  accept(queue, complete("COPY 1"));
  accept(queue, ready());
  expect(queue.length).toBe(1);
});

test("CopyDone and CopyFail without a COPY have no reply", () => {
  const queue = queueOf("copyEnd", "query", "copyEnd", "sync", "copyEnd");
  accept(queue, complete("SELECT 1"));
  accept(queue, ready());
  expect(queue.length).toBe(2);
  accept(queue, ready());
  expect(queue.settled).toBe(true);
  expect(queue.copyIn).toBe(false);
});

test("CopyDone for a COPY that failed at once: by Query, by Execute", () => {
  const simple = queueOf("query", "copyEnd", "query");
  accept(simple, failure("42P01"));
  accept(simple, ready());
  expect(simple.length).toBe(1);
  const extended = queueOf("execute", "copyEnd", "sync");
  accept(extended, failure("42P01"));
  accept(extended, ready());
  expect(extended.settled).toBe(true);
});

test("a synthesised reply between Execute and CopyDone does not leave the queue in COPY", () => {
  const queue = queueOf("execute");
  queue.push(Request.parse, Handling.synthesise);
  queue.push(Request.copyEnd, forward);
  accept(queue, copyIn);
  accept(queue, complete("COPY 1"));
  expect(queue.takeSynthesised()).toEqual(fakes.parseComplete);
  expect(queue.copyIn).toBe(false);
  queue.push(Request.sync, forward);
  accept(queue, ready());
  expect(queue.settled).toBe(true);
});

describe("an error ends COPY, and the Sync before it may have been read after it", () => {
  test("COPY to a view, with Sync in the same write: the Sync is answered", () => {
    const queue = queueOf("parse", "bind", "execute", "sync");
    accept(queue, fakes.parseComplete);
    accept(queue, fakes.bindComplete);
    accept(queue, copyIn);
    expect(accept(queue, failure("42809", 'cannot copy to view "v"'))).toBe(Verdict.forward);
    expect(queue.settled).toBe(false);
    expect(accept(queue, ready())).toBe(Verdict.forward);
    expect(queue.settled).toBe(true);
    queue.push(Request.query, forward);
    accept(queue, complete("SELECT 1"));
    accept(queue, ready());
    expect(queue.settled).toBe(true);
  });

  test("and the client sends CopyDone and Sync behind it: two ReadyForQuery", () => {
    const queue = queueOf("execute", "sync");
    accept(queue, copyIn);
    accept(queue, failure("42809"));
    queue.push(Request.copyEnd, forward);
    queue.push(Request.sync, forward);
    expect(accept(queue, ready())).toBe(Verdict.forward);
    expect(queue.settled).toBe(true);
    expect(accept(queue, ready())).toBe(Verdict.forward);
    expect(queue.settled).toBe(true);
  });

  test("the second one is nobody's once something else was asked", () => {
    const queue = queueOf("execute", "sync");
    accept(queue, copyIn);
    accept(queue, failure("42809"));
    queue.push(Request.sync, forward);
    accept(queue, ready());
    queue.push(Request.query, swallow);
    queue.push(Request.query, forward);
    expect(accept(queue, ready())).toBe(Verdict.swallow);
    expect(queue.length).toBe(2);
    expect(accept(queue, complete("SET"))).toBe(Verdict.swallow);
    expect(accept(queue, ready())).toBe(Verdict.swallow);
    expect(accept(queue, complete("SELECT 1"))).toBe(Verdict.forward);
    expect(accept(queue, ready())).toBe(Verdict.forward);
    expect(() => accept(queue, ready())).toThrow("in reply to nothing");
  });

  test("if the server has read it in COPY: no answer, and the next reply settles that", () => {
    const queue = queueOf("execute", "sync");
    accept(queue, copyIn);
    accept(queue, failure("22P02", "invalid input syntax"));
    queue.push(Request.copyEnd, forward);
    queue.push(Request.sync, forward);
    accept(queue, ready());
    expect(queue.settled).toBe(true);
    queue.push(Request.query, forward);
    accept(queue, fakes.notice("not yet an answer"));
    accept(queue, complete("SELECT 1"));
    accept(queue, ready());
    expect(queue.settled).toBe(true);
    expect(() => accept(queue, ready())).toThrow("in reply to nothing");
  });

  test("by simple Query: its own ReadyForQuery first, then perhaps the Sync's", () => {
    for (const answered of [true, false]) {
      const queue = queueOf("query", "sync");
      accept(queue, copyIn);
      accept(queue, failure("42809"));
      expect(accept(queue, ready())).toBe(Verdict.forward);
      expect(queue.settled).toBe(true);
      if (answered) expect(accept(queue, ready())).toBe(Verdict.forward);
      queue.push(Request.query, forward);
      accept(queue, complete("SELECT 1"));
      accept(queue, ready());
      expect(queue.settled).toBe(true);
    }
  });

  test("a COPY that ends well leaves no doubt behind", () => {
    const queue = queueOf("query", "sync");
    accept(queue, copyIn);
    queue.push(Request.copyEnd, forward);
    accept(queue, complete("COPY 1"));
    accept(queue, failure("22012", "the next command of the string"));
    accept(queue, ready());
    expect(() => accept(queue, ready())).toThrow("in reply to nothing");
  });

  test("the server is gone", () => {
    const queue = queueOf("execute", "sync");
    accept(queue, copyIn);
    accept(queue, failure("57P01", "terminating", "FATAL"));
    queue.abandon();
    expect(queue.settled).toBe(true);
    expect(() => accept(queue, ready())).toThrow("in reply to nothing");
  });
});

test("COPY BOTH of replication", () => {
  const queue = queueOf("query");
  accept(queue, fakes.copyBoth);
  expect(queue.copyIn).toBe(true);
  expect(accept(queue, fakes.copyData("w"))).toBe(Verdict.forward);
  queue.push(Request.copyEnd, forward);
  accept(queue, fakes.copyDone);
  accept(queue, complete("START_STREAMING"));
  accept(queue, ready());
  expect(queue.settled).toBe(true);
});
