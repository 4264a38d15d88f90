/** Performs a plan for clients in auto mode, on whichever side, and takes down what they are told in the order of its steps. */
import { connectOptions, SimpleClient } from "../../src/client/index.ts";
import type { BackendMessage } from "../../src/wire/index.ts";
import type { RunOptions } from "../kit/differential/run.ts";
import type { Transcript } from "../kit/differential/transcript.ts";
import { waitToSee, waitUntil } from "../kit/wait.ts";
import { type EventStage, performEvent } from "./auto-event-performance.ts";
import type { EvolvingName, Startup } from "./auto-events.ts";
import { Later } from "./auto-later.ts";
import { probe, setUp } from "./auto-objects.ts";
import type { AutoPlan, Part, Step } from "./auto-plans.ts";
import { queryOf, sync } from "./sessions-arbitraries.ts";
import { type Burst, SessionClient } from "./sessions-client.ts";

const queryBurst = (sql: string): Burst => ({ messages: [queryOf(sql)], cuts: [] });

export async function performPlan(
  plan: AutoPlan,
  transcript: Transcript,
  options: RunOptions,
): Promise<void> {
  await makeObjects(setUp(plan.startups.length), options);
  const stage = await Stage.open(plan, transcript, options);
  try {
    for (const [number, step] of plan.steps.entries()) await stage.perform(number, step);
    await stage.end();
  } finally {
    stage.destroy();
  }
  await untilQuiet(options);
  await probeServers(plan.roomy ? 5 : 1, transcript, options);
  await untilQuiet(options);
}

/** By way of the pooler, if there is one: what is made beside it is not known at once, and so may leak (docs/semantics.md). */
async function makeObjects(sql: string, { direct, address, pooler }: RunOptions): Promise<void> {
  if (pooler === undefined) return void (await direct.query(sql));
  const { host, port, database } = address;
  const hosts = [{ host, port }];
  await using client = await SimpleClient.connect(
    connectOptions({ hosts, user: "postgres", database, sslmode: "disable" }),
  );
  // One by one: what defines a function and does more is taken for what may run it, and keeps its server.
  for (const statement of sql.split(";\n")) await client.query(statement);
  await waitUntil(() => pooler.inside.autoDatabases.catalogsKnown, "what was made is known");
}

class Stage implements EventStage {
  readonly options: RunOptions;
  readonly clients: SessionClient[] = [];
  readonly #plan: AutoPlan;
  readonly #transcript: Transcript;
  readonly #prepared = new Map<number, Set<EvolvingName>>();
  readonly #common: BackendMessage[][] = [];
  #fences = 0;

  private constructor(plan: AutoPlan, transcript: Transcript, options: RunOptions) {
    this.#plan = plan;
    this.#transcript = transcript;
    this.options = options;
  }

  static async open(plan: AutoPlan, transcript: Transcript, options: RunOptions): Promise<Stage> {
    const stage = new Stage(plan, transcript, options);
    for (const [number, parameters] of plan.startups.entries()) {
      stage.#common.push([]);
      await stage.#connect(number, parameters);
    }
    return stage;
  }

  async perform(number: number, step: Step): Promise<void> {
    if (this.#transcript.stuck !== undefined) return;
    this.#transcript.heading("*", `step ${number}`);
    if (step.kind !== "parts") {
      await performEvent(step, this);
      await this.#fence();
      return;
    }
    const ordered = step.parts.toSorted((one, other) => one.client - other.client);
    const told = await Promise.all(ordered.map((part) => this.#performPart(part)));
    for (const later of told) later.tell(this.#transcript);
    if (ordered.length === 1) await this.#fence();
  }

  witnessOf(client: number): Later {
    return new Later(this.#common[client] ?? []);
  }

  tell(witness: Later): void {
    witness.tell(this.#transcript);
  }

  prepared(client: number): Set<EvolvingName> {
    const known = this.#prepared.get(client) ?? new Set();
    this.#prepared.set(client, known);
    return known;
  }

  async reconnect(client: number, startup: Startup): Promise<void> {
    this.#common[client]?.splice(0);
    this.#prepared.delete(client);
    await this.#connect(client, startup);
  }

  async #connect(number: number, parameters: Startup): Promise<void> {
    this.#transcript.heading(`c${number}`, `begins with ${JSON.stringify(parameters)}`);
    const client = await SessionClient.connect(number, this.options, this.#transcript, parameters);
    this.clients[number] = client;
    if (this.#plan.fenced) await client.perform(queryBurst("listen fence"), this.#transcript);
  }

  async #performPart({ client, bursts }: Part): Promise<Later> {
    const later = this.witnessOf(client);
    for (const burst of bursts) await this.clients[client]?.perform(burst, later);
    return later;
  }

  /** Every client that is in no transaction has heard all that was notified before. */
  async #fence(): Promise<void> {
    if (!this.#plan.fenced) return;
    const payload = String(++this.#fences);
    await this.options.direct.query(`notify fence, '${payload}'`);
    for (const [number, client] of this.clients.entries()) {
      const common = this.#common[number] ?? [];
      const heard = (message: BackendMessage): boolean =>
        message.kind === "NotificationResponse" && message.payload === payload;
      const later = new Later(common);
      if (client.idle && !common.some(heard)) await client.untilNotified("fence", payload, later);
      later.tell(this.#transcript);
      for (const message of common.splice(0)) this.#transcript.message(client.name, message);
    }
  }

  /** Nobody is in a transaction, and then all leave. */
  async end(): Promise<void> {
    this.#transcript.heading("*", "the end");
    for (const [number, client] of this.clients.entries()) {
      const later = this.witnessOf(number);
      await client.perform({ messages: [sync, queryOf("rollback")], cuts: [] }, later);
      later.tell(this.#transcript);
    }
    await this.#fence();
    for (const [number, client] of this.clients.entries())
      await client.leave(this.#plan.leaves[number] ?? "terminate", this.#transcript);
  }

  destroy(): void {
    for (const client of this.clients) client.destroy();
  }
}

/** Strangers on all servers at once. */
async function probeServers(count: number, transcript: Transcript, options: RunOptions): Promise<void> {
  const strangers: SessionClient[] = [];
  try {
    for (let number = 0; number < count; number++) {
      const stranger = await SessionClient.connect(10 + number, options, transcript);
      strangers.push(stranger);
      await stranger.perform(queryBurst("begin"), transcript);
      for (const sql of probe) await stranger.perform(queryBurst(sql), transcript);
    }
    for (const stranger of strangers) await stranger.leave("terminate", transcript);
  } finally {
    for (const stranger of strangers) stranger.destroy();
  }
}

/** Who vanished may still be in a transaction, and hold its table; and the pooler has yet to hear that it is gone. */
async function untilQuiet({ direct, pooler }: RunOptions): Promise<void> {
  await waitUntil(() => (pooler?.counts.sessions ?? 0) === 0, "nobody is connected to the pooler");
  const busy =
    "select state, query from pg_stat_activity where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid()";
  await waitToSee(
    async () => (await direct.query(busy)).rows,
    (rows) => rows.length === 0,
    "all have left",
  );
}
