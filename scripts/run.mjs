/**
 * `npm start` and `npm run bench`: makes sure that everything is installed and built, then runs one command
 * of the command line in this very process, so that signals and the exit code need no forwarding.
 *
 *     node scripts/run.mjs demo --port 7000
 *     node scripts/run.mjs build                 (nothing further)
 *
 * Plain JavaScript that old versions of Node can parse: it is what tells them that they are too old.
 */
import { fileURLToPath } from "node:url";
import { requireNode } from "./node-version.mjs";

requireNode();

import("./bootstrap.mjs")
  .then(async ({ bootstrap, root }) => {
    await bootstrap();
    if (process.argv[2] === "build") return;
    const program = new URL("dist/cli/main.js", root);
    process.argv[1] = fileURLToPath(program);
    endWithNpm();
    await import(program.href);
  })
  .catch((error) => {
    console.error(error instanceof Error && error.name === "BootstrapError" ? error.message : error);
    process.exitCode = 1;
  });

/** npm that was killed cannot tell us to end: we notice that our parent is another process. */
function endWithNpm() {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    process.kill(process.pid, "SIGINT");
  }, 1000);
  timer.unref();
}
