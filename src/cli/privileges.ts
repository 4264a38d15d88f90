/** Whom the pooler runs as (`user`, `--user`). */
import { spawnSync } from "node:child_process";
import { OperationError } from "../base/errors.ts";

/**
 * Becomes the user of the operating system called `name`, with its groups, for good. Nothing is done for an empty
 * name, or if we are that user. Throws OperationError `cli.user` if it cannot be done.
 */
export function becomeUser(name: string): void {
  if (name === "") return;
  const { getuid, setuid, setgid, initgroups } = process as PosixProcess;
  if (getuid === undefined || setuid === undefined || setgid === undefined || initgroups === undefined) {
    throw cannotBecome(name, "this system has no such users");
  }
  if (getuid() !== 0) {
    if (idOf(name, "-u") === getuid()) return;
    throw cannotBecome(name, "only root can become another user");
  }
  const uid = idOf(name, "-u");
  const gid = idOf(name, "-g");
  if (uid === undefined || gid === undefined) throw cannotBecome(name, "there is no such user");
  // Groups first: afterwards there is no right to change them any more.
  initgroups(name, gid);
  setgid(gid);
  setuid(uid);
}

/** The types of Node's process lack one of its functions. */
type PosixProcess = Pick<NodeJS.Process, "getuid" | "setuid" | "setgid"> & {
  readonly initgroups?: (user: string, extraGroup: number) => void;
};

/** Node knows users by name only where it changes to them; `id` asks the same sources that a login does. */
function idOf(name: string, flag: "-u" | "-g"): number | undefined {
  const { stdout, status } = spawnSync("id", [flag, "--", name], { encoding: "utf8" });
  return status === 0 && /^\d+\s*$/.test(stdout) ? Number(stdout) : undefined;
}

function cannotBecome(name: string, reason: string): OperationError {
  return new OperationError(`cannot become user ${JSON.stringify(name)}: ${reason}`, {
    code: "cli.user",
    sqlstate: "F0000",
    source: "internal",
  });
}
