/**
 * A client that makes temporary objects in every way there is, at random, and looks after each step whether it sees
 * its own and nobody else's: of each name there is a table in the schema public as well, which only an own object hides.
 */
import type { Lab } from "../../src/lab/index.ts";
import type { FrontendMessage } from "../../src/wire/messages.ts";
import type { Place } from "../kit/byte-stream.ts";
import { Client, execute, type Outcome, parse, query, sync } from "./pooled.ts";

const names = ["t0", "t1", "t2"] as const;

/** What {@link TemporaryClient}s need of a database. */
export async function prepareTemporary(lab: Lab): Promise<void> {
  const tables = names.map((name) => `create table ${name} as select 'public' as owner`).join("; ");
  await lab.primary.query(`${tables};
    create sequence numbers; create table asked (name text, owner text);
    create function make(name text, owner text) returns text language plpgsql as $$ begin
      execute format('create temp table %I as select %L::text as owner', name, owner); return name;
    end $$;
    create function make_asked() returns trigger language plpgsql as $$ begin
      perform make(new.name, new.owner); return new;
    end $$;
    create trigger makes before insert on asked for each row execute function make_asked();
    create procedure call_make(name text, owner text) language plpgsql as $$ begin perform make(name, owner); end $$;
    create view makes as select make('t0', 'view') as name where current_setting('a.b', true) = 'on';
    create function changed() returns int language sql as 'select 1'`);
}

type Unit = readonly FrontendMessage[];

const one = (sql: string): Unit => [query(sql)];
const each = (...texts: readonly string[]): Unit => texts.map(query);
const batch = (...texts: readonly string[]): Unit => [
  ...texts.flatMap((sql) => [parse("", sql), ...execute("")]),
  sync,
];

/** Ways to make a temporary object `name` that tells `owner`. What belongs to one unit is sent in one write. */
const ways: Readonly<Record<string, (name: string, owner: string) => readonly Unit[]>> = {
  "create as": (name, owner) => [one(`create temp table ${name} as select '${owner}' as owner`)],
  "two statements": (name, owner) => [
    one(`create temp table ${name} (owner text); insert into ${name} values ('${owner}')`),
  ],
  "select into": (name, owner) => [one(`select '${owner}' as owner into temp ${name}`)],
  "schema named": (name, owner) => [one(`create table pg_temp.${name} as select '${owner}' as owner`)],
  view: (name, owner) => [one(`create temp view ${name} as select '${owner}' as owner`)],
  do: (name, owner) => [one(`do $$ begin create temp table ${name} as select '${owner}' as owner; end $$`)],
  function: (name, owner) => [one(`select make('${name}', '${owner}')`)],
  procedure: (name, owner) => [one(`call call_make('${name}', '${owner}')`)],
  trigger: (name, owner) => [one(`insert into asked values ('${name}', '${owner}')`)],
  "as execute": (name, owner) => [
    one(`prepare made as select '${owner}' as owner`),
    one(`create temp table ${name} as execute made`),
    one("deallocate made"),
  ],
  "search path": (name, owner) => [
    one("set search_path = pg_temp, public"),
    one(`create table ${name} as select '${owner}' as owner`),
    one("reset search_path"),
  ],
  batch: (name, owner) => [
    batch(`create temp table ${name} (owner text)`, `insert into ${name} values ('${owner}')`),
  ],
  "named statement": (name, owner) => [
    [parse("maker", `create temp table ${name} as select '${owner}' as owner`), sync],
    [...execute("maker"), sync],
    [{ kind: "Close", target: "statement", name: "maker" }, sync],
  ],
  pipeline: (name, owner) => [
    each(
      "select 1",
      `create temp table ${name} as select '${owner}' as owner`,
      "select 2",
      "select nextval('numbers')",
    ),
  ],
  "pipelined batches": (name, owner) => [
    [
      ...batch("select 1"),
      ...batch(`create temp table ${name} as select '${owner}' as owner`),
      ...batch("select 2"),
    ],
  ],
  savepoint: (name, owner) => [
    one("begin"),
    one("savepoint s"),
    one(`create temp table ${name} as select 'undone' as owner`),
    one("rollback to s"),
    one(`create temp table ${name} as select '${owner}' as owner`),
    one("commit"),
  ],
  cursor: (name, owner) => [
    one(`begin; declare c cursor for select make('${name}', '${owner}')`),
    one("fetch 1 from c"),
    one("commit"),
  ],
  "held begin": (name, owner) => [
    one("begin"),
    one(`create temp table ${name} as select '${owner}' as owner`),
    one("end"),
  ],
};

/** What leaves nothing behind. */
const harmless: readonly ((name: string) => readonly Unit[])[] = [
  (name) => [one(`select owner from ${name}`)],
  () => [one("select nextval('numbers')")],
  () => [one("select * from makes")],
  () => [batch("select 1", "select $$two$$")],
  (name) => [one("begin"), one(`create temp table ${name} as select 'undone' as owner`), one("rollback")],
  (name) => [one(`begin; create temp table ${name} (owner text) on commit drop; commit`)],
  (name) => [one(`create temp table ${name} (owner text); drop table ${name}`)],
  (name) => [one(`create temp table ${name} as select 1/0 as owner`)],
  // One at a time: PostgreSQL refuses to change what another is changing (XX000 "tuple concurrently updated").
  () => [
    one(
      "begin; lock table asked in share row exclusive mode; create or replace function changed() returns int language sql as 'select 2'; commit",
    ),
  ],
  () => [one("set statement_timeout = '1min'"), one("select changed()")],
];

