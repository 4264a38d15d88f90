/**
 * Reads the files of host-based authentication for src/auth/hba, which does no input and output of its own, and
 * holds the rules against the rest of the configuration.
 */
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { type HostBasedRules, hbaError, readHostBasedRules } from "../auth/hba/hba.ts";
import { asksForRoles } from "../auth/hba/rules.ts";
import type { FileAnswer, FileRequest, Reading } from "../auth/hba/tokens.ts";
import type { Settings } from "../config/schema.ts";

/**
 * The rules that are to be in force; undefined if `auth_type` is another. Throws OperationError F0000 that
 * lists every mistake with its file and line.
 */
export async function loadHostBasedRules(settings: Settings): Promise<HostBasedRules | undefined> {
  if (settings.auth_type !== "hba") return undefined;
  const rules = await readFrom(readHostBasedRules(settings.auth_hba_file, settings.auth_ident_file));
  const certain = rules.rules.filter((rule) => rule.clientCertificate !== undefined);
  const missing =
    settings.client_tls_sslmode === "disable"
      ? 'client_tls_sslmode is "disable"'
      : settings.client_tls_ca_file === ""
        ? "client_tls_ca_file is not set"
        : undefined;
  if (missing !== undefined && certain.length > 0) {
    const problem = `no client could show a certificate: ${missing}`;
    throw hbaError(certain.map(({ file, line }) => ({ file, line, problem })));
  }
  const roles = settings.auth_user === "" ? rules.rules.filter(asksForRoles) : [];
  if (roles.length > 0) {
    const problem =
      "+role and samerole need auth_user: who is in which role is known to PostgreSQL only. Or name the users, or a file of them (@FILE)";
    throw hbaError(roles.map(({ file, line }) => ({ file, line, problem })));
  }
  const aimless = rules.rules.filter(({ method, ldap }) => method === "ldap" && ldap === undefined);
  if (settings.auth_ldap_options === "" && aimless.length > 0) {
    const problem = "ldap needs options, or auth_ldap_options";
    throw hbaError(aimless.map(({ file, line }) => ({ file, line, problem })));
  }
  return rules;
}

/** Rules that nobody can meet since there is no encryption, as `file:line`. PostgreSQL warns of them too. */
export function uselessRules(rules: HostBasedRules | undefined, settings: Settings): string[] {
  if (rules === undefined || settings.client_tls_sslmode !== "disable") return [];
  return rules.rules.filter(({ type }) => type === "hostssl").map(({ file, line }) => `${file}:${line}`);
}

/** Reads from the file system what a reader asks for, until it has its result. */
export async function readFrom<T>(reading: Reading<T>): Promise<T> {
  let step = reading.next();
  while (step.done !== true) step = reading.next(await answer(step.value));
  return step.value;
}

async function answer(request: FileRequest): Promise<FileAnswer> {
  const folder = request.from === undefined ? "" : path.dirname(request.from);
  const target = path.resolve(folder, request.name);
  try {
    if (request.kind === "file") return { kind: "text", path: target, text: await readFile(target, "utf8") };
    const entries = await readdir(target, { withFileTypes: true });
    const names = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
    return { kind: "names", path: target, names };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    return { kind: "unreadable", reason: code, missing: code === "ENOENT" };
  }
}
