/** The programs of other projects that a benchmark uses: where they are, their versions, how to get them. */
import { execFile } from "node:child_process";
import { access, constants, readdir } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

export type ToolName = "pgbench" | "pgbouncer" | "pgpool";

export interface Tool {
  readonly path: string;
  readonly version: string;
}

/** How to install each program on Debian and Ubuntu, for people. */
export const installHints: Readonly<Record<ToolName, string>> = {
  pgbench: "apt-get install postgresql (or postgresql-contrib) brings pgbench",
  pgbouncer: "apt-get install pgbouncer",
  pgpool: "apt-get install pgpool2",
};

/** undefined if it is not installed. */
export async function findTool(name: ToolName): Promise<Tool | undefined> {
  for (const folder of await folders()) {
    const file = path.join(folder, name);
    if (!(await isExecutable(file))) continue;
    return { path: file, version: await versionOf(file) };
  }
  return undefined;
}

/**
 * Debian's folders of versions come first, newest first: its /usr/bin/pgbench is a Perl script that looks for
 * a local cluster. System folders come last, because they are often missing from a user's PATH.
 */
async function folders(): Promise<string[]> {
  const debian = "/usr/lib/postgresql";
  const versions = await readdir(debian).catch(() => [] as string[]);
  versions.sort((one, other) => Number(other) - Number(one));
  return [
    ...versions.map((version) => path.join(debian, version, "bin")),
    ...(process.env["PATH"] ?? "").split(path.delimiter).filter((folder) => folder !== ""),
    "/usr/sbin",
    "/usr/local/sbin",
  ];
}

async function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function versionOf(file: string): Promise<string> {
  // pgpool prints its version to standard error.
  const { stdout, stderr } = await promisify(execFile)(file, ["--version"]);
  return /\d+(\.\d+)+/.exec(stdout + stderr)?.[0] ?? "unknown";
}
