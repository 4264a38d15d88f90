/** Whom the file of the Unix socket belongs to besides us (`unix_socket_group`). */
import { spawnSync } from "node:child_process";
import { chown } from "node:fs/promises";
import { OperationError } from "../base/errors.ts";

/** Gives the file to a group, by its name or number. Throws OperationError `server.socket_group` if it cannot be. */
export async function giveToGroup(file: string, group: string): Promise<void> {
  const id = /^\d+$/.test(group) ? Number(group) : idOf(group);
  if (id === undefined) throw cannotGive(group, "there is no such group");
  try {
    await chown(file, process.getuid?.() ?? -1, id);
  } catch (error) {
    const denied = (error as NodeJS.ErrnoException).code === "EPERM";
    throw cannotGive(group, denied ? "only a member of it or root can" : (error as Error).message, error);
  }
}

/** Node knows no groups by name; `getent` asks the same sources that a login does. */
function idOf(name: string): number | undefined {
  const { stdout, status } = spawnSync("getent", ["group", "--", name], { encoding: "utf8" });
  const [, id] = status === 0 ? (/^[^:]*:[^:]*:(\d+):/.exec(stdout) ?? []) : [];
  return id === undefined ? undefined : Number(id);
}

function cannotGive(group: string, reason: string, cause?: unknown): OperationError {
  return new OperationError(
    `cannot give the Unix socket to unix_socket_group ${JSON.stringify(group)}: ${reason}`,
    { code: "server.socket_group", sqlstate: "F0000", source: "internal", cause },
  );
}