const endings: readonly ((made: readonly string[]) => readonly Unit[])[] = [
  (made) => made.map((name) => [query(`drop table if exists pg_temp.${name}`), query(`select 1`)]),
  () => [one("discard temp")],
  () => [one("discard all")],
  () => [one("begin"), one("savepoint s"), one("rollback to s"), one("commit"), one("discard temp")],
];

/** Leave to have temporary objects: as many clients as there are servers may. */
export class Leave {
  #free: number;
  constructor(count: number) {
    this.#free = count;
  }

  take(): boolean {
    if (this.#free === 0) return false;
    this.#free--;
    return true;
  }

  give(): void {
    this.#free++;
  }
}

export class TemporaryClient {
  readonly #place: Place;
  readonly #name: string;
  readonly #leave: Leave;
  readonly #random: () => number;
  readonly #made = new Map<string, string>();
  #views = new Set<string>();
  #hasLeave = false;
  #client: Client | undefined;
  /** The last of what was done, for whoever finds out that it was wrong. */
  readonly #done: string[] = [];

  constructor(place: Place, name: string, leave: Leave, random: () => number) {
    this.#place = place;
    this.#name = name;
    this.#leave = leave;
    this.#random = random;
  }

  /** Takes so many steps, and leaves. Rejects with the last of them as soon as something is wrong. */
  async run(steps: number): Promise<void> {
    try {
      for (let step = 0; step < steps; step++) {
        this.#client ??= await Client.connect(this.#place);
        await this.#step(this.#client, `${this.#name}/${step}`);
        if (this.#client !== undefined && this.#random() < 0.8) await this.#check(this.#client);
      }
    } catch (error) {
      throw new Error(
        `${this.#name}: ${(error as Error).message}, after ${this.#done.slice(-40).join(" | ")}`,
        {
          cause: error,
        },
      );
    } finally {
      await this.#go();
    }
  }

  async #step(client: Client, owner: string): Promise<void> {
    const turn = this.#random();
    const name = this.#one(names);
    if (turn < 0.35 && !this.#made.has(name)) {
      this.#hasLeave ||= this.#leave.take();
      if (this.#hasLeave) {
        const way = this.#one(Object.keys(ways));
        this.#made.set(name, owner);
        if (way === "view") this.#views.add(name);
        await this.#send(client, (ways[way] as (typeof ways)[string])(name, owner));
        return;
      }
    }
    if (turn < 0.5 && this.#hasLeave) {
      await this.#end(client);
    } else if (turn < 0.56) {
      await this.#go();
    } else {
      const free = names.filter((one) => !this.#made.has(one));
      if (free.length > 0) await this.#send(client, this.#one(harmless)(this.#one(free)), true);
    }
  }

  async #end(client: Client): Promise<void> {
    const made = [...this.#made.keys()];
    const views = made.filter((name) => this.#views.has(name));
    const ending = this.#one(endings)(made.filter((name) => !this.#views.has(name)));
    await this.#send(client, [...ending, ...views.map((name) => one(`drop view if exists pg_temp.${name}`))]);
    this.#forget();
  }

  #forget(): void {
    this.#made.clear();
    this.#views = new Set();
    if (this.#hasLeave) this.#leave.give();
    this.#hasLeave = false;
  }

  async #go(): Promise<void> {
    this.#done.push("leaves");
    if (this.#random() < 0.5) await this.#client?.close();
    else this.#client?.destroy();
    this.#client = undefined;
    this.#forget();
  }

  async #check(client: Client): Promise<void> {
    const texts = names.map((name) => `select owner from ${name}`);
    const outcomes =
      this.#random() < 0.5
        ? await this.#send(client, texts.map(one))
        : await this.#send(
            client,
            texts.map((sql) => batch(sql)),
          );
    for (const [at, name] of names.entries()) {
      const expected = this.#made.get(name) ?? "public";
      const found = outcomes[at]?.rows[0]?.[0];
      if (found !== expected) {
        throw new Error(`it sees ${found} in ${name}, not ${expected}`);
      }
    }
  }

  /** Sends one unit after the other, each in one write. */
  async #send(client: Client, units: readonly Unit[], mayFail = false): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    for (const unit of units) {
      this.#done.push(unit.map((message) => ("sql" in message ? message.sql : message.kind)).join("; "));
      client.send(...unit);
      for (const { kind } of unit) {
        if (kind !== "Query" && kind !== "Sync") continue;
        const outcome = await client.outcome();
        outcomes.push(outcome);
        const { error } = outcome;
        if (error !== undefined && !(mayFail && error.code === "22012")) {
          throw new Error(`${error.code} ${error.message}`);
        }
      }
    }
    return outcomes;
  }

  #one<T>(list: readonly T[]): T {
    return list[Math.floor(this.#random() * list.length)] as T;
  }
}
