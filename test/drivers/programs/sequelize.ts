/** Sequelize: models, synchronisation, managed transactions with savepoints, locks. */
import pg from "pg";
import { DataTypes, QueryTypes, Sequelize, Transaction } from "sequelize";
import { type Connection, failureOf, urlOf } from "./program.ts";

type Models = ReturnType<typeof define>;

function define(sequelize: Sequelize) {
  const options = { timestamps: false, schema: "of_sequelize" };
  const User = sequelize.define(
    "user",
    {
      name: { type: DataTypes.STRING, unique: true },
      tags: DataTypes.ARRAY(DataTypes.TEXT),
      data: DataTypes.JSONB,
    },
    options,
  );
  const Task = sequelize.define("task", { title: DataTypes.STRING, done: DataTypes.BOOLEAN }, options);
  User.hasMany(Task);
  Task.belongsTo(User);
  return { User, Task };
}

export async function runSequelize(connection: Connection): Promise<unknown> {
  const sequelize = new Sequelize(urlOf(connection), {
    dialectModule: pg,
    logging: false,
    pool: { max: 5, idle: 1000 },
    timezone: "+01:00",
  });
  try {
    await sequelize.createSchema("of_sequelize", {});
    const models = define(sequelize);
    await sequelize.sync();
    await sequelize
      .getQueryInterface()
      .addColumn({ tableName: "tasks", schema: "of_sequelize" }, "due", DataTypes.DATE);
    return [
      await crud(models),
      await transactions(sequelize, models),
      await concurrency(sequelize, models),
      await sequelize.query("show timezone", { type: QueryTypes.SELECT }),
      await sequelize.query("select $1::int + $2::int as sum", { bind: [1, 2], type: QueryTypes.SELECT }),
    ];
  } finally {
    await sequelize.close();
  }
}

async function crud({ User, Task }: Models): Promise<unknown[]> {
  const ada = await User.create({ name: "ada", tags: ["x", "y z"], data: { a: 1 } });
  await Task.bulkCreate([
    { title: "one", done: false, userId: ada.get("id") },
    { title: "two", done: true, userId: ada.get("id") },
  ]);
  const found = await User.findAll({ include: Task, order: [[Task, "title", "ASC"]] });
  const [changed] = await Task.update({ done: true }, { where: { title: "one" } });
  const [, created] = await User.findOrCreate({ where: { name: "bob" } });
  const duplicate = await failureOf(User.create({ name: "ada" }));
  const summed = await Task.count({ where: { done: true } });
  return [found.map((user) => user.toJSON<unknown>()), changed, created, duplicate, summed];
}

async function transactions(sequelize: Sequelize, { User }: Models): Promise<unknown[]> {
  await sequelize.transaction(
    { isolationLevel: Transaction.ISOLATION_LEVELS.SERIALIZABLE },
    async (transaction) => {
      await User.create({ name: "outer" }, { transaction });
      await failureOf(
        sequelize.transaction({ transaction }, async (inner) => {
          await User.create({ name: "undone" }, { transaction: inner });
          throw new Error("undone");
        }),
      );
      await User.findOne({ where: { name: "outer" }, transaction, lock: transaction.LOCK.UPDATE });
    },
  );
  const transaction = await sequelize.transaction();
  await User.create({ name: "lost" }, { transaction });
  await transaction.rollback();
  const users = await User.findAll({ order: ["id"] });
  return users.map((user) => user.get("name"));
}

async function concurrency(sequelize: Sequelize, { User }: Models): Promise<unknown> {
  await Promise.all(
    Array.from({ length: 30 }, (_, index) =>
      sequelize.transaction(async (transaction) => {
        await User.create({ name: `many ${index}` }, { transaction });
      }),
    ),
  );
  return await User.count();
}
