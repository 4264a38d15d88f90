import fc from "fast-check";
import { expect, test } from "vitest";
import { Handling, ReplyQueue, Request, Verdict } from "../../../src/pool/replies.ts";
import * as fakes from "./fakes.ts";
import { type Answer, type ModelKind, type ModelRequest, ServerModel } from "./server-model.ts";

interface Sent extends ModelRequest {
  readonly handling: Handling;
}

/** A unit of messages as clients send them; COPY IN comes with everything that belongs to it. */
const kinds: fc.Arbitrary<ModelKind> = fc.constantFrom(
  "parse",
  "bind",
  "describe",
  "execute",
  "close",
  "sync",
  "flush",
  "query",
  "functionCall",
  "copyData",
  "copyDone",
);
const simpleResults = fc.constantFrom("rows", "nothing", "suspended", "copyOut");
const fails = fc.integer({ min: 0, max: 9 }).map((value) => value === 0);
const handlings = fc.constantFrom(Handling.forward, Handling.forward, Handling.swallow, Handling.synthesise);

const simpleStep = fc.record({ kind: kinds, fails, result: simpleResults, handling: handlings });
type Step = { kind: ModelKind; fails: boolean; result: ModelRequest["result"]; handling: Handling };

const copyBody = fc.array(
  fc.record({ kind: fc.constantFrom<ModelKind>("copyData", "sync", "flush"), fails }),
  { maxLength: 4 },
);
const copySteps = fc
  .tuple(fc.constantFrom<ModelKind>("query", "execute"), fails, copyBody, fc.boolean(), fails)
  .map(([kind, failsAtOnce, body, ends, failsAtEnd]): Step[] => [
    { kind, fails: failsAtOnce, result: "copyIn", handling: Handling.forward },
    ...body.map((part): Step => ({ ...part, result: "nothing", handling: Handling.forward })),
    {
      kind: ends ? "copyDone" : "copyFail",
      fails: failsAtEnd,
      result: "nothing",
      handling: Handling.forward,
    },
    { kind: "sync", fails: false, result: "nothing", handling: Handling.forward },
  ]);

function number(steps: Step[]): Sent[] {
  return steps.map((step, id) => ({
    ...step,
    id,
    // Only what the pooler itself sends is swallowed, and only Parse and Close are synthesised.
    handling: mayHandle(step) ? step.handling : Handling.forward,
  }));
}

function mayHandle({ kind, handling }: Step): boolean {
  if (handling === Handling.synthesise) return kind === "parse" || kind === "close";
  return kind === "parse" || kind === "close" || kind === "query";
}

const requestOf: Partial<Record<ModelKind, Request>> = {
  parse: Request.parse,
  bind: Request.bind,
  describe: Request.describe,
  execute: Request.execute,
  close: Request.close,
  sync: Request.sync,
  query: Request.query,
  functionCall: Request.functionCall,
  copyDone: Request.copyEnd,
  copyFail: Request.copyEnd,
};

/** Client, queue and server with a pipe each way, moved on in any order. */
class Run {
  readonly queue = new ReplyQueue();
  readonly forwarded: Buffer[] = [];
  readonly endings = new Map<number, string[]>();
  readonly answers: Answer[] = [];
  readonly #server = new ServerModel();
  readonly #toServer: Sent[] = [];
  readonly #toClient: Buffer[] = [];

  send(sent: Sent): void {
    const request = requestOf[sent.kind];
    if (request !== undefined) {
      const hasOutcome = sent.kind === "parse" || sent.kind === "close";
      this.queue.push(request, sent.handling, hasOutcome ? this.#outcome(sent.id) : undefined);
    }
    if (sent.handling !== Handling.synthesise) this.#toServer.push(sent);
    this.#takeSynthesised();
  }

  serve(): boolean {
    const request = this.#toServer.shift();
    if (request === undefined) return false;
    const answer = this.#server.receive(request);
    this.answers.push(answer);
    this.#toClient.push(...answer.replies);
    return true;
  }

  deliver(): boolean {
    const reply = this.#toClient.shift();
    if (reply === undefined) return false;
    const verdict = fakes.accept(this.queue, reply);
    if (verdict === Verdict.forward) this.forwarded.push(reply);
    this.#takeSynthesised();
    return true;
  }

  /** Whether the server refused the request with this number. */
  failedAt(id: number): boolean {
    return this.answers.some(({ request, failed }) => request.id === id && failed);
  }

  finish(): void {
    while (this.serve() || this.deliver()) continue;
  }

  #takeSynthesised(): void {
    if (this.queue.hasSynthesised) this.forwarded.push(this.queue.takeSynthesised());
  }

