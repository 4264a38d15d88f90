/**
 * Random sessions: two to five clients write random simple and extended messages and COPY data, cut at random places and
 * interleaved as it happens. Each must be answered through the pooler as directly, here in session mode, with a server for each.
 * FUZZ_SECONDS is the time for this file, FUZZ_SEED repeats a run.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { encodeFrontend, type FrontendMessage } from "../../src/wire/index.ts";
import { rewritesFor } from "../differential/differences.ts";
import { Ground, type Via } from "../kit/differential/ground.ts";
import type { RunOptions } from "../kit/differential/run.ts";
import { Transcript } from "../kit/differential/transcript.ts";
import { RawClient, rawClient } from "../kit/raw-client.ts";
import { waitUntil } from "../kit/wait.ts";
import { cutAt } from "../unit/wire/cuts.ts";
import { type Burst, type SessionPlan, sessionPlans } from "./sessions-arbitraries.ts";

const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 0x7fff_ffff));
const milliseconds = Number(process.env["FUZZ_SECONDS"] ?? 4) * 1000;
const vias: readonly Via[] = [{ mode: "session", servers: 5 }];

let ground: Ground;
let runs = 0;
beforeAll(async () => {
  ground = await Ground.start({ lanes: 1, rewrites: rewritesFor, stepMs: 20_000 });
});
afterAll(async () => {
  process.stdout.write(`session fuzz: seed ${seed}, ${milliseconds / 1000} s, ${runs} runs\n`);
  await ground.stop();
});

test("random sessions are answered as without a pooler", { timeout: milliseconds + 120_000 }, async () => {
  const property = fc.asyncProperty(sessionPlans, async (plans) => {
    const perform = (transcript: Transcript, options: RunOptions): Promise<void> =>
      performAll(plans, transcript, options);
    const performance = { name: "random sessions", roles: [], ownDatabase: false, perform };
    for (const { via, difference } of await ground.compare(performance, vias)) {
      if (difference === "") continue;
      throw new Error(`${via.mode} mode, ${via.servers} servers (- direct, + pooled)\n${difference}`);
    }
  });
  const details = await fc.check(property, {
    seed,
    numRuns: Number.MAX_SAFE_INTEGER,
    includeErrorInReport: true,
    plugins: [fc.interruptAfterTimeLimit(milliseconds)],
  });
  runs = details.numRuns;
  if (details.failed) throw new Error(fc.defaultReportMessage(details));
  expect(details.numRuns).toBeGreaterThan(0);
});

async function performAll(
  plans: readonly SessionPlan[],
  transcript: Transcript,
  options: RunOptions,
): Promise<void> {
  const tables = plans.map((_, index) => `create table t${index}(a int)`);
  await options.direct.query(tables.join("; "));
  const transcripts = await Promise.all(plans.map((plan, index) => performOne(plan, index, options)));
  for (const own of transcripts) transcript.append(own);
  // Who vanished may still be in a transaction, and hold its table.
  const busy =
    "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid()";
  await waitUntil(async () => (await options.direct.query(busy)).rows[0]?.[0] === "0", "all have left");
}

async function performOne(plan: SessionPlan, index: number, options: RunOptions): Promise<Transcript> {
  const name = `c${index}`;
  const transcript = new Transcript();
  const { database } = options.address;
  const client = await rawClient(options.address);
  const { messages } = await client.startup({ database });
  for (const message of messages) transcript.message(name, message);
  for (const burst of plan.bursts) {
    transcript.heading(name, burst.messages.map(textOf).join(", "));
    if (!(await performBurst(burst, index, client, transcript, options.stepMs))) break;
  }
  if (plan.leaves === "vanish") client.destroy();
  else for (const message of await leave(client)) transcript.message(name, message);
  return transcript;
}

async function leave(client: RawClient): Promise<Awaited<ReturnType<RawClient["rest"]>>> {
  client.send({ kind: "Terminate" });
  client.stream.end();
  const rest = await client.rest();
  client.destroy();
  return rest;
}

/** Whether the connection goes on. */
async function performBurst(
  { messages, cuts }: Burst,
  index: number,
  client: RawClient,
  transcript: Transcript,
  stepMs: number,
): Promise<boolean> {
  const bytes = Buffer.concat(messages.map((message) => encodeFrontend(ownOf(message, index))));
  for (const piece of cutAt(
    bytes,
    cuts.map((cut) => cut % (bytes.length + 1)),
  )) {
    client.stream.write(piece);
    // So that pieces arrive apart, and others get their turn.
    await new Promise(setImmediate);
  }
  for (let owed = messages.filter(({ kind }) => kind === "Query" || kind === "Sync").length; owed > 0; ) {
    const message = await client.next(`${owed} times ReadyForQuery`, stepMs).catch((error: unknown) => {
      if (!client.isClosed) transcript.stuck = String(error);
      transcript.note(`c${index}`, client.isClosed ? "CLOSED" : `STUCK ${String(error)}`);
      return undefined;
    });
    if (message === undefined) return false;
    transcript.message(`c${index}`, message);
    if (message.kind === "ReadyForQuery") owed--;
  }
  return true;
}

function ownOf(message: FrontendMessage, index: number): FrontendMessage {
  return "sql" in message ? { ...message, sql: message.sql.replaceAll("$me", String(index)) } : message;
}

function textOf(message: FrontendMessage): string {
  if ("sql" in message) return `${message.kind} ${message.sql}`;
  return message.kind === "Execute" && message.maxRows > 0 ? `Execute ${message.maxRows} rows` : message.kind;
}
