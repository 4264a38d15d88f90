/** How many processes serve clients (`workers`). */
import { availableParallelism } from "node:os";
import { OperationError } from "../../base/errors.ts";
import type { Settings } from "../../config/schema.ts";

/** As many as the setting allows. */
const workersMax = 64;

export function workerCount({ workers }: Pick<Settings, "workers">): number {
  return workers === "auto" ? Math.min(availableParallelism(), workersMax) : workers;
}

/** Throws OperationError `server.workers`: whoever embeds the pooler has one process. */
export function requireOneProcess(settings: Pick<Settings, "workers">): void {
  if (workerCount(settings) === 1) return;
  throw new OperationError(`workers = ${JSON.stringify(settings.workers)} is for the program alone`, {
    code: "server.workers",
    sqlstate: "F0000",
    source: "internal",
    hint: "A pooler within another program is one process: set workers to 1, or run pgsluice start.",
  });
}
