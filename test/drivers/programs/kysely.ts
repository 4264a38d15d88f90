/** Kysely: migrations, queries, transactions with savepoints, a stream over a cursor. */
import { type Generated, Kysely, type Migration, Migrator, PostgresDialect, sql } from "kysely";
import Cursor from "pg-cursor";
import { type Connection, failureOf, withPool } from "./program.ts";

interface Tables {
  person: { id: Generated<number>; name: string; age: number | null };
  pet: { id: Generated<number>; owner: number; name: string };
}

const migrations: Record<string, Migration> = {
  "1_person": {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable("person")
        .addColumn("id", "serial", (column) => column.primaryKey())
        .addColumn("name", "text", (column) => column.notNull().unique())
        .addColumn("age", "integer")
        .execute();
    },
  },
  "2_pet": {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable("pet")
        .addColumn("id", "serial", (column) => column.primaryKey())
        .addColumn("owner", "integer", (column) =>
          column.references("person.id").onDelete("cascade").notNull(),
        )
        .addColumn("name", "text", (column) => column.notNull())
        .execute();
    },
  },
};

export async function runKysely(connection: Connection): Promise<unknown> {
  return await withPool(connection, "of_kysely", async (pool) => {
    const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool, cursor: Cursor }) });
    await sql`create schema of_kysely`.execute(db);
    const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrations) } });
    const { error, results } = await migrator.migrateToLatest();
    if (error !== undefined) throw error as Error;
    return [
      results,
      await crud(db),
      await transactions(db),
      await concurrency(db),
      await stream(db),
      (await migrator.migrateToLatest()).results,
    ];
  });
}

async function crud(db: Kysely<Tables>): Promise<unknown[]> {
  const ada = await db
    .insertInto("person")
    .values({ name: "Ada", age: 36 })
    .returningAll()
    .executeTakeFirstOrThrow();
  await db.insertInto("pet").values({ owner: ada.id, name: "Byron" }).execute();
  const joined = await db
    .selectFrom("person")
    .innerJoin("pet", "pet.owner", "person.id")
    .select(["person.name as person", "pet.name as pet"])
    .execute();
  const updated = await db.updateTable("person").set({ age: 37 }).where("id", "=", ada.id).executeTakeFirst();
  const upsert = await db
    .insertInto("person")
    .values({ name: "Ada", age: 38 })
    .onConflict((conflict) => conflict.column("name").doUpdateSet({ age: 38 }))
    .returning("age")
    .execute();
  const duplicate = await failureOf(db.insertInto("person").values({ name: "Ada", age: 1 }).execute());
  return [ada, joined, Number(updated.numUpdatedRows), upsert, duplicate];
}

async function transactions(db: Kysely<Tables>): Promise<unknown[]> {
  const committed = await db.transaction().execute(async (trx) => {
    await trx.insertInto("person").values({ name: "Bob", age: 1 }).execute();
    return await trx.selectFrom("person").select("name").orderBy("name").execute();
  });
  const rolledBack = await failureOf(
    db
      .transaction()
      .setIsolationLevel("serializable")
      .execute(async (trx) => {
        await trx.insertInto("person").values({ name: "Lost", age: 1 }).execute();
        throw new Error("rolled back");
      }),
  );
  const trx = await db.startTransaction().execute();
  await trx.insertInto("person").values({ name: "Cyd", age: 2 }).execute();
  const afterSavepoint = await trx.savepoint("nested").execute();
  await afterSavepoint.insertInto("person").values({ name: "Undone", age: 3 }).execute();
  await afterSavepoint.rollbackToSavepoint("nested").execute();
  await trx.commit().execute();
  return [committed, rolledBack, await db.selectFrom("person").select("name").orderBy("name").execute()];
}

async function concurrency(db: Kysely<Tables>): Promise<unknown> {
  await Promise.all(
    Array.from({ length: 30 }, (_, index) =>
      db.transaction().execute(async (trx) => {
        await trx
          .insertInto("person")
          .values({ name: `many ${index}`, age: index })
          .execute();
        if (index % 3 === 0) await sql`select pg_sleep(0.001)`.execute(trx);
      }),
    ),
  );
  return await db
    .selectFrom("person")
    .select((select) => [select.fn.countAll().as("count"), select.fn.sum("age").as("sum")])
    .where("name", "like", "many %")
    .execute();
}

async function stream(db: Kysely<Tables>): Promise<unknown> {
  const names: string[] = [];
  for await (const { name } of db.selectFrom("person").select("name").orderBy("id").stream(4)) {
    names.push(name);
    if (names.length === 10) break;
  }
  return names.length;
}
