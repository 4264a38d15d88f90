/**
 * Whom PostgreSQL runs as. It refuses to run as root, so root looks for an ordinary user: one that owns the
 * lab's folder or a folder above it, then the usual names, then any other, and in the end makes one.
 * Everybody else runs it as themselves.
 */
import { chown, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { labError } from "./errors.ts";
import { run } from "./processes.ts";

/** A user of the operating system. It has an entry in /etc/passwd: initdb asks for its name. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

const usualNames = ["postgres", "_postgres", "node", "nobody"];
const createdName = "pgsluice";

/**
 * The user that runs PostgreSQL in `folder`, which is given to it; undefined if we are not root. Rejects with
 * `lab.folder_unreachable` or `lab.no_account`.
 */
export async function ordinaryAccount(folder: string): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const { uid, gid } = await stat(folder);
  for (const account of await candidates(folder)) {
    await chown(folder, account.uid, account.gid);
    if (await canEnter(account, folder)) return account;
  }
  await chown(folder, uid, gid);
  throw labError("lab.folder_unreachable", `no ordinary user can enter ${folder}`, {
    detail: "PostgreSQL refuses to run as root, so it must run as a user that can enter its data folder.",
    hint: "Choose a folder that everybody may enter, for example one under /var/tmp.",
  });
}

async function candidates(folder: string): Promise<Account[]> {
  let accounts = await passwd();
  const preferred: Account[] = [];
  for (const uid of await ownersUpward(folder)) {
    preferred.push(...accounts.filter((account) => account.uid === uid));
  }
  for (const name of usualNames) preferred.push(...accounts.filter((account) => account.name === name));
  preferred.push(...accounts.filter(({ uid }) => uid >= 1000 && uid < 60_000));
  if (preferred.length > 0) return [...new Set(preferred)];
  await createAccount();
  accounts = (await passwd()).filter(({ name }) => name === createdName);
  if (accounts.length > 0) return accounts;
  throw labError("lab.no_account", "PostgreSQL refuses to run as root, and no ordinary user was found", {
    hint: `Add one, for example with: useradd --system ${createdName}`,
  });
}

async function passwd(): Promise<Account[]> {
  const text = await readFile("/etc/passwd", "utf8").catch(() => "");
  const accounts: Account[] = [];
  for (const line of text.split("\n")) {
    const [name, , uid, gid] = line.split(":");
    // Negative numbers, as of nobody on macOS, cannot be handed to setuid as they are.
    if (name === undefined || !/^\d+$/.test(uid ?? "") || !/^\d+$/.test(gid ?? "") || uid === "0") continue;
    accounts.push({ name, uid: Number(uid), gid: Number(gid) });
  }
  return accounts;
}

async function ownersUpward(folder: string): Promise<number[]> {
  const owners: number[] = [];
  for (let at = folder; ; at = path.dirname(at)) {
    const { uid } = await stat(at);
    if (uid !== 0) owners.push(uid);
    if (path.dirname(at) === at) return owners;
  }
}

async function canEnter(account: Account, folder: string): Promise<boolean> {
  try {
    await run("/bin/sh", ["-c", 'cd "$1" && test -w .', "sh", folder], { account });
    return true;
  } catch {
    return false;
  }
}

/** Debian's and Red Hat's way, then that of BusyBox. */
async function createAccount(): Promise<void> {
  try {
    await run("useradd", ["--system", "--no-create-home", "--shell", "/bin/false", createdName]);
  } catch {
    await run("adduser", ["-S", "-D", "-H", createdName]).catch(() => "");
  }
}
