/** The package as it would be published: its exports and types hold for whoever installs it. */
import { execFile } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TempFolder, tempFolder } from "../kit/temp-folder.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));
const bin = (name: string): string => path.join(root, "node_modules/.bin", name);
let folder: TempFolder | undefined;
let tarball = "";

beforeAll(async () => {
  await run(process.execPath, ["scripts/run.mjs", "build"], { cwd: root });
  folder = await tempFolder();
  const { stdout } = await run(
    "npm",
    ["pack", "--ignore-scripts", "--json", "--pack-destination", folder.path],
    { cwd: root },
  );
  const [packed] = JSON.parse(stdout) as [{ filename: string }];
  tarball = path.join(folder.path, packed.filename);
});

afterAll(async () => {
  await folder?.[Symbol.asyncDispose]();
});

test("every export has types that resolve (attw)", async () => {
  await run(bin("attw"), [tarball, "--profile", "esm-only", "--no-emoji"], { cwd: root });
});

test("package.json says what is there (publint)", async () => {
  const { stdout } = await run(bin("publint"), [tarball, "--strict"], { cwd: root });
  expect(stdout).toContain("All good!");
});
