/**
 * Prisma 7 over its driver adapter: queries and relations, interactive and batch transactions, raw SQL.
 *
 * `generated/` is what `npx prisma@7.10.0 generate --schema schema.prisma` makes of schema.prisma; that program is not
 * among the dependencies because of its size.
 */
import { PrismaPg } from "@prisma/adapter-pg";
import { type Connection, failureOf, withPool } from "../program.ts";
import { Prisma, PrismaClient } from "./generated/client.ts";

const tables = `
  create schema of_prisma;
  create table "Author" (id serial primary key, name text not null unique);
  create table "Book" (
    id serial primary key, title text not null, price decimal(10, 2), notes jsonb,
    written timestamp(3) not null default current_timestamp,
    "authorId" int not null references "Author" (id)
  )`;

export async function runPrisma(connection: Connection): Promise<unknown> {
  return await withPool(connection, "of_prisma", async (pool) => {
    await pool.query(tables);
    const prisma = new PrismaClient({
      adapter: new PrismaPg(pool, { schema: "of_prisma" }),
      // Its own limits are short for a machine that has other things to do.
      transactionOptions: { maxWait: 60_000, timeout: 60_000 },
    });
    try {
      return [
        await crud(prisma),
        await transactions(prisma),
        await concurrency(prisma),
        await rawSql(prisma),
      ];
    } finally {
      await prisma.$disconnect();
    }
  });
}

async function crud(prisma: PrismaClient): Promise<unknown[]> {
  const ada = await prisma.author.create({
    data: {
      name: "Ada",
      books: { create: [{ title: "Notes", price: "12.50", notes: { pages: [1, 2] } }, { title: "Letters" }] },
    },
    include: { books: { select: { title: true, price: true, notes: true }, orderBy: { title: "asc" } } },
  });
  const found = await prisma.book.findMany({
    where: { author: { name: { startsWith: "A" } }, price: { gte: 10 } },
    select: { title: true, author: { select: { name: true } } },
  });
  const upserted = await prisma.author.upsert({
    where: { name: "Ada" },
    update: { name: "Ada L." },
    create: { name: "never" },
  });
  const many = await prisma.book.createMany({
    data: Array.from({ length: 50 }, (_, index) => ({
      title: `volume ${index}`,
      price: index,
      authorId: ada.id,
    })),
  });
  const sums = await prisma.book.aggregate({ _sum: { price: true }, _count: true });
  const grouped = await prisma.book.groupBy({ by: ["authorId"], _max: { price: true } });
  const duplicate = await prisma.author.create({ data: { name: "Ada L." } }).catch(codeOf);
  return [ada.books, found, upserted.name, many, sums, grouped.length, duplicate];
}

async function transactions(prisma: PrismaClient): Promise<unknown[]> {
  const batch = await prisma.$transaction([
    prisma.author.create({ data: { name: "Bob" } }),
    prisma.author.count(),
  ]);
  const interactive = await prisma.$transaction(
    async (tx) => {
      const cyd = await tx.author.create({ data: { name: "Cyd" } });
      await tx.book.create({ data: { title: "first", authorId: cyd.id } });
      return await tx.book.count({ where: { authorId: cyd.id } });
    },
    { isolationLevel: Prisma.TransactionIsolationLevel.Serializable },
  );
  const rolledBack = await failureOf(
    prisma.$transaction(async (tx) => {
      await tx.author.create({ data: { name: "Lost" } });
      throw new Error("rolled back");
    }),
  );
  return [batch[0].name, batch[1], interactive, rolledBack, await prisma.author.count()];
}

async function concurrency(prisma: PrismaClient): Promise<unknown> {
  await Promise.all(
    Array.from({ length: 30 }, async (_, index) => {
      await prisma.$transaction(async (tx) => {
        const author = await tx.author.create({ data: { name: `many ${index}` } });
        await tx.book.create({ data: { title: `of ${index}`, price: index, authorId: author.id } });
      });
      await prisma.author.findUnique({ where: { name: `many ${index}` }, include: { books: true } });
    }),
  );
  return await prisma.book.aggregate({ where: { title: { startsWith: "of " } }, _sum: { price: true } });
}

async function rawSql(prisma: PrismaClient): Promise<unknown[]> {
  const rows = await prisma.$queryRaw`select name, length(name) as long from "Author" where name = ${"Bob"}`;
  const changed = await prisma.$executeRaw`update "Author" set name = name || ${"!"} where name = ${"Bob"}`;
  const wrong = await prisma.$queryRawUnsafe("select 1 / 0").catch(codeOf);
  return [rows, changed, wrong];
}

function codeOf(error: unknown): string {
  return error instanceof Prisma.PrismaClientKnownRequestError ? error.code : String(error);
}
