/**
 * Runs a program that the configuration names, as `failover_command`: a program and its arguments, never a shell, with what it is about in its environment. One at a
 * time; one that takes too long is ended with all that it has started.
 */
import { type ChildProcess, spawn } from "node:child_process";

/** So much of what it writes is logged. */
const outputBytesMax = 8 * 1024;
/** After its end, for what it has written. */
const outputWaitMs = 1000;

export interface CommandResult {
  readonly output: string;
  /** Undefined: it has ended with exit code 0. */
  readonly problem: string | undefined;
}

export class HookCommand {
  readonly #timeoutSetting: string;
  #child: ChildProcess | undefined;

  /** `timeoutSetting`: the setting that says how long it may take. */
  constructor(timeoutSetting: string) {
    this.#timeoutSetting = timeoutSetting;
  }

  /** Never rejects. Without `timeoutMs` it may take as long as it likes. */
  run(
    [program = "", ...args]: readonly string[],
    variables: Readonly<Record<string, string>>,
    timeoutMs: number | undefined,
  ): Promise<CommandResult> {
    const pieces: Buffer[] = [];
    let bytes = 0;
    const keep = (piece: Buffer): void => {
      const kept = piece.subarray(0, outputBytesMax - bytes);
      bytes += kept.length;
      pieces.push(kept);
    };
    return new Promise((resolve) => {
      let problem: string | undefined;
      const child = spawn(program, args, {
        env: { ...process.env, ...variables },
        stdio: ["ignore", "pipe", "pipe"],
        // A group of its own, which can be ended as a whole.
        detached: true,
      });
      this.#child = child;
      child.stdout.on("data", keep);
      child.stderr.on("data", keep);
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => {
              problem = `it had not ended after ${timeoutMs / 1000} s (${this.#timeoutSetting})`;
              this.end();
            }, timeoutMs);
      let giveUp: NodeJS.Timeout | undefined;
      const finish = (): void => {
        clearTimeout(giveUp);
        child.stdout.destroy();
        child.stderr.destroy();
        resolve({ output: Buffer.concat(pieces).toString().trimEnd(), problem });
      };
      child.once("error", (error) => {
        clearTimeout(timer);
        problem = error.message;
        finish();
      });
      child.once("exit", (code, signal) => {
        clearTimeout(timer);
        this.#child = undefined;
        if (code === null) problem ??= `it was ended by ${signal}`;
        else if (code !== 0) problem ??= `it has ended with exit code ${code}`;
        // What it has left behind may hold its output for ever.
        giveUp = setTimeout(finish, outputWaitMs);
      });
      child.once("close", finish);
    });
  }

  /** Ends the one that runs, and all that it has started. */
  end(): void {
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // It has ended by itself in this moment.
    }
  }
}
