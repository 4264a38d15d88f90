/**
 * Records of pg_ident.conf: which users a name outside of the database may act as (docs 20.2; hba.c
 * check_ident_usermap). Here that name stands in a client's certificate.
 */
import { fitsName, type NamePattern, nameOrRegex, RecordError, userPattern } from "./names.ts";
import type { Token, TokenLine } from "./tokens.ts";

export interface IdentEntry {
  readonly map: string;
  readonly systemUser: NamePattern;
  readonly databaseUser: NamePattern;
}

/** Where the text of the first group of the system user's regular expression is put. */
const firstGroup = "\\1";

/** Reads one record. Throws RecordError with what is wrong with it. */
export function parseIdentEntry({ fields }: TokenLine): IdentEntry {
  const [map, system, database, ...others] = fields.map((field) => singleOf(field));
  if (map === undefined || system === undefined || database === undefined) {
    throw new RecordError("a line has three fields: map, system user, database user");
  }
  if (others.length > 0) throw new RecordError(`"${others[0]?.text}" is one field too many`);
  const systemUser = nameOrRegex(system);
  const databaseUser = userPattern(database);
  if (databaseUser.kind === "member") {
    throw new RecordError(`"${database.text}" is not supported in maps; name the users`);
  }
  if (
    refersToGroup(systemUser, databaseUser) &&
    systemUser.kind === "regex" &&
    systemUser.regex.groups === 0
  ) {
    throw new RecordError(
      `"${firstGroup}" in "${database.text}" has nothing to refer to: there are no parentheses in "${systemUser.regex.source}"`,
    );
  }
  return { map: map.text, systemUser, databaseUser };
}

/** Whether an entry of a map lets the name in a certificate act as a user. */
export function isMapped(
  entries: readonly IdentEntry[],
  map: string,
  systemUser: string,
  user: string,
): boolean {
  return entries.some((entry) => entry.map === map && allows(entry, systemUser, user));
}

function allows({ systemUser, databaseUser }: IdentEntry, name: string, user: string): boolean {
  if (systemUser.kind !== "regex") return fitsName(systemUser, name) && fitsName(databaseUser, user);
  const match = systemUser.regex.match(name);
  if (match === undefined) return false;
  if (!refersToGroup(systemUser, databaseUser) || databaseUser.kind !== "name") {
    return fitsName(databaseUser, user);
  }
  // A group that took no part stands for no name. What is put in is a name, whatever it looks like.
  return match.group !== undefined && databaseUser.name.replace(firstGroup, () => match.group ?? "") === user;
}

function refersToGroup(systemUser: NamePattern, databaseUser: NamePattern): boolean {
  return (
    systemUser.kind === "regex" && databaseUser.kind === "name" && databaseUser.name.includes(firstGroup)
  );
}

function singleOf(field: readonly Token[]): Token {
  const [first, ...others] = field;
  if (first === undefined || others.length > 0) throw new RecordError("a field has more than one value");
  return first;
}
