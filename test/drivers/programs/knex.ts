/** Knex: migrations, the query builder, nested transactions, streams. */
import knex, { type Knex } from "knex";
import { type Connection, failureOf } from "./program.ts";

class Migrations implements Knex.MigrationSource<string> {
  getMigrations(): Promise<string[]> {
    return Promise.resolve(["1_accounts", "2_index"]);
  }

  getMigrationName(name: string): string {
    return name;
  }

  getMigration(name: string): Promise<Knex.Migration> {
    const up = async (db: Knex): Promise<void> => {
      if (name === "2_index") {
        await db.schema.alterTable("accounts", (table) => table.index(["balance"]));
        return;
      }
      await db.schema.createTable("accounts", (table) => {
        table.increments("id");
        table.string("owner").notNullable().unique();
        table.integer("balance").defaultTo(0);
        table.jsonb("extra");
        table.timestamps(true, true);
      });
    };
    const down = async (db: Knex): Promise<void> => {
      if (name === "1_accounts") await db.schema.dropTable("accounts");
      else await db.schema.alterTable("accounts", (table) => table.dropIndex(["balance"]));
    };
    return Promise.resolve({ up, down });
  }
}

export async function runKnex(connection: Connection): Promise<unknown> {
  const { host, port, user, database } = connection;
  const db = knex({
    client: "pg",
    connection: { host, port, user, database },
    searchPath: ["of_knex"],
    pool: { min: 0, max: 5 },
    migrations: { migrationSource: new Migrations() },
  });
  try {
    await db.raw("create schema of_knex");
    const [batch, names] = (await db.migrate.latest()) as [number, string[]];
    const results = [
      batch,
      names,
      await crud(db),
      await transactions(db),
      await concurrency(db),
      await stream(db),
    ];
    const undone = (await db.migrate.rollback()) as unknown[];
    return [...results, undone, await db.schema.hasTable("accounts")];
  } finally {
    await db.destroy();
  }
}

async function crud(db: Knex): Promise<unknown[]> {
  const inserted: unknown = await db("accounts")
    .insert({ owner: "ada", balance: 10, extra: { a: [1, 2] } })
    .returning(["id", "owner", "extra"]);
  await db.batchInsert(
    "accounts",
    Array.from({ length: 20 }, (_, index) => ({ owner: `row ${index}`, balance: index })),
    7,
  );
  const updated: unknown = await db("accounts").where({ owner: "ada" }).increment("balance", 5);
  const merged: unknown = await db("accounts")
    .insert({ owner: "ada", balance: 99 })
    .onConflict("owner")
    .merge(["balance"])
    .returning("balance");
  const summed: unknown = await db("accounts").where("owner", "like", "row%").sum("balance").first();
  const raw = await db.raw<{ rows: unknown[] }>("select ?::int + ? as sum", [1, 2]);
  return [inserted, updated, merged, summed, raw.rows];
}

async function transactions(db: Knex): Promise<unknown[]> {
  await db.transaction(
    async (outer) => {
      await outer("accounts").insert({ owner: "outer" });
      await failureOf(
        outer.transaction(async (inner) => {
          await inner("accounts").insert({ owner: "undone" });
          throw new Error("undone");
        }),
      );
      await outer.transaction(async (inner) => {
        await inner("accounts").insert({ owner: "inner" });
      });
    },
    { isolationLevel: "serializable" },
  );
  const trx = await db.transaction();
  await trx("accounts").insert({ owner: "lost" });
  await trx.rollback();
  const failed = await failureOf(
    db.transaction(async (tx) => {
      await tx("accounts").insert({ owner: "outer" });
    }),
  );
  return [
    failed,
    await db("accounts").whereIn("owner", ["outer", "inner", "undone", "lost"]).orderBy("id").pluck("owner"),
  ];
}

async function concurrency(db: Knex): Promise<unknown> {
  await Promise.all(
    Array.from({ length: 30 }, () =>
      db.transaction(async (tx) => {
        const row = await tx("accounts").where({ owner: "ada" }).forUpdate().first<{ balance: number }>();
        await tx("accounts")
          .where({ owner: "ada" })
          .update({ balance: (row?.balance ?? 0) + 1 });
      }),
    ),
  );
  return await db("accounts").where({ owner: "ada" }).pluck("balance");
}

async function stream(db: Knex): Promise<unknown> {
  let count = 0;
  for await (const row of db("accounts").select("owner").orderBy("id").stream({ highWaterMark: 3 })) {
    if (typeof (row as { owner: string }).owner === "string") count++;
  }
  return count;
}
