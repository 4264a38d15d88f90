/**
 * Starts a server so that it cannot outlive us. Between us and the server stands a shell that holds the
 * reading end of a pipe: when we end, by whatever cause, the pipe ends, and the shell stops the server. It is
 * a session of its own, so that Ctrl-C in a terminal reaches us alone and we stop things in order.
 */
import { type ChildProcess, spawn } from "node:child_process";
import type { Socket } from "node:net";
import type { Account } from "./account.ts";
import { cleanEnvironment } from "./processes.ts";

/**
 * Arguments: the log file, the signal that stops the server, a folder to remove after that (or nothing), then
 * the command. The watcher's exit status says whether the pipe ended: it answers the final TERM with 3 if so.
 */
const script = `
log=$1 signal=$2 remove=$3
shift 3
exec 3<&0
"$@" </dev/null >>"$log" 2>&1 3<&- &
server=$!
{
  read -r nothing <&3
  trap 'exit 3' TERM
  kill "-$signal" "$server"
  for second in 1 2 3 4 5; do sleep 1; done
  kill -QUIT "$server"
  for second in 1 2 3 4 5 6 7 8 9; do sleep 1; done
  exit 3
} &
watcher=$!
wait "$server"
code=$?
kill "$watcher"
wait "$watcher"
[ $? -eq 3 ] && [ -n "$remove" ] && rm -rf "$remove"
exit "$code"
`;

export interface SupervisedCommand {
  readonly command: readonly string[];
  readonly logFile: string;
  readonly folder: string;
  readonly account: Account | undefined;
  /** How the server is stopped if we end without having done so: INT is orderly, QUIT at once. */
  readonly orphanSignal: "INT" | "QUIT";
  /** Removed if we end without having stopped the server. */
  readonly orphanRemoves: string | undefined;
}

export class Supervised {
  readonly #child: ChildProcess;
  #hasEnded = false;
  #failure: Error | undefined;

  constructor(options: SupervisedCommand) {
    const { account } = options;
    const args = [options.logFile, options.orphanSignal, options.orphanRemoves ?? "", ...options.command];
    this.#child = spawn("/bin/sh", ["-c", script, "sh", ...args], {
      cwd: options.folder,
      env: cleanEnvironment(),
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
      ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
    });
    this.#child.once("exit", () => {
      this.#hasEnded = true;
    });
    this.#child.once("error", (error) => {
      this.#failure = error;
      this.#hasEnded = true;
    });
    this.#child.stdin?.on("error", () => undefined);
    // A lab that nobody waits for does not keep the program alive; the pipe's end then stops it. Bun's pipe keeps nothing alive.
    this.#child.unref();
    (this.#child.stdin as Partial<Socket> | null)?.unref?.();
  }

  /** Why not even the shell could be started. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }
}
