/** The files of a configuration: whether they can be used, and who can read the secrets in them. */
import { readFile, stat } from "node:fs/promises";
import { parse } from "smol-toml";
import { Failure } from "../base/errors.ts";
import type { LoadedConfig } from "../config/file.ts";
import { exposureOf } from "../config/permissions.ts";
import { type Config, tableKinds } from "../config/schema.ts";
import { Credentials } from "../server/credentials.ts";
import { loadHostBasedRules, uselessRules } from "../server/hba.ts";
import { failed, problemLines, type Report, warned } from "./finding.ts";

/** The users of the configuration and of auth_file; none if it cannot be used. */
export async function readUsers(config: Config, report: Report): Promise<Credentials> {
  const credentials = new Credentials();
  try {
    credentials.replace(await Credentials.secretsOf(config));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const cure = 'Each line is "user" "secret", both in double quotes; a quote inside is written twice.';
    report(failed("files.userlist", "pgsluice.auth_file", error.message, cure));
  }
  return credentials;
}

export async function checkFiles(file: string, loaded: LoadedConfig, report: Report): Promise<void> {
  const { config, secretFiles } = loaded;
  await checkRules(config, report);
  const seen = new Set<string>();
  const guarded = async (path: string, what: string): Promise<void> => {
    if (path === "" || path === "system" || seen.has(path)) return;
    seen.add(path);
    await checkExposure(path, what, report);
  };
  if (await holdsSecret(file, config)) await guarded(file, "passwords");
  for (const { key, file: path } of secretFiles) await guarded(path, key);
  await guarded(config.pgsluice.auth_file, "secrets of users (auth_file)");
  await guarded(config.pgsluice.client_tls_key_file, "the key of client_tls_key_file");
  await guarded(config.pgsluice.server_tls_key_file, "the key of server_tls_key_file");
  for (const [name, node] of Object.entries(config.nodes))
    await guarded(node.server_tls_key_file ?? "", `the key of nodes.${name}.server_tls_key_file`);
}

async function checkRules(config: Config, report: Report): Promise<void> {
  try {
    const rules = await loadHostBasedRules(config.pgsluice);
    for (const place of uselessRules(rules, config.pgsluice)) {
      const problem = "a hostssl rule fits nobody: client_tls_sslmode is disable";
      report(warned("files.useless_rule", place, problem, "Offer TLS to clients, or write host."));
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    for (const line of problemLines(error)) {
      const [, place = "pgsluice.auth_hba_file", problem = line] = /^(.*?(?::\d+)?): (.*)$/.exec(line) ?? [];
      report(
        failed(
          "files.rules",
          place,
          problem,
          "Correct the line; docs/operations.md lists what is supported.",
        ),
      );
    }
  }
}

async function checkExposure(path: string, what: string, report: Report): Promise<void> {
  const exposure = exposureOf(await stat(path));
  if (exposure === "nobody") return;
  const who = exposure === "group" ? "its group" : "every user of this machine";
  const problem = `${who} can read or change it, and it holds ${what}`;
  report(warned("files.exposed", path, problem, `chmod 600 ${path}`));
}

/** Whether secrets stand in the configuration file itself. */
async function holdsSecret(file: string, config: Config): Promise<boolean> {
  const text = await readFile(file, "utf8");
  if (file.endsWith(".ini") || /^[ \t]*\[pgbouncer\]/m.test(text))
    return Object.values(config.databases).some(({ password }) => password !== undefined);
  const raw = parse(text);
  return tableKinds.some(({ name, named, declarations }) => {
    const secrets = Object.entries(declarations)
      .filter(([, declaration]) => declaration.type === "text" && declaration.secret === true)
      .map(([key]) => key);
    const tables = named ? Object.values(raw[name] ?? {}) : [raw[name] ?? {}];
    return (tables as Record<string, unknown>[]).some((table) =>
      secrets.some((key) => typeof table[key] === "string"),
    );
  });
}
