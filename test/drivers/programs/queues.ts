/** Job queues: graphile-worker, which is woken by LISTEN, and pg-boss. */

import { Logger, makeWorkerUtils, run, type TaskList } from "graphile-worker";
import pg from "pg";
import PgBoss from "pg-boss";
import { waitUntil } from "../../kit/wait.ts";
import { type Connection, urlOf } from "./program.ts";

const silent = new Logger(() => () => undefined);

export async function runGraphileWorker(connection: Connection): Promise<unknown> {
  const { host, port, user, database } = connection;
  const pgPool = new pg.Pool({ host, port, user, database, max: 5 });
  const lost: string[] = [];
  pgPool.on("error", (error) => lost.push(error.message));
  pgPool.on("connect", (client) => client.on("error", (error) => lost.push(error.message)));
  const options = { pgPool, schema: "of_graphile", logger: silent };
  const utils = await makeWorkerUtils(options);
  try {
    await utils.migrate();
    const done: unknown[] = [];
    let onFinished = (): void => undefined;
    const finished = new Promise<void>((resolve) => {
      onFinished = resolve;
    });
    const taskList: TaskList = {
      collect: async (payload, helpers) => {
        const { rows } = await helpers.query("select $1::int * 2 as twice", [(payload as { n: number }).n]);
        if (done.push((rows as { twice: number }[])[0]?.twice) === 12) onFinished();
      },
      fails: () => Promise.reject(new Error("on purpose")),
    };
    // It polls once an hour: what wakes it is the notification.
    const runner = await run({
      ...options,
      taskList,
      concurrency: 3,
      pollInterval: 3_600_000,
      noHandleSignals: true,
    });
    const failed = new Promise<string>((resolve) => {
      runner.events.on("job:error", ({ error }) => resolve((error as Error).message));
    });
    await Promise.all(Array.from({ length: 11 }, (_, n) => utils.addJob("collect", { n })));
    await utils.addJob("fails", {}, { maxAttempts: 1 });
    await utils.withPgClient(async (client) => {
      await client.query("begin");
      await client.query("select of_graphile.add_job('collect', '{\"n\": 100}')");
      await client.query("commit");
    });
    await finished;
    const reason = await failed;
    // What is done is removed, what failed for good stays; both a little later than it is told.
    const left = "select task_identifier, attempts, last_error from of_graphile.jobs";
    await waitUntil(async () => (await pgPool.query(left)).rows.length === 1, "one job is left");
    await runner.stop();
    const { rows } = await pgPool.query<{ attempts: number }>(left);
    return [done.toSorted((a, b) => Number(a) - Number(b)), reason, rows[0]?.attempts, lost];
  } finally {
    await utils.release();
    await pgPool.end();
  }
}

export async function runPgBoss(connection: Connection): Promise<unknown> {
  const boss = new PgBoss({
    connectionString: urlOf(connection),
    schema: "of_boss",
    max: 5,
    supervise: false,
    schedule: false,
  });
  const errors: string[] = [];
  boss.on("error", (error) => errors.push(error.message));
  await boss.start();
  try {
    await boss.createQueue("work");
    await boss.send("work", { n: 1 });
    await boss.insert([
      { name: "work", data: { n: 2 } },
      { name: "work", data: { n: 3 }, priority: 5 },
    ]);
    const size = await boss.getQueueSize("work");
    const [first] = await boss.fetch<{ n: number }>("work");
    await boss.complete("work", first?.id ?? "", { result: "ok" });
    const [second] = await boss.fetch<{ n: number }>("work");
    await boss.fail("work", second?.id ?? "", { reason: "on purpose" });
    const seen = new Promise<unknown>((resolve) => {
      void boss.work<{ n: number }>("work", { pollingIntervalSeconds: 0.5 }, ([job]) => {
        resolve(job?.data);
        return Promise.resolve();
      });
    });
    const third = await seen;
    const singleton = await boss.send("work", {}, { singletonKey: "one", singletonSeconds: 60 });
    const again = await boss.send("work", {}, { singletonKey: "one", singletonSeconds: 60 });
    return [size, first?.data, second?.data, third, typeof singleton, again, errors];
  } finally {
    await boss.stop({ graceful: false, wait: true });
  }
}
