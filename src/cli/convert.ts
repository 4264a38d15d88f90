/** `pgsluice convert`: from PgBouncer's and pgpool-II's files to a pgsluice.toml. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { OperationError } from "../base/errors.ts";
import { checkFile } from "../check/check.ts";
import { convertIni } from "../config/ini/convert.ts";
import { type ConvertedFile, convertPgpool } from "../config/pgpool/convert.ts";
import { reportText } from "./check.ts";
import { schemaUrl } from "./package-files.ts";

interface ConvertFlags {
  readonly output?: string;
  readonly force?: true;
}

const explanation = `
Comments in the new file say what has no counterpart, why, and what to do about it.

A pgpool.conf is read with the pool_hba.conf and pool_passwd that belong to it; what comes of them are files of their own,
so that a folder is needed: pgsluice convert pgpool.conf --output /etc/pgsluice`;

/** Adds the command `convert`. */
export function registerConvert(program: Command): void {
  program
    .command("convert")
    .summary("write the pgsluice.toml that does what a pgbouncer.ini or pgpool.conf did")
    .description(
      "Writes the pgsluice.toml that does what a pgbouncer.ini or a pgpool.conf did: to standard output, or to a folder.",
    )
    .argument("<file>", "pgbouncer.ini or pgpool.conf")
    .option("--output <folder>", "write pgsluice.toml and the files that it names into this folder")
    .option("--force", "overwrite what is there")
    .addHelpText("after", explanation)
    .action(convert);
}

async function convert(file: string, flags: ConvertFlags): Promise<void> {
  const files = (await isPgpool(file))
    ? await convertPgpool(file, schemaUrl)
    : [{ name: "pgsluice.toml", text: await convertIni(file, schemaUrl), secret: true }];
  const [main, ...further] = files;
  if (flags.output !== undefined) await writeAll(files, flags.output, flags.force === true);
  else if (further.length === 0) process.stdout.write(main?.text ?? "");
  else {
    const names = files.map(({ name }) => name).join(", ");
    throw refused(`${file} becomes several files: ${names}`, "Say where to put them: --output FOLDER.");
  }
}

/** A pgpool.conf by its name, or by what no other file has. */
async function isPgpool(file: string): Promise<boolean> {
  if (path.extname(file) === ".ini") return false;
  if (path.basename(file).startsWith("pgpool")) return true;
  // A file that cannot be read is told by whoever loads it.
  const text = await readFile(file, "utf8").catch(() => "");
  return /^\s*(?:backend_hostname\d+|num_init_children|backend_clustering_mode)\b/m.test(text);
}

/** Ends with what `pgsluice check --offline` says of the result. */
async function writeAll(files: readonly ConvertedFile[], folder: string, force: boolean): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const { name, text, secret } of files) {
    const target = path.join(folder, name);
    try {
      await writeFile(target, text, { mode: secret ? 0o600 : 0o644, flag: force ? "w" : "wx" });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EEXIST")
        throw refused(`${target} is there already`, "Choose another folder, or overwrite it with --force.");
      throw refused(
        `${target} cannot be written: ${code ?? String(error)}`,
        "Choose a folder that you may write to.",
      );
    }
    process.stdout.write(`${target}\n`);
  }
  const toml = path.join(folder, "pgsluice.toml");
  process.stderr.write(reportText(toml, await checkFile(toml, { offline: true, nowMs: Date.now() })));
}

function refused(message: string, hint: string): OperationError {
  return new OperationError(message, { code: "cli.convert", sqlstate: "F0000", source: "internal", hint });
}
