/** `pgsluice init`: writes a pgsluice.toml to start from. */
import { chmod, writeFile } from "node:fs/promises";
import path from "node:path";
import readline from "node:readline/promises";
import { type Command, Option } from "commander";
import { OperationError } from "../base/errors.ts";
import { parseConninfo } from "../client/conninfo/conninfo.ts";
import { loadConfigFile } from "../config/file.ts";
import { parseConfig } from "../config/load.ts";
import { defaultSettings } from "../config/schema.ts";
import { type StarterAnswers, starterConfig } from "../config/starter.ts";
import { integerFlag, poolModeOption } from "./flags.ts";
import { schemaUrl } from "./package-files.ts";
import { upstreamsOf } from "./upstream.ts";

export interface InitFlags {
  readonly upstream?: string;
  readonly passwordEnv?: string;
  readonly listen?: string;
  readonly port?: number;
  readonly mode?: string;
  readonly force?: true;
}

const examples = `
Examples:
  pgsluice init
  pgsluice init --upstream postgres://app@db.example.com/app --password-env APP_PASSWORD
  pgsluice init --upstream postgres://app:secret@primary,standby/app /etc/pgsluice/pgsluice.toml

Without --upstream it asks, if somebody is there to answer. A file with a password in it is written so that only its
owner can read it.`;

/** Adds the command `init`. */
export function registerInit(program: Command): void {
  program
    .command("init")
    .summary("write a pgsluice.toml to start from")
    .description("Writes a commented pgsluice.toml to start from.")
    .argument("[file]", "the file to write", "pgsluice.toml")
    .addOption(
      new Option("--upstream <url>", "PostgreSQL to connect to; several hosts: a primary and its standbys"),
    )
    .option("--password-env <name>", "environment variable that holds the user's password")
    .option("--listen <addresses>", "addresses to listen on (listen_addr)")
    .option("--port <number>", "port to listen on (listen_port)", integerFlag(0, 65535))
    .addOption(poolModeOption())
    .option("--force", "overwrite the file if it is there")
    .addHelpText("after", examples)
    .action(init);
}

async function init(file: string, given: InitFlags): Promise<void> {
  const asks = given.upstream === undefined && process.stdin.isTTY;
  const flags = asks ? await askFor(given, process.stdin, process.stdout) : given;
  const answers = answersOf(file, flags);
  const text = starterConfig(answers);
  // Whatever is wrong with the answers is told before anything is written. The variable may be set where it runs.
  const { password } = answers;
  const here = typeof password === "object" ? starterConfig({ ...answers, password: "elsewhere" }) : text;
  parseConfig(here, path.dirname(path.resolve(file)), file);
  const holdsSecret = typeof answers.password === "string";
  await write(file, text, holdsSecret ? 0o600 : 0o644, flags.force === true);
  if (flags.passwordEnv === undefined || process.env[flags.passwordEnv] !== undefined)
    await loadConfigFile(file);
  process.stdout.write(
    `${file} is written${holdsSecret ? ", readable for you alone: there is a password in it" : ""}.\nNext: pgsluice check ${file}\n      pgsluice start --config ${file}\n`,
  );
}

/** Asks for what no flag has told. */
export async function askFor(
  given: InitFlags,
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
): Promise<InitFlags> {
  const terminal = readline.createInterface({ input, output });
  const ask = async (question: string, usual: string): Promise<string> => {
    const answer = (await terminal.question(`${question} [${usual}]: `)).trim();
    return answer === "" ? usual : answer;
  };
  try {
    const { listen_port: port, pool_mode: mode } = defaultSettings();
    const upstream = await ask("PostgreSQL to connect to", "postgres://127.0.0.1:5432");
    const { user = "", password = "" } = Object.fromEntries(parseConninfo(upstream));
    const needsPassword = user !== "" && password === "" && given.passwordEnv === undefined;
    const passwordEnv = needsPassword
      ? await ask(`Environment variable that holds the password of ${user}`, "none")
      : "none";
    return {
      ...given,
      upstream,
      ...(passwordEnv === "none" ? {} : { passwordEnv }),
      port: given.port ?? integerFlag(0, 65_535)(await ask("Port for clients", String(port))),
      mode: given.mode ?? (await ask("Pool mode", mode)),
    };
  } finally {
    terminal.close();
  }
}

function answersOf(file: string, flags: InitFlags): StarterAnswers {
  if (path.extname(file) === ".ini")
    throw refused(`init writes TOML, and ${file} would be read as PgBouncer's`, "Choose another name.");
  const { upstream, passwordEnv, listen, port, mode } = flags;
  const settings = { listen_addr: listen, listen_port: port, pool_mode: mode };
  const given = new Map(upstream === undefined ? [] : parseConninfo(upstream));
  const upstreams =
    upstream === undefined ? [{ host: "127.0.0.1", port: 5432, user: "" }] : upstreamsOf(upstream);
  const user = given.get("user");
  if (passwordEnv !== undefined && user === undefined)
    throw refused(
      "--password-env needs a user",
      "Name the user in --upstream: postgres://user@host/database",
    );
  return {
    upstreams: given.has("sslmode")
      ? upstreams
      : upstreams.map((server) => ({ ...server, sslmode: undefined })),
    database: given.get("dbname"),
    user,
    password: passwordEnv === undefined ? given.get("password") : { env: passwordEnv },
    settings: Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)),
    schemaUrl,
    file,
  };
}

/** Nobody but the owner can read a secret, not even for a moment. */
async function write(file: string, text: string, mode: number, force: boolean): Promise<void> {
  if (force) await chmod(file, mode).catch(() => undefined);
  try {
    await writeFile(file, text, { mode, flag: force ? "w" : "wx" });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST")
      throw refused(`${file} is there already`, "Choose another name, or overwrite it with --force.");
    throw refused(
      `${file} cannot be written: ${code ?? String(error)}`,
      "Choose a folder that you may write to.",
    );
  }
}

function refused(message: string, hint: string): OperationError {
  return new OperationError(message, { code: "cli.init", sqlstate: "F0000", source: "internal", hint });
}
