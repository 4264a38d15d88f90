/** A pooler in a process of its own, as an operator starts it, so that its memory and files are its alone. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { program } from "../../kit/program.ts";
import type { Target, Via } from "./place.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));

/** Whether the system says what a process uses. */
export const knowsMemory: boolean = process.platform === "linux";

export class PoolerProcess {
  readonly target: Target;
  readonly #child: ChildProcess;
  #log = "";

  private constructor(child: ChildProcess, target: Target) {
    this.#child = child;
    this.target = target;
  }

  /** Starts a pooler in front of `upstream`, and waits until it listens. */
  static async start(
    upstream: Target,
    mode: Exclude<Via, "direct">,
    settings: Readonly<Record<string, string | number>> = {},
  ): Promise<PoolerProcess> {
    const url = `postgres://${upstream.user}@${upstream.host}:${upstream.port}/${upstream.database}?sslmode=disable`;
    const set = Object.entries(settings).flatMap(([name, value]) => ["--set", `${name}=${value}`]);
    const args = [
      "start",
      "--upstream",
      url,
      "--port",
      "0",
      "--mode",
      mode,
      "--set",
      "log_format=json",
      ...set,
    ];
    const child = spawn(process.execPath, [...program, ...args], {
      cwd: root,
      stdio: ["ignore", "ignore", "pipe"],
    });
    let log = "";
    const port = await new Promise<number>((resolve, reject) => {
      child.stderr?.setEncoding("utf8").on("data", (text: string) => {
        log += text;
        const found = /"port":(\d+)\},"msg":"listening"/.exec(log);
        if (found !== null) resolve(Number(found[1]));
      });
      child.once("exit", () => reject(new Error(`the pooler did not start: ${log}`)));
    });
    const pooler = new PoolerProcess(child, {
      ...upstream,
      via: mode,
      host: "127.0.0.1",
      port,
      pooler: undefined,
    });
    child.stderr?.on("data", (text: string) => {
      pooler.#log += text;
    });
    return pooler;
  }

  /** Lines of its log that say more than that something went as it should. */
  get complaints(): string[] {
    return this.#log.split("\n").filter((line) => line !== "" && !/"level":[123]0,/.test(line));
  }

  /** The most memory it has had at any time, in bytes. Linux only. */
  get memoryPeakBytes(): number {
    return this.#memory("VmHWM");
  }

  /** The memory it has now, in bytes. Linux only. */
  get memoryBytes(): number {
    return this.#memory("VmRSS");
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGQUIT");
    await exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #memory(field: string): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, "utf8");
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024;
  }
}
