/** Performs what happens beside bursts (auto-events.ts), on whichever side; `direct` sees when its moment has come. */
import { setTimeout } from "node:timers/promises";
import type { RunOptions } from "../kit/differential/run.ts";
import { waitUntil } from "../kit/wait.ts";
import {
  type Cancelling,
  type Event,
  type Evolving,
  type EvolvingName,
  evolvingTexts,
  type Gate,
  type Vanishing,
} from "./auto-events.ts";
import { Later } from "./auto-later.ts";
import { queryOf, sync } from "./sessions-arbitraries.ts";
import type { Burst, SessionClient, Witness } from "./sessions-client.ts";

const cancelAgainMs = 1000;

/** Where it happens. */
export interface EventStage {
  readonly options: RunOptions;
  readonly clients: readonly SessionClient[];
  /** Takes down what this client is told now. */
  witnessOf(client: number): Later;
  /** All that was taken down. */
  tell(witness: Later): void;
  /** The client, whose socket is gone, comes again. */
  reconnect(client: number, startup: Vanishing["startup"]): Promise<void>;
  /** What this client has prepared by Parse, as far as is known. */
  prepared(client: number): Set<EvolvingName>;
}

export async function performEvent(event: Event, stage: EventStage): Promise<void> {
  switch (event.kind) {
    case "cancel":
      return await cancel(event, stage);
    case "gate":
      return await gate(event, stage);
    case "vanish":
      return await vanish(event, stage);
    default:
      return await evolve(event, stage);
  }
}

async function performAll(client: SessionClient, bursts: readonly Burst[], witness: Witness): Promise<void> {
  for (const burst of bursts) await client.perform(burst, witness);
}

/** Answers of one client, which may be there or not. */
class Reading {
  done = false;
  readonly whole: Promise<void>;

  constructor(client: SessionClient, burst: Burst, witness: Witness) {
    this.whole = client.answers(burst, witness).then(() => {
      this.done = true;
    });
  }
}

async function count({ options }: EventStage, sql: string): Promise<number> {
  return Number((await options.direct.query(sql)).rows[0]?.[0]);
}

const sleepers =
  "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep' and state = 'active'";

async function cancel(
  { client: number, before, sleeping, after }: Cancelling,
  stage: EventStage,
): Promise<void> {
  const client = stage.clients[number] as SessionClient;
  const witness = stage.witnessOf(number);
  await performAll(client, before, witness);
  if (!client.gone) {
    await client.write(sleeping, witness);
    const reading = new Reading(client, sleeping, witness);
    // An error may have come before.
    await waitUntil(async () => reading.done || (await count(stage, sleepers)) > 0, "it sleeps, or is over");
    if (!reading.done) await client.cancel();
    await reading.whole;
  }
  await performAll(client, after, witness);
  stage.tell(witness);
}

const blocked = "select count(*) from pg_locks where not granted and relation = 'gate'::regclass";

/** Whether the one that was to be cancelled had not been answered, without a pooler: it may have failed at once. */
const cancelledDirectly = new WeakMap<Gate, boolean>();

async function gate(event: Gate, stage: EventStage): Promise<void> {
  const { client: cancelled, reading: burst } = event;
  const { direct, pooler } = stage.options;
  const pooled = pooler !== undefined;
  const witnesses = stage.clients.map((_, number) => stage.witnessOf(number));
  await direct.query("begin; lock table gate in access exclusive mode");
  const readings: Reading[] = [];
  try {
    for (const [number, client] of stage.clients.entries()) {
      const witness = witnesses[number] as Later;
      if (!client.gone) await client.write(burst, witness);
      readings.push(new Reading(client, client.gone ? { messages: [], cuts: [] } : burst, witness));
    }
    await waitUntil(async () => {
      const waiting = await count(stage, blocked);
      const open = readings.filter(({ done }) => !done).length;
      // Others may wait behind it for the same server, or for the same answer.
      return pooled ? open === 0 || waiting > 0 : waiting === open;
    }, "all wait for the lock");
    if (!pooled) cancelledDirectly.set(event, readings[cancelled]?.done === false);
    if (cancelledDirectly.get(event) === true)
      await cancelUntilDone(stage.clients[cancelled], readings[cancelled]);
  } finally {
    await direct.query("rollback");
  }
  for (const { whole } of readings) await whole;
  for (const witness of witnesses) stage.tell(witness);
}

