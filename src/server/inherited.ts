/**
 * Sockets that were opened by whoever started this process and that already listen (socket activation; man 3
 * sd_listen_fds). LISTEN_FDS says how many there are, from descriptor 3 on, LISTEN_PID for whom they are, LISTEN_FDNAMES
 * what they are called. While such a process is replaced by another one, connections wait in the socket.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { OperationError } from "../base/errors.ts";

export interface InheritedSocket {
  readonly descriptor: number;
  /** `pgsluice.socket`; empty if nobody has named it. */
  readonly name: string;
}

const firstDescriptor = 3;
/** More than anybody passes; a number that is none of ours must not make us try millions. */
const socketsMax = 1000;

/**
 * The sockets that were passed to the process `pid`. Takes the variables out of `environment`, so that no child
 * believes that they are for it. Throws OperationError `server.inherited_sockets` for numbers that are none.
 */
export function takeInheritedSockets(environment: NodeJS.ProcessEnv, pid: number): InheritedSocket[] {
  const { LISTEN_FDS: count, LISTEN_PID: owner, LISTEN_FDNAMES: names = "" } = environment;
  for (const name of ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]) delete environment[name];
  if (count === undefined || owner !== String(pid)) return [];
  const number = /^\d{1,4}$/.test(count) ? Number(count) : Number.NaN;
  if (!(number <= socketsMax)) throw inheritedFailure(`LISTEN_FDS is "${count}", not a number of sockets`);
  const given = names.split(":");
  return Array.from({ length: number }, (_, index) => ({
    descriptor: firstDescriptor + index,
    name: given[index] ?? "",
  }));
}

/** Throws OperationError `server.inherited_sockets` for what cannot be listened on. */
export function inheritedFailure(problem: string, cause?: unknown): OperationError {
  return new OperationError(problem, {
    code: "server.inherited_sockets",
    sqlstate: "F0000",
    source: "internal",
    hint: "Each socket that is passed has to be a TCP or Unix stream socket that listens.",
    cause,
  });
}

/** The path of a Unix socket by its descriptor, `@` in front of an abstract one; undefined where the system does not say. */
export function unixPathOf(descriptor: number): string | undefined {
  try {
    const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${descriptor}`))?.[1];
    for (const line of readFileSync("/proc/net/unix", "utf8").split("\n")) {
      const [, , , , , , number, path] = line.split(/\s+/);
      if (number === inode && path !== undefined) return path;
    }
  } catch {
    // Only Linux has /proc.
  }
  return undefined;
}
