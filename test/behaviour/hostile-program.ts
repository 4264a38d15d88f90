/**
 * A pooler as a process of its own, so that its memory, its open files and its end can be judged from
 * outside. The configuration is the first argument; the parent asks for reports over the IPC channel.
 */
import { queryObjects } from "node:v8";
import { Transport } from "../../src/base/transport.ts";
import { checkConfig } from "../../src/config/load.ts";
import { Pool } from "../../src/pool/pool.ts";
import { SharedStatement } from "../../src/pool/prepared.ts";
import { Server } from "../../src/pool/server.ts";
import { Pooler } from "../../src/server/app.ts";
import { Login } from "../../src/session/login.ts";
import { Session } from "../../src/session/session.ts";

export interface Report {
  readonly counts: Pooler["counts"];
  /** Objects that something still refers to, after a full garbage collection. */
  readonly alive: Readonly<Record<keyof typeof watched, number>>;
  /** What it logged as errors: mistakes of its own, and refused connections. */
  readonly errors: readonly string[];
}

/** `watch` leaves out what costs a garbage collection. */
export type Question = "counts" | "report";

const watched = { Login, Session, Pool, Server, Transport, SharedStatement };
type Watched = (typeof watched)[keyof typeof watched];

const errors: string[] = [];
const ignore = (): void => undefined;
const logger = {
  debug: ignore,
  info: ignore,
  warn: ignore,
  error: (fields: object, message: string): void => {
    const { err, reason } = fields as { err?: Error; reason?: string };
    if (errors.length < 100) errors.push(`${message}: ${err?.stack ?? reason ?? ""}`);
  },
};

const pooler = await Pooler.start(checkConfig(JSON.parse(process.argv[2] ?? ""), process.cwd()), { logger });
process.on("message", (question: Question) => process.send?.(answer(question)));
process.send?.({ listening: pooler.address });

function answer(question: Question): Report | Pick<Report, "counts"> {
  const { counts } = pooler;
  if (question === "counts") return { counts };
  const alive = Object.entries(watched).map(([name, kind]) => [name, countOf(kind)] as const);
  return { counts, errors, alive: Object.fromEntries(alive) as Report["alive"] };
}

/** The prototype of the class is not counted: it is no instance of its own class. */
function countOf(kind: Watched): number {
  return queryObjects(kind, { format: "count" });
}