/**
 * PostgreSQL takes no notice of a request that comes before the statement has begun, and through the pooler only one of those that read
 * was seen to wait for the lock: its own may not have got so far.
 */
async function cancelUntilDone(client?: SessionClient, reading?: Reading): Promise<void> {
  while (client !== undefined && reading?.done === false) {
    await client.cancel();
    await Promise.race([reading.whole, setTimeout(cancelAgainMs)]);
  }
}

async function vanish(event: Vanishing, stage: EventStage): Promise<void> {
  const client = stage.clients[event.client] as SessionClient;
  const witness = stage.witnessOf(event.client);
  await performAll(client, event.before, witness);
  if (event.last !== undefined && !client.gone) await client.write(event.last, witness, event.permille);
  client.destroy();
  stage.tell(witness);
  const traces = tracesOf(event.client);
  await waitUntil(async () => (await count(stage, traces)) === 0, "what the client had locked is free");
  await stage.reconnect(event.client, event.startup);
}

/** Locks that only this client has: on what is its own, or under its own number. */
const tracesOf = (me: number): string => `
select count(*) from pg_locks where pid <> pg_backend_pid() and database = (select oid from pg_database where datname = current_database())
  and (locktype = 'advisory' and (classid, objid, objsubid) in ((0, ${me}, 1), (${me}, 1, 2))
    or relation in (select oid from pg_class where relname ~ '^(t|d|s|q|u|sets|late)${me}$'))`;

/** Nobody is in a transaction, so that nothing that is locked keeps the change from being made. */
async function evolve({ client, change, users }: Evolving, stage: EventStage): Promise<void> {
  const act = async (number: number, perform: (client: SessionClient, witness: Later) => Promise<void>) => {
    const witness = stage.witnessOf(number);
    await perform(stage.clients[number] as SessionClient, witness);
    stage.tell(witness);
  };
  const rollback = { messages: [sync, queryOf("rollback")], cuts: [] };
  for (const [number, each] of stage.clients.entries()) {
    if (each.idle) continue;
    await act(number, async (one, witness) => await one.perform(rollback, witness));
  }
  for (const user of users) {
    if (stage.prepared(user.client).has(user.name)) continue;
    stage.prepared(user.client).add(user.name);
    await act(user.client, async (one, witness) => await one.perform(preparing(user.name), witness));
  }
  await act(client, async (one, witness) => await performAll(one, change, witness));
  for (const user of users) await use(user.client, user.name, stage);
}

const preparing = (name: EvolvingName): Burst => ({
  messages: [
    { kind: "Close", target: "statement", name },
    { kind: "Parse", name, sql: evolvingTexts[name], types: [] },
    sync,
  ],
  cuts: [],
});

const using = (name: EvolvingName): Burst => ({
  messages: [
    { kind: "Bind", portal: "", statement: name, formats: [], values: [], resultFormats: [] },
    { kind: "Describe", target: "portal", name: "" },
    { kind: "Execute", portal: "", maxRows: 0 },
    sync,
  ],
  cuts: [],
});

/**
 * Uses what was prepared before. Where PostgreSQL says that its plan must not change its result type, it is prepared again first: the
 * pooler does so unseen, outside of a transaction.
 */
async function use(number: number, name: EvolvingName, stage: EventStage): Promise<void> {
  const client = stage.clients[number] as SessionClient;
  if (client.gone || !client.idle) return;
  const first = stage.witnessOf(number);
  await client.perform(using(name), first);
  const end = (witness: Later): void => {
    // It may have been deallocated since.
    if (witness.errors.length > 0) stage.prepared(number).delete(name);
    stage.tell(witness);
  };
  if (!first.errors.includes(planIsStale)) {
    end(first);
    return;
  }
  const second = stage.witnessOf(number);
  if (stage.options.pooler !== undefined) second.note(client.name, "IS TOLD OF A STALE PLAN");
  await client.perform(preparing(name), stage.witnessOf(number));
  await client.perform(using(name), second);
  end(second);
}

const planIsStale = "cached plan must not change result type";
