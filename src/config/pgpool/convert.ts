/**
 * `pgsluice convert pgpool.conf`: the files that do with pgsluice what pgpool-II did, as far as it can be done. Reads
 * pgpool.conf with what it includes, and the pool_hba.conf and pool_passwd that belong to it.
 */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { stringify } from "smol-toml";
import { ConfigError, reasonOf } from "../errors.ts";
import { defaultSettings } from "../schema.ts";
import { type PgpoolLine, parsePgpoolConf } from "./grammar.ts";
import { type MappedPgpool, mapPgpool, type Remark } from "./mapping.ts";
import { type ConvertedUsers, convertPasswords } from "./passwords.ts";
import { convertRules } from "./rules.ts";

/** A file to be written beside the others. */
export interface ConvertedFile {
  readonly name: string;
  readonly text: string;
  /** Nobody but the owner may read it. */
  readonly secret: boolean;
}

const rulesName = "pg_hba.conf";
const usersName = "userlist.txt";
/** Deeper ones are a circle. */
const includesMax = 10;

/** The first is pgsluice.toml; the others are what it names. @throws {ConfigError} a file that cannot be read. */
export async function convertPgpool(file: string, schemaUrl: string): Promise<ConvertedFile[]> {
  const mapped = mapPgpool(await readLines(file), file);
  const { pgsluice, nodes } = mapped;
  const remarks: Remark[] = [...mapped.remarks];
  const further: ConvertedFile[] = [];
  const users = await usersOf(mapped);
  if (users !== undefined && users.count > 0) {
    further.push({ name: usersName, text: users.text, secret: true });
    pgsluice["auth_file"] = usersName;
  }
  if (mapped.usesRules) {
    const rules = await rulesOf(file, mapped, remarks);
    // A rule for LDAP may hold a password.
    further.push({ name: rulesName, text: rules, secret: rules.includes("ldapbindpasswd") });
    pgsluice["auth_type"] = "hba";
    pgsluice["auth_hba_file"] = rulesName;
  } else {
    // An md5 hash cannot answer SCRAM.
    pgsluice["auth_type"] = users !== undefined && users.md5Count > 0 ? "md5" : "scram-sha-256";
  }
  remarkUsers(mapped, users, remarks);
  const toml = `${header(file, schemaUrl, remarks)}\n\n${stringify({ pgsluice: withoutDefaults(pgsluice), nodes })}\n`;
  return [{ name: "pgsluice.toml", text: toml, secret: false }, ...further];
}

async function readLines(file: string, depth: number = 0): Promise<PgpoolLine[]> {
  const { lines, wrong } = parsePgpoolConf(await read(file));
  if (wrong !== undefined) {
    const problem = "syntax error: neither name = value nor a comment";
    throw new ConfigError(file, [{ key: "", problem, place: `${file}:${wrong}` }]);
  }
  const result: PgpoolLine[] = [];
  for (const line of lines) {
    if (line.name !== "include") result.push(line);
    else if (depth < includesMax)
      result.push(...(await readLines(path.resolve(path.dirname(file), line.value), depth + 1)));
    else
      throw new ConfigError(file, [
        { key: "include", problem: `files are included more than ${includesMax} deep` },
      ]);
  }
  return result;
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new ConfigError(file, [{ key: "", problem: `cannot be read: ${reasonOf(error)}` }], error);
  }
}

/** pgpool-II makes an empty file if there is none. */
async function usersOf({ usersFile }: MappedPgpool): Promise<ConvertedUsers | undefined> {
  if (usersFile === "") return undefined;
  try {
    return convertPasswords(await readFile(usersFile, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new ConfigError(usersFile, [{ key: "", problem: `cannot be read: ${reasonOf(error)}` }], error);
  }
}

async function rulesOf(file: string, { pgsluice }: MappedPgpool, remarks: Remark[]): Promise<string> {
  const folder = path.dirname(path.resolve(file));
  const source = path.join(folder, "pool_hba.conf");
  const hasAuthorities = pgsluice["client_tls_ca_file"] !== undefined;
  const { text, remarks: changes } = convertRules(await read(source), folder, hasAuthorities);
  for (const change of changes) remarks.push({ text: `${source}:${change.line}: ${change.text}.` });
  return text;
}

function remarkUsers(mapped: MappedPgpool, users: ConvertedUsers | undefined, remarks: Remark[]): void {
  for (const user of users?.lost ?? []) {
    remarks.push({
      text: `The password of ${JSON.stringify(user)} in pool_passwd is encrypted with AES and cannot be converted: add it to ${usersName}, from pg_enc's input or anew.`,
    });
  }
  if ((users?.count ?? 0) === 0) {
    remarks.push({
      text: "pgpool-II could leave it to the servers to ask for passwords. Here users must be known: by auth_file, by [users.NAME], or by auth_user and auth_query, which look them up in PostgreSQL.",
    });
  } else if ((users?.md5Count ?? 0) > 0) {
    remarks.push({
      text: "With an md5 hash nobody can log in where SCRAM is asked for, by a rule here or by the server. PostgreSQL's SCRAM secrets (pg_authid.rolpassword) can stand in the list instead.",
    });
  }
  if (!mapped.usesRules)
    remarks.push({
      text: "Without pool_hba.conf, who may come from where is not asked: set auth_hba_file to do it.",
    });
}

function header(file: string, schemaUrl: string, remarks: readonly Remark[]): string {
  const lines = [`From ${file}, by pgsluice convert.`];
  for (const { line, text } of remarks)
    lines.push("", line === undefined ? text : `${file}:${line}: ${text}`);
  return `#:schema ${schemaUrl}\n\n${lines.map((line) => `# ${line}`.trimEnd()).join("\n")}`;
}

function withoutDefaults(settings: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const defaults: Readonly<Record<string, unknown>> = { ...defaultSettings() };
  return Object.fromEntries(Object.entries(settings).filter(([name, value]) => value !== defaults[name]));
}
