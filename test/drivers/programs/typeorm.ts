/** TypeORM: entities, migrations, repositories, transactions with savepoints, a stream. */
import { DataSource, EntitySchema, type MigrationInterface, type QueryRunner } from "typeorm";
import { type Connection, failureOf } from "./program.ts";

interface Author {
  id: number;
  name: string;
  books: Book[];
}
interface Book {
  id: number;
  title: string;
  author: Author;
}

const authors = new EntitySchema<Author>({
  name: "Author",
  columns: {
    id: { type: Number, primary: true, generated: "increment" },
    name: { type: String, unique: true },
  },
  relations: { books: { type: "one-to-many", target: "Book", inverseSide: "author", cascade: true } },
});
const books = new EntitySchema<Book>({
  name: "Book",
  columns: { id: { type: Number, primary: true, generated: "increment" }, title: { type: String } },
  relations: { author: { type: "many-to-one", target: "Author", inverseSide: "books", onDelete: "CASCADE" } },
});

class AddNote1700000000000 implements MigrationInterface {
  readonly name = "AddNote1700000000000";

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create table of_typeorm.note (id int primary key, body text)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table of_typeorm.note`);
  }
}

export async function runTypeorm(connection: Connection): Promise<unknown> {
  const { host, port, user, database } = connection;
  const source = new DataSource({
    type: "postgres",
    host,
    port,
    username: user,
    database,
    schema: "of_typeorm",
    entities: [authors, books],
    migrations: [AddNote1700000000000],
    extra: { max: 5 },
    installExtensions: false,
  });
  await source.initialize();
  try {
    await source.query("create schema of_typeorm");
    await source.synchronize();
    const migrated = await source.runMigrations();
    const results = [
      migrated.map(({ name }) => name),
      await crud(source),
      await transactions(source),
      await concurrency(source),
      await stream(source),
    ];
    await source.undoLastMigration();
    return results;
  } finally {
    await source.destroy();
  }
}

async function crud(source: DataSource): Promise<unknown[]> {
  const repository = source.getRepository(authors);
  const ada = await repository.save({ name: "Ada", books: [{ title: "Notes" }, { title: "Letters" }] });
  const found = await repository.find({ relations: { books: true }, order: { books: { title: "ASC" } } });
  await repository.update({ id: ada.id }, { name: "Ada L." });
  const counted = await source
    .createQueryBuilder(books, "book")
    .innerJoin("book.author", "author")
    .select(["author.name as name", "count(*) as books"])
    .groupBy("author.name")
    .getRawMany();
  const upserted = await repository.upsert({ name: "Ada L." }, ["name"]);
  const duplicate = await failureOf(repository.insert({ name: "Ada L." }));
  return [found, counted, upserted.identifiers, duplicate];
}

async function transactions(source: DataSource): Promise<unknown[]> {
  await source.transaction("REPEATABLE READ", async (outer) => {
    await outer.getRepository(authors).save({ name: "outer" });
    await failureOf(
      outer.transaction(async (inner) => {
        await inner.getRepository(authors).save({ name: "undone" });
        throw new Error("undone");
      }),
    );
    await outer.transaction(async (inner) => {
      await inner.getRepository(authors).save({ name: "inner" });
    });
  });
  const runner = source.createQueryRunner();
  await runner.startTransaction();
  await runner.manager.insert(authors, { name: "lost" });
  await runner.rollbackTransaction();
  await runner.release();
  return await source.getRepository(authors).find({ order: { id: "ASC" } });
}

async function concurrency(source: DataSource): Promise<unknown> {
  await Promise.all(
    Array.from({ length: 30 }, (_, index) =>
      source.transaction(async (manager) => {
        await manager.insert(authors, { name: `many ${index}` });
      }),
    ),
  );
  return await source.getRepository(authors).count();
}

async function stream(source: DataSource): Promise<number> {
  const runner = source.createQueryRunner();
  try {
    let count = 0;
    for await (const row of await runner.stream("select name from of_typeorm.author order by id")) {
      if (row !== null) count++;
    }
    return count;
  } finally {
    await runner.release();
  }
}
