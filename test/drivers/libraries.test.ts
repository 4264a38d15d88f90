/**
 * Libraries above node-postgres as their users use them: query builders, ORMs, streams, job queues. Each program runs directly
 * and through each pool mode that can carry it, and must see the same.
 */
import { usePlace, vias } from "../behaviour/conformance/place.ts";
import { runDrizzle } from "./programs/drizzle.ts";
import { runKnex } from "./programs/knex.ts";
import { runKysely } from "./programs/kysely.ts";
import { runCopyStreams, runCursor, runQueryStream } from "./programs/pg-streams.ts";
import { runPrisma } from "./programs/prisma/prisma.ts";
import type { Program } from "./programs/program.ts";
import { runGraphileWorker, runPgBoss } from "./programs/queues.ts";
import { runSequelize } from "./programs/sequelize.ts";
import { runTypeorm } from "./programs/typeorm.ts";

const place = usePlace();
/** Whatever begins transactions cannot run in statement mode. */
const withTransactions = vias.filter((via) => via !== "statement");
/** Whatever listens needs its session. */
const withSession = withTransactions.filter((via) => via !== "transaction");

const programs: readonly (readonly [
  name: string,
  where: typeof vias | typeof withTransactions,
  run: Program,
])[] = [
  ["Kysely", withTransactions, runKysely],
  ["Drizzle", withTransactions, runDrizzle],
  ["Knex", withTransactions, runKnex],
  ["TypeORM", withTransactions, runTypeorm],
  ["Sequelize", withTransactions, runSequelize],
  ["Prisma", withTransactions, runPrisma],
  ["pg-cursor", withTransactions, runCursor],
  ["pg-query-stream", withTransactions, runQueryStream],
  ["pg-copy-streams", withTransactions, runCopyStreams],
  ["graphile-worker", withSession, runGraphileWorker],
  ["pg-boss", withTransactions, runPgBoss],
];

for (const [name, where, run] of programs) place.each(name, where, run);
