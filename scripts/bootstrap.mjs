/**
 * From a fresh clone to something that runs: installs the dependencies and builds `dist`, each only if it is
 * missing or stale. "Stale" is a question of contents, answered with hashes and never with the clock.
 *
 * Needs nothing but Node. Says what it does on standard error; standard output belongs to the command.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the repository, as a URL that ends in a slash. */
export const root = new URL("../", import.meta.url);

const folder = fileURLToPath(root);
const lockFile = path.join(folder, "package-lock.json");
const modules = path.join(folder, "node_modules");
const installStamp = path.join(modules, ".pgsluice-install");
const dist = path.join(folder, "dist");
const buildStamp = path.join(dist, ".pgsluice-build");

class BootstrapError extends Error {
  name = "BootstrapError";
}

/** Installs and builds what is missing or stale. */
export async function bootstrap() {
  await install();
  await build();
}

/**
 * Installs the dependencies in the versions of package-lock.json. Not `npm ci`: that refuses a lock file which
 * does not list the optional packages of every other system. Install scripts are not needed by any of them.
 */
async function install() {
  const wanted = hashOf([process.platform, process.arch, readFileSync(lockFile)]);
  if (contentOf(installStamp) === wanted) return;
  if (!matchesLockFile()) {
    say("installing dependencies (npm install)");
    const options = [
      "--no-save",
      "--no-fund",
      "--no-audit",
      "--ignore-scripts",
      "--prefer-offline",
      "--loglevel=error",
    ];
    const npm = process.env.npm_execpath;
    if (npm !== undefined && existsSync(npm)) await run(process.execPath, [npm, "install", ...options]);
    else await run("npm", ["install", ...options], { shell: process.platform === "win32" });
  }
  writeFileSync(installStamp, wanted);
}

async function build() {
  const wanted = hashOf([
    readFileSync(lockFile),
    ...["package.json", "tsconfig.json", "tsconfig.build.json"].map((name) =>
      readFileSync(path.join(folder, name)),
    ),
    ...filesBelow(path.join(folder, "src")).flatMap((file) => [
      path.relative(folder, file),
      readFileSync(file),
    ]),
  ]);
  if (contentOf(buildStamp) === wanted) return;
  say("building (tsc)");
  // Beside dist and at the same depth, so that source maps point to the sources; swapped in as a whole, so
  // that nobody ever runs half a build.
  const fresh = path.join(folder, `dist-${process.pid}`);
  try {
    const tsc = path.join(modules, "typescript", "bin", "tsc");
    await run(process.execPath, [tsc, "-p", "tsconfig.build.json", "--outDir", fresh]);
    mkdirSync(fresh, { recursive: true });
    writeFileSync(path.join(fresh, ".pgsluice-build"), wanted);
    rmSync(dist, { recursive: true, force: true });
    renameSync(fresh, dist);
    linkProgram();
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

/** Makes `npx pgsluice` work in this folder: npm links the programs of dependencies, not the package's own. */
function linkProgram() {
  if (process.platform === "win32") return;
  chmodSync(path.join(dist, "cli", "main.js"), 0o755);
  const link = path.join(modules, ".bin", "pgsluice");
  rmSync(link, { force: true });
  symlinkSync(path.join("..", "..", "dist", "cli", "main.js"), link);
}

/**
 * Whether what is installed is what package-lock.json asks for, by npm's own record of it: someone may have
 * installed by hand. Packages for other systems are optional and not installed.
 */
function matchesLockFile() {
  const record = contentOf(path.join(modules, ".package-lock.json"));
  if (record === undefined) return false;
  const installed = JSON.parse(record).packages;
  const wanted = JSON.parse(readFileSync(lockFile, "utf8")).packages;
  return Object.entries(wanted).every(([name, entry]) => {
    if (name === "") return true;
    const found = installed[name];
    if (found === undefined) return entry.optional === true;
    return (
      found.version === entry.version &&
      found.integrity === entry.integrity &&
      existsSync(path.join(folder, name))
    );
  });
}

/** A program that has not ended this long after a Ctrl-C is ended by force. */
const patienceMs = 1000;

/**
 * Runs a program; what it prints goes to our standard error. Rejects with a BootstrapError unless it exits
 * with 0. A Ctrl-C ends the program and then this process, by the same signal and without a word.
 */
function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"], ...options });
    const output = [];
    child.stdout.on("data", (chunk) => output.push(chunk));
    child.stderr.on("data", (chunk) => output.push(chunk));

    let interruption;
    const interrupt = (signal) => {
      interruption ??= signal;
      child.kill(signal);
      setTimeout(() => child.kill("SIGKILL"), patienceMs).unref();
    };
    process.on("SIGINT", interrupt).on("SIGTERM", interrupt);
    const settle = (outcome) => {
      process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
      if (interruption !== undefined) {
        process.kill(process.pid, interruption);
        return;
      }
      process.stderr.write(Buffer.concat(output));
      outcome();
    };
    child.on("error", (error) =>
      settle(() => reject(new BootstrapError(`${command} cannot be run: ${error.message}`))),
    );
    child.on("close", (code) => {
      const line = [command, ...args].map((part) => path.basename(part)).join(" ");
      settle(() => (code === 0 ? resolve() : reject(new BootstrapError(`failed: ${line}`))));
    });
  });
}

function filesBelow(directory) {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function contentOf(file) {
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}

function hashOf(parts) {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(String(part.length)).update(":").update(part);
  return hash.digest("hex");
}

function say(text) {
  console.error(`pgsluice: ${text}`);
}
