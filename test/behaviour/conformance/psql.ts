/** Runs psql, where it is installed. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import type { Target } from "./place.ts";

/** Whether there is a psql to test with; says so on the console if not. */
export const hasPsql: boolean = (() => {
  const found = spawnSync("psql", ["--version"]).status === 0;
  if (!found) console.warn("psql is not installed: its part of the conformance suite is skipped");
  return found;
})();

export interface PsqlResult {
  readonly status: number | null;
  readonly output: string;
  readonly errors: string;
}

/** Starts psql on a target: no start-up file, bare unaligned rows, verbose errors. `further` goes into its conninfo. */
export function startPsql(target: Target, args: readonly string[] = [], further = ""): ChildProcess {
  const { host, port, user, database } = target;
  const conninfo = `host=${host} port=${port} user=${user} dbname=${database} sslmode=disable ${further}`;
  return spawn("psql", ["-X", "-A", "-t", "-q", "-v", "VERBOSITY=verbose", ...args, conninfo], {
    env: { PATH: process.env["PATH"], PGCLIENTENCODING: "UTF8", LC_ALL: "C.UTF-8" },
  });
}

/** The program that gives another one a terminal (util-linux). */
const terminalProgram = "script";
export const hasTerminal: boolean = hasPsql && spawnSync(terminalProgram, ["--version"]).status === 0;

/** Starts psql in a terminal of its own: what is written to it is typed, and "\x03" is Ctrl-C. */
export function startPsqlInTerminal(target: Target): ChildProcess {
  const { host, port, user, database } = target;
  const conninfo = `host=${host} port=${port} user=${user} dbname=${database} sslmode=disable`;
  const command = `psql -X -A -t -q -P pager=off -v VERBOSITY=verbose '${conninfo}'`;
  return spawn(terminalProgram, ["-q", "-e", "-f", "-c", command, "/dev/null"], {
    env: { PATH: process.env["PATH"], PGCLIENTENCODING: "UTF8", LC_ALL: "C.UTF-8", TERM: "dumb" },
  });
}

/** Runs a script to its end. */
export async function psql(
  target: Target,
  script: string,
  args: readonly string[] = [],
): Promise<PsqlResult> {
  const child = startPsql(target, args);
  const result = collect(child);
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(script);
  return result;
}

/** What a psql that was started says until its end. */
export async function collect(child: ChildProcess): Promise<PsqlResult> {
  let output = "";
  let errors = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const [status] = (await once(child, "close")) as [number | null];
  return { status, output, errors };
}
