/** `pgsluice check`: what is wrong with a configuration, before clients find out. */
import type { Command } from "commander";
import { type CheckReport, checkFile } from "../check/check.ts";
import type { Finding } from "../check/finding.ts";
import { Exit } from "./exit.ts";

interface CheckFlags {
  readonly offline?: true;
  readonly json?: true;
}

const explanation = `
Each finding comes with its cure. Exit code 0: no errors, perhaps warnings; 1: errors.
Run it as the user that the pooler runs as: it reads the same files and logs in to the same servers.`;

/** Adds the command `check`. */
export function registerCheck(program: Command): void {
  program
    .command("check")
    .summary("say what is wrong with a configuration, and what to do about it")
    .description(
      "Checks a pgsluice.toml or pgbouncer.ini: its settings and files, and with the servers it names their logins, roles and room.",
    )
    .argument("<file>", "pgsluice.toml or pgbouncer.ini")
    .option("--offline", "connect to nothing")
    .option("--json", "print one JSON object, for programs")
    .addHelpText("after", explanation)
    .action(check);
}

async function check(file: string, flags: CheckFlags): Promise<void> {
  const report = await checkFile(file, { offline: flags.offline === true, nowMs: Date.now() });
  process.stdout.write(
    flags.json === true ? `${JSON.stringify({ file, ...report })}\n` : reportText(file, report),
  );
  if (!report.ok) throw new Exit(1);
}

/** For people. */
export function reportText(file: string, { findings }: CheckReport): string {
  const count = (severity: Finding["severity"], noun: string): string => {
    const number = findings.filter((finding) => finding.severity === severity).length;
    return `${number} ${noun}${number === 1 ? "" : "s"}`;
  };
  const lines = findings.map(
    ({ severity, place, problem, cure }) => `${severity}: ${place}: ${problem}\n  cure: ${cure}\n`,
  );
  return `${lines.join("")}${file}: ${count("error", "error")}, ${count("warning", "warning")}\n`;
}
