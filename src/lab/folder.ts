/**
 * The folder of a lab: what lies in it, and who uses it.
 *
 *     lab.json   the nodes that are complete, with the ports they had
 *     lab.lock   the process that uses the folder
 *     NODE/data, NODE/postgresql.log
 *
 * A lock whose process is gone counts for nothing, so a folder left behind by a killed process is taken over,
 * and temporary ones are removed by the next lab that starts.
 */
import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import {
  link,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  writeFile,
} from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive } from "../backup/processes.ts";
import { endLeftovers } from "./data-folder.ts";
import { labError } from "./errors.ts";
import { startToken } from "./processes.ts";

export const stateFile = "lab.json";
const lockFile = "lab.lock";
const temporaryPrefix = "pgsluice-lab-";
const format = 1;
/** A Unix socket's path has room for 103 bytes on macOS, 107 on Linux; its name takes up to 27. */
const socketFolderBytesMax = 76;

/** Whoever has just been told to end gets this long for it. */
const dyingTimeMs = 1000;
const pollMs = 20;

/** What is remembered from one start to the next. */
export interface LabState {
  readonly nodes: readonly { readonly name: string; readonly port: number }[];
}

interface Owner {
  readonly pid: number;
  readonly token: string;
}

export async function makeTemporaryFolder(): Promise<string> {
  return await realpath(await mkdtemp(path.join(os.tmpdir(), temporaryPrefix)));
}

/** Makes the folder if it is missing. Rejects with `lab.folder_foreign` if it holds something else than a lab. */
export async function openFolder(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const names = await readdir(folder);
  if (names.length > 0 && !names.includes(stateFile) && !names.includes(lockFile)) {
    throw labError("lab.folder_foreign", `${folder} is not empty and holds no lab`, {
      hint: "Choose an empty folder, or one that does not exist.",
    });
  }
  return await realpath(folder);
}

/**
 * Makes us the one that uses the folder. Rejects with `lab.folder_in_use` while another process does; this
 * process itself counts too.
 */
export async function lockFolder(folder: string): Promise<void> {
  const file = path.join(folder, lockFile);
  const draft = path.join(folder, `${lockFile}.${process.pid}.${randomBytes(4).toString("hex")}`);
  const ours: Owner = { pid: process.pid, token: (await startToken(process.pid)) ?? "" };
  await writeFile(draft, JSON.stringify(ours));
  try {
    // A link appears whole and only where there is none: whoever makes it has the lock.
    const deadline = performance.now() + dyingTimeMs;
    while (!(await tryLink(draft, file))) {
      const owner = await livingOwner(file);
      if (owner === undefined) await putAside(file, `${draft}.stale`);
      else if (performance.now() < deadline) await sleep(pollMs);
      else throw labError("lab.folder_in_use", `${folder} is in use by process ${owner.pid}`);
    }
  } finally {
    await rm(draft, { force: true });
  }
}

async function tryLink(existing: string, file: string): Promise<boolean> {
  try {
    await link(existing, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Takes a dead process's lock away; puts it back if a living one has just replaced it. */
async function putAside(file: string, aside: string): Promise<void> {
  await rename(file, aside).catch(() => undefined);
  if ((await livingOwner(aside)) !== undefined) await tryLink(aside, file);
  await rm(aside, { force: true });
}

export async function unlockFolder(folder: string): Promise<void> {
  await rm(path.join(folder, lockFile), { force: true });
}

export async function readState(folder: string): Promise<LabState> {
  const text = await readFile(path.join(folder, stateFile), "utf8").catch(() => undefined);
  if (text === undefined) return { nodes: [] };
  const state = JSON.parse(text) as LabState & { readonly format: number };
  if (state.format !== format) {
    throw labError("lab.folder_foreign", `${folder} was made by another version of the lab`);
  }
  return state;
}

export async function writeState(folder: string, state: LabState): Promise<void> {
  const draft = path.join(folder, `${stateFile}.draft`);
  await writeFile(draft, `${JSON.stringify({ format, ...state }, undefined, 2)}\n`);
  await rename(draft, path.join(folder, stateFile));
}

/**
 * An empty folder for Unix sockets: in the temporary lab itself, else one with a short path, which is the same
 * at every start so that a killed process leaves no heap of them.
 */
export async function makeSocketFolder(labFolder: string, temporary: boolean): Promise<string> {
  const inside = path.join(labFolder, "s");
  if (temporary && Buffer.byteLength(inside) <= socketFolderBytesMax) {
    await mkdir(inside, { mode: 0o755 });
    return inside;
  }
  const parent = Buffer.byteLength(os.tmpdir()) + 24 <= socketFolderBytesMax ? os.tmpdir() : "/tmp";
  const label = createHash("sha256").update(labFolder).digest("hex").slice(0, 12);
  const folder = path.join(parent, `pgsluice-s-${label}`);
  // Nobody else uses the lab, so nobody uses its sockets. rm fails if the folder is another user's.
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o755 });
  return folder;
}

/** Removes temporary labs whose process was killed, with whatever still runs in them. */
export async function sweepTemporaryFolders(): Promise<void> {
  const parent = await realpath(os.tmpdir());
  for (const name of await readdir(parent)) {
    if (!name.startsWith(temporaryPrefix)) continue;
    const folder = path.join(parent, name);
    const found = await lstat(folder).catch(() => undefined);
    // Without a lock it is just being made, or not ours to read.
    if (found?.isDirectory() !== true || !existsSync(path.join(folder, lockFile))) continue;
    if ((await livingOwner(path.join(folder, lockFile))) !== undefined) continue;
    try {
      await endNodes(folder);
      await rm(folder, { recursive: true, force: true });
    } catch {
      // Another user's, or another process sweeps it at this moment.
    }
  }
}

/** Ends what still runs on the nodes of a folder that nobody uses. */
export async function endNodes(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const dataFolder = path.join(folder, entry.name, "data");
    if (entry.isDirectory() && existsSync(dataFolder)) await endLeftovers(dataFolder);
  }
}

/** The process that a lock names, if it still lives. */
async function livingOwner(file: string): Promise<Owner | undefined> {
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const owner = JSON.parse(text) as Owner;
  return isAlive(owner.pid) && (await startToken(owner.pid)) === owner.token ? owner : undefined;
}
