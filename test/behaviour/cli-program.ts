/** Runs the command line as a program of its own, as a person would, and watches what it prints. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { PassedSocket } from "../kit/passed-socket.ts";
import { program } from "../kit/program.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
/** Longer than anything that is waited for takes. */
const patienceMs = 40_000;

/** What the program gets besides its arguments. */
export interface Launch {
  /** Sockets that listen already, passed as a service manager passes them (man 3 sd_listen_fds). */
  readonly sockets?: readonly PassedSocket[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** Becomes the program, so that the process id is known before it is. */
const passSockets = 'LISTEN_PID=$$; export LISTEN_PID; exec "$@"';

export class CliProgram {
  /** Everything temporary of the program lies in here. */
  readonly temporaryFolder: string = openTemporaryFolder();
  readonly exit: Promise<number | null>;
  readonly #child: ChildProcess;
  #stdout = "";
  #stderr = "";

  constructor(first?: string | Launch, ...rest: string[]) {
    const { sockets = [], environment = {} } = typeof first === "object" ? first : {};
    const args = typeof first === "string" ? [first, ...rest] : rest;
    const wanted = [process.execPath, ...program, ...args];
    const passing = sockets.length === 0 ? {} : { LISTEN_FDS: String(sockets.length) };
    const [command = "", ...words] =
      sockets.length === 0 ? wanted : ["/bin/sh", "-c", passSockets, "sh", ...wanted];
    this.#child = spawn(command, words, {
      cwd: root,
      env: { ...process.env, TMPDIR: this.temporaryFolder, ...passing, ...environment },
      stdio: ["ignore", "pipe", "pipe", ...sockets.map(({ descriptor }) => descriptor)],
    });
    this.#child.stdout?.on("data", (chunk: Buffer) => {
      this.#stdout += chunk.toString();
    });
    this.#child.stderr?.on("data", (chunk: Buffer) => {
      this.#stderr += chunk.toString();
    });
    this.exit = new Promise((resolve) => {
      this.#child.once("close", (code) => resolve(code));
    });
  }

  /** Runs to the end. */
  static async run(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
    await using running = new CliProgram(...args);
    const code = await running.exit;
    return { code, stdout: running.stdout, stderr: running.stderr };
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits until what it has printed matches; returns the match. */
  async printed(stream: "stdout" | "stderr", pattern: RegExp): Promise<RegExpMatchArray> {
    const deadline = performance.now() + patienceMs;
    for (;;) {
      const match = this[stream].match(pattern);
      if (match !== null) return match;
      if (this.#child.exitCode !== null || performance.now() > deadline) {
        throw new Error(`the program did not print ${pattern}, but:\n${this.stdout}\n${this.stderr}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Command lines of living processes that work in the temporary folder (on Linux; elsewhere none is found). */
  leftovers(): string[] {
    const found: string[] = [];
    for (const name of readdirOrNothing("/proc")) {
      if (!/^\d+$/.test(name)) continue;
      const commandLine = readOrNothing(`/proc/${name}/cmdline`).replaceAll("\0", " ");
      if (commandLine.includes(this.temporaryFolder)) found.push(commandLine);
    }
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill("SIGKILL");
    await this.exit;
    rmSync(this.temporaryFolder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

/** A temporary folder that PostgreSQL's user can enter too. */
export function openTemporaryFolder(): string {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), "cli-")));
  chmodSync(folder, 0o755);
  return folder;
}

function readdirOrNothing(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function readOrNothing(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
