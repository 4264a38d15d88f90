/**
 * Where the data of a lab lies: in the folder that was asked for, or, when we are root and no ordinary user
 * can enter that folder (it lies in /root, say), in a substitute that everybody can reach. Nobody's rights are
 * changed for it. The two point at each other: FOLDER/data leads to the substitute, SUBSTITUTE/origin leads
 * back, and a substitute whose folder is gone is removed by the next lab that starts.
 */
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readlink, realpath, rm, symlink } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { OperationError } from "../base/errors.ts";
import { type Account, ordinaryAccount } from "./account.ts";
import { endNodes, readState } from "./folder.ts";

export interface Home {
  readonly folder: string;
  /** Whom PostgreSQL runs as there; ourselves if undefined. */
  readonly account: Account | undefined;
}

const prefix = "pgsluice-data-";
const forth = "data";
const back = "origin";
/** Kept over a restart of the machine, unlike /tmp (Filesystem Hierarchy Standard, 5.15). */
const lastingFolder = "/var/tmp";

/** Finds or makes the home of a lab's folder. Rejects as {@link ordinaryAccount} does. */
export async function findHome(folder: string, progress: (text: string) => void): Promise<Home> {
  try {
    return { folder, account: await ordinaryAccount(folder) };
  } catch (error) {
    // Data that is already here must not be passed over.
    const holdsData = (await readState(folder)).nodes.length > 0;
    if (holdsData || !(error instanceof OperationError) || error.code !== "lab.folder_unreachable")
      throw error;
  }
  const link = path.join(folder, forth);
  let substitute = await readlink(link).catch(() => undefined);
  if (substitute === undefined || !existsSync(substitute)) {
    substitute = await mkdtemp(path.join(await parentFolder(), prefix));
    await symlink(folder, path.join(substitute, back));
    await rm(link, { recursive: true, force: true });
    await symlink(substitute, link);
  }
  progress(
    `PostgreSQL refuses to run as root, and nobody else can enter ${folder}: its data lies in ${substitute}`,
  );
  return { folder: substitute, account: await ordinaryAccount(substitute) };
}

/** Removes substitutes whose folder is gone or leads elsewhere now. */
export async function sweepSubstitutes(): Promise<void> {
  const parent = await parentFolder();
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) continue;
    const substitute = path.join(parent, name);
    try {
      const origin = await readlink(path.join(substitute, back));
      if (existsSync(origin) && (await readlink(path.join(origin, forth))) === substitute) continue;
      await endNodes(substitute);
      await rm(substitute, { recursive: true, force: true });
    } catch {
      // Another user's, or one that is just being made.
    }
  }
}

async function parentFolder(): Promise<string> {
  return await realpath(existsSync(lastingFolder) ? lastingFolder : os.tmpdir());
}
