/** Drizzle: migrations from files, typed queries, prepared statements by name, nested transactions. */
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { count, eq, relations, sql } from "drizzle-orm";
import { drizzle, type NodePgDatabase } from "drizzle-orm/node-postgres";
import { migrate } from "drizzle-orm/node-postgres/migrator";
import { integer, pgTable, serial, text } from "drizzle-orm/pg-core";
import { tempFolder } from "../../kit/temp-folder.ts";
import { type Connection, failureOf, withPool } from "./program.ts";

const users = pgTable("users", { id: serial("id").primaryKey(), name: text("name").notNull().unique() });
const posts = pgTable("posts", {
  id: serial("id").primaryKey(),
  author: integer("author").references(() => users.id),
  title: text("title").notNull(),
});
const schema = {
  users,
  posts,
  userRelations: relations(users, ({ many }) => ({ posts: many(posts) })),
  postRelations: relations(posts, ({ one }) => ({
    user: one(users, { fields: [posts.author], references: [users.id] }),
  })),
};
type Database = NodePgDatabase<typeof schema>;

const migration = `CREATE TABLE "users" ("id" serial PRIMARY KEY, "name" text NOT NULL UNIQUE);
--> statement-breakpoint
CREATE TABLE "posts" ("id" serial PRIMARY KEY, "author" integer REFERENCES "users"("id"), "title" text NOT NULL);`;

export async function runDrizzle(connection: Connection): Promise<unknown> {
  return await withPool(connection, "of_drizzle", async (pool) => {
    await pool.query("create schema of_drizzle");
    const db = drizzle(pool, { schema });
    await runMigrations(db);
    return [await crud(db), await prepared(db), await transactions(db), await concurrency(db)];
  });
}

/** Twice: the second time there is nothing to do. */
async function runMigrations(db: Database): Promise<void> {
  await using folder = await tempFolder();
  await mkdir(path.join(folder.path, "meta"));
  await writeFile(path.join(folder.path, "0000_first.sql"), migration);
  const entries = [{ idx: 0, version: "7", when: 1_700_000_000_000, tag: "0000_first", breakpoints: true }];
  const journal = { version: "7", dialect: "postgresql", entries };
  await writeFile(path.join(folder.path, "meta", "_journal.json"), JSON.stringify(journal));
  const options = { migrationsFolder: folder.path, migrationsSchema: "of_drizzle" };
  await migrate(db, options);
  await migrate(db, options);
}

async function crud(db: Database): Promise<unknown[]> {
  const [ada] = await db.insert(users).values({ name: "Ada" }).returning();
  await db.insert(posts).values([
    { author: ada?.id, title: "first" },
    { author: ada?.id, title: "second" },
  ]);
  const nested = await db.query.users.findMany({ with: { posts: { orderBy: posts.id } } });
  const updated = await db
    .update(posts)
    .set({ title: "changed" })
    .where(eq(posts.title, "first"))
    .returning();
  const upsert = await db
    .insert(users)
    .values({ name: "Ada" })
    .onConflictDoUpdate({ target: users.name, set: { name: sql`excluded.name || '!'` } })
    .returning();
  const removed = await db.delete(posts).where(eq(posts.title, "second")).returning({ id: posts.id });
  return [ada, nested, updated, upsert, removed];
}

async function prepared(db: Database): Promise<unknown[]> {
  const byName = db
    .select()
    .from(users)
    .where(eq(users.name, sql.placeholder("name")))
    .prepare("users_by_name");
  const results = await Promise.all(Array.from({ length: 12 }, () => byName.execute({ name: "Ada!" })));
  return [results[0], results.every((rows) => rows.length === 1), await byName.execute({ name: "nobody" })];
}

async function transactions(db: Database): Promise<unknown[]> {
  await db.transaction(
    async (outer) => {
      await outer.insert(users).values({ name: "outer" });
      await failureOf(
        outer.transaction(async (inner) => {
          await inner.insert(users).values({ name: "undone" });
          inner.rollback();
        }),
      );
      await outer.transaction(async (inner) => {
        await inner.insert(users).values({ name: "inner" });
      });
    },
    { isolationLevel: "repeatable read" },
  );
  const failed = await failureOf(
    db.transaction(async (tx) => {
      await tx.insert(users).values({ name: "lost" });
      await tx.insert(users).values({ name: "lost" });
    }),
  );
  return [failed, await db.select({ name: users.name }).from(users).orderBy(users.name)];
}

async function concurrency(db: Database): Promise<unknown> {
  await Promise.all(
    Array.from({ length: 30 }, (_, index) => db.insert(users).values({ name: `many ${index}` })),
  );
  return await db.select({ count: count() }).from(users);
}
