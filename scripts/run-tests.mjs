/** Runs Vitest and counts its results, from its JSON report rather than from what it prints. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** Runs the tests with further arguments for Vitest. Returns the exit code: 0 only if tests ran and none failed. */
export async function runTests(root, args) {
  const folder = fileURLToPath(root);
  const report = path.join(folder, ".cache", "test-results.json");
  mkdirSync(path.dirname(report), { recursive: true });
  rmSync(report, { force: true });

  const vitest = path.join(folder, "node_modules", "vitest", "vitest.mjs");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const code = await exitCodeOf(process.execPath, [vitest, "run", ...reporters, ...args], folder);

  const counts = existsSync(report) ? count(JSON.parse(readFileSync(report, "utf8")), folder) : undefined;
  if (counts === undefined) console.log("Vitest ended without a report.");
  let { passed, failed, skipped } = counts ?? { passed: 0, failed: 1, skipped: [] };
  if (failed === 0 && passed === 0) {
    console.log("No test ran.");
    failed = 1;
  } else if (failed === 0 && code !== 0) {
    console.log(`No test failed, and yet Vitest ended with exit code ${code}: see the errors above.`);
    failed = 1;
  }
  for (const name of skipped) console.log(`skipped: ${name}`);
  const skips = skipped.length === 0 ? "" : `, ${skipped.length} skipped`;
  console.log(`${passed} passed, ${failed} failed${skips}`);
  return failed === 0 ? 0 : 1;
}

function exitCodeOf(command, args, cwd) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      stdio: "inherit",
      env: { ...process.env, PGSLUICE_BUILT: "1" },
    });
    const forward = (signal) => child.kill(signal);
    process.on("SIGINT", forward).on("SIGTERM", forward);
    child.on("error", () => resolve(1));
    child.on("close", (code) => resolve(code ?? 1));
  });
}

/** A file that could not even be loaded has no tests in the report; it counts as one that failed. */
function count(report, folder) {
  let passed = 0;
  let failed = 0;
  const skipped = [];
  for (const file of report.testResults) {
    if (file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed")) failed++;
    for (const test of file.assertionResults) {
      if (test.status === "passed") passed++;
      else if (test.status === "failed") failed++;
      else skipped.push(`${path.relative(folder, file.name)} > ${test.fullName}`);
    }
  }
  return { passed, failed, skipped };
}
