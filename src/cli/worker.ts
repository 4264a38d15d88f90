/** The program of one worker (`workers`), started by the primary process, which tells it everything over their channel. */
import { serveAsWorker } from "../server/workers/worker.ts";
import { adviseCollector } from "./collector.ts";
import { Logs } from "./logs.ts";

/** How long what is still open may keep a process that has done its work. */
const lingerMs = 2000;

// Signals that a terminal or a service manager sends to all processes of a group are the primary's to understand.
for (const signal of ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const)
  process.on(signal, () => undefined);

process.title = "pgsluice: worker";
adviseCollector();
serveAsWorker(process, {
  openLogs({ slot, config, quiet }) {
    process.title = `pgsluice: worker ${slot + 1}`;
    const logs = new Logs(config.pgsluice, { quiet, worker: slot + 1 });
    logs.open();
    return {
      logger: logs.logger,
      follow: ({ pgsluice }) => logs.follow(pgsluice),
      reopen: () => logs.reopen(),
    };
  },
  onEnded() {
    if (process.connected) process.disconnect();
    setTimeout(() => process.exit(), lingerMs).unref();
  },
});
