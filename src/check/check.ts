/**
 * `pgsluice check`: everything about a configuration that can be found out before clients do.
 *
 * First what a start would refuse, by the very functions that a start calls; then what a start would not notice:
 * files that others can read, certificates that run out, settings that do nothing; then, unless `offline`, what the
 * servers say: whether they can be reached, let us in, are what the file says they are, and have room for the pools.
 */
import { ConfigError, reasonOf } from "../config/errors.ts";
import { type LoadedConfig, loadConfigFile } from "../config/file.ts";
import type { Config } from "../config/schema.ts";
import { findOnce } from "../server/discovery/discovery.ts";
import { checkCertificates } from "./certificates.ts";
import { checkFiles, readUsers } from "./files.ts";
import { type Finding, failed, type Report, warned } from "./finding.ts";
import { checkServers } from "./servers.ts";
import { checkSettings } from "./settings.ts";

export interface CheckOptions {
  /** Nothing is connected to. */
  readonly offline: boolean;
  /** Milliseconds since 1970: what certificates are held against. */
  readonly nowMs: number;
}

export interface CheckReport {
  /** No finding is an error. */
  readonly ok: boolean;
  /** Errors first. */
  readonly findings: readonly Finding[];
}

/** Checks a pgsluice.toml or a pgbouncer.ini. Does not throw for what is wrong with it. */
export async function checkFile(file: string, options: CheckOptions): Promise<CheckReport> {
  const findings: Finding[] = [];
  const report: Report = (finding) => {
    findings.push(finding);
  };
  try {
    await checkLoaded(file, await loadConfigFile(file), options, report);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    reportConfigError(error, report);
  }
  findings.sort((a, b) => Number(a.severity === "warning") - Number(b.severity === "warning"));
  return { ok: findings.every(({ severity }) => severity !== "error"), findings };
}

async function checkLoaded(
  file: string,
  loaded: LoadedConfig,
  options: CheckOptions,
  report: Report,
): Promise<void> {
  const { config, notices } = loaded;
  for (const notice of notices) {
    const [name, reason] = split(notice);
    report(warned("settings.ineffective", `${file}: ${name}`, `has no effect. ${reason}`, "Remove it."));
  }
  const credentials = await readUsers(config, report);
  await checkFiles(file, loaded, report);
  await checkCertificates(config, options.nowMs, report);
  checkSettings(config, credentials, report);
  if (options.offline) return;
  const found = await findNodes(config, report);
  if (found !== undefined) await checkServers(found, credentials, report);
}

/** The configuration with the nodes that `discovery` finds. */
async function findNodes(config: Config, report: Report): Promise<Config | undefined> {
  try {
    return await findOnce(config);
  } catch (error) {
    const { discovery } = config.pgsluice;
    const place = discovery === "dns" ? "pgsluice.discovery_host" : "pgsluice.patroni_urls";
    const cure = "Correct it, or find out why there is no answer: without one there are no nodes.";
    report(failed("servers.discovery", place, reasonOf(error), cure));
    return undefined;
  }
}

function split(notice: string): [string, string] {
  const colon = notice.indexOf(": ");
  return [notice.slice(0, colon), notice.slice(colon + 2)];
}

function reportConfigError({ file, problems }: ConfigError, report: Report): void {
  for (const { key, problem, place = file } of problems) {
    const where = key === "" ? place : `${place}: ${key}`;
    report(failed("config.invalid", where, problem, cureOf(key, problem)));
  }
}

function cureOf(key: string, problem: string): string {
  const [, meant] = /did you mean ([^?]+)\?/.exec(problem) ?? [];
  if (meant !== undefined) return `Write ${meant}.`;
  if (problem.startsWith("unknown ")) return "Remove it; docs/config.md lists what there is.";
  if (problem.includes("cannot be read"))
    return "Put the file there and let the pooler's user read it, or correct the path.";
  if (problem.includes("environment variable"))
    return "Set it in the environment that the pooler is started in.";
  return key === "" ? "Correct the line." : `Correct ${key}; docs/config.md says what it takes.`;
}
