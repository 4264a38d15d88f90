/** SHOW WORKERS: the processes that serve clients; without workers, the one that there is. */
import type { Command } from "../command.ts";
import { columnsOf } from "../result.ts";

const columns = columnsOf(
  ["int4", "worker", "pid"],
  ["text", "state", "start_time"],
  ["int4", "connections", "clients", "waiting", "servers", "restarts"],
);

export const showWorkers: Command<undefined> = {
  name: "SHOW WORKERS",
  columns,
  administrators: false,
  parse: () => undefined,
  async execute(context) {
    const rows = (await context.workers()).map((view) => [
      ...[view.worker, view.pid, view.state, timeText(view.startedAtEpochMs)],
      ...[view.connections, view.clients, view.waiting, view.servers, view.restarts],
    ]);
    return { tag: "SHOW", rows };
  },
};

/** As SHOW CLIENTS writes times. */
function timeText(epochMs: number): string {
  const iso = new Date(epochMs).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
}
