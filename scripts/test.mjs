/**
 * `npm test`: installs and builds what is missing, runs every test, lists what was skipped, and ends with
 * the line `N passed, N failed`. Arguments go to Vitest. The results stay in .cache/test-results.json, where
 * `npm run acceptance` reads them.
 */
import { requireNode } from "./node-version.mjs";

requireNode();

import("./bootstrap.mjs")
  .then(async ({ bootstrap, root }) => {
    await bootstrap();
    const { runTests } = await import("./run-tests.mjs");
    process.exitCode = await runTests(root, process.argv.slice(2));
  })
  .catch((error) => {
    console.error(error instanceof Error && error.name === "BootstrapError" ? error.message : error);
    console.log("0 passed, 1 failed");
    process.exitCode = 1;
  });