  #outcome(id: number): { errorReply: undefined; onDone(): void; onFailed(): void } {
    const heard: string[] = [];
    this.endings.set(id, heard);
    return {
      errorReply: undefined,
      onDone: () => void heard.push("done"),
      onFailed: () => void heard.push("failed"),
    };
  }
}

/** What a client of a server that answers everything itself would see, less what is swallowed. */
function expected(sent: readonly Sent[]): {
  replies: Buffer[];
  done: Map<number, boolean>;
  uncertain: boolean;
} {
  const server = new ServerModel();
  const replies: Buffer[] = [];
  const done = new Map<number, boolean>();
  let uncertain = false;
  for (const request of sent) {
    const synthesised = request.handling === Handling.synthesise;
    const answer = server.receive(synthesised ? { ...request, fails: false } : request);
    done.set(request.id, answer.replies.length > 0 && !answer.failed);
    uncertain ||= answer.uncertain;
    if (request.handling !== Handling.swallow) replies.push(...answer.replies);
    // The error of a Parse of our own stands for what needed it; that of a Query is kept back.
    else if (request.kind !== "query") replies.push(...answer.replies.filter(isError));
  }
  return { replies, done, uncertain };
}

const isError = (reply: Buffer): boolean => reply[0] === 0x45;
const isReady = (reply: Buffer): boolean => reply[0] === 0x5a;
const trace = (replies: Buffer[]): string => Buffer.concat(replies).toString("latin1");

/** Sends everything in an order of its own; `schedule` is read over and over. */
function play(sent: readonly Sent[], schedule: readonly number[]): Run {
  const run = new Run();
  let turn = 0;
  for (const request of sent) {
    run.send(request);
    const count = schedule[turn++ % schedule.length] ?? 0;
    for (let i = 0; i < count; i++) {
      const deliver = ((schedule[turn++ % schedule.length] ?? 0) & 1) === 1;
      if (deliver) run.deliver();
      else run.serve();
    }
  }
  run.finish();
  return run;
}

const schedules = fc.array(fc.nat(5), { minLength: 1, maxLength: 60 });
const lastSync: Step = { kind: "sync", fails: false, result: "nothing", handling: Handling.forward };

test("what is forwarded is what the server said, less what is swallowed, and what is synthesised in its place", () => {
  fc.assert(
    fc.property(fc.array(simpleStep, { maxLength: 40 }), schedules, (steps, schedule) => {
      const sent = number([...steps, lastSync]);
      const run = play(sent, schedule);
      const { replies, done } = expected(sent);
      expect(trace(run.forwarded)).toBe(trace(replies));
      for (const [id, heard] of run.endings) expect(heard).toEqual([done.get(id) ? "done" : "failed"]);
      expect(run.queue.length).toBe(0);
      expect(run.queue.settled).toBe(true);
      expect(run.queue.copyIn).toBe(false);
      const kept = sent.some(({ kind, handling }, index) => {
        return kind === "query" && handling === Handling.swallow && run.failedAt(index);
      });
      expect(run.queue.takeSwallowedError() !== undefined).toBe(kept);
    }),
    { numRuns: 3000 },
  );
});

test("with COPY in it, as far as the protocol itself is certain", () => {
  const parts = fc.array(
    fc.oneof(
      simpleStep.map((step): Step[] => [step]),
      copySteps,
    ),
    { maxLength: 12 },
  );
  let certain = 0;
  fc.assert(
    fc.property(parts, schedules, (steps, schedule) => {
      const sent = number([...steps.flat(), lastSync]);
      const run = play(sent, schedule);
      const { replies, done, uncertain } = expected(sent);
      if (uncertain) {
        // Who sends Sync into a COPY that fails may get its ReadyForQuery late, or not at all: the last
        // Sync is answered, everything else is as it was.
        expect(trace(run.forwarded.filter((reply) => !isReady(reply)))).toBe(
          trace(replies.filter((reply) => !isReady(reply))),
        );
      } else {
        certain++;
        expect(trace(run.forwarded)).toBe(trace(replies));
      }
      for (const [id, heard] of run.endings) expect(heard).toEqual([done.get(id) ? "done" : "failed"]);
      expect(run.queue.length).toBe(0);
      expect(run.queue.settled).toBe(true);
      expect(run.queue.copyIn).toBe(false);
    }),
    { numRuns: 3000 },
  );
  expect(certain).toBeGreaterThan(1000);
});
