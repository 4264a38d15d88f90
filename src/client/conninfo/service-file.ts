/**
 * The service file: groups of parameters by name (PostgreSQL's manual, "The Connection Service File"; rules
 * of fe-connect.c, parseServiceInfo and parseServiceFile).
 *
 *     # comment
 *     [name]
 *     host=db.example.org
 *     port=5433
 *
 * Blanks count on both sides of `=`. The first group of the name is the one. Values never replace what was
 * given before, so of a keyword that comes twice the first counts. Errors name file and line, never what the
 * line holds.
 */
import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import type { Keywords } from "./grammar.ts";
import { badOption } from "./options.ts";
import { isConnectionKeyword } from "./parameters.ts";
import type { Sources } from "./sources.ts";

/** libpq reads lines into 1024 bytes, of which one is the final NUL and one must stay free. */
const lineBytesMax = 1022;

/** Where builds of libpq look if PGSYSCONFDIR is not set: Debian's, Red Hat's, PostgreSQL's own. */
const systemFolders = ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc"];

/**
 * Adds the parameters of the service that `keywords` or PGSERVICE names, if one does. Throws OperationError
 * `client.bad_option` (22023) if the file that PGSERVICEFILE names is missing, the service is in no file, or
 * its group has a line that is no parameter; what stands before that line has then been added.
 */
export function addService(keywords: Keywords, sources: Sources): void {
  const { environment, home, files } = sources;
  const service = keywords.get("service") ?? environment["PGSERVICE"];
  if (service === undefined) return;
  if (!files) {
    if (service === "") return;
    throw badOption('connection option "service" is not supported where no files are read');
  }
  const named = environment["PGSERVICEFILE"];
  const own = home === undefined ? undefined : path.join(home, ".pg_service.conf");
  const file = named ?? (own !== undefined && exists(own) ? own : undefined);
  if (file !== undefined && addGroup(keywords, file, service)) return;

  const systemFolder = environment["PGSYSCONFDIR"];
  const further = (systemFolder === undefined ? systemFolders : [systemFolder])
    .map((folder) => path.join(folder, "pg_service.conf"))
    .find(exists);
  if (further !== undefined && addGroup(keywords, further, service)) return;
  throw badOption(`definition of service "${service}" not found`);
}

function exists(file: string): boolean {
  try {
    statSync(file);
    return true;
  } catch {
    return false;
  }
}

/** Whether the file has the group. */
function addGroup(keywords: Keywords, file: string, service: string): boolean {
  let found = false;
  for (const [index, rawLine] of linesOf(file).entries()) {
    const where = `service file "${file}", line ${index + 1}`;
    if (Buffer.byteLength(rawLine) > lineBytesMax) {
      throw badOption(`line ${index + 1} too long in service file "${file}"`);
    }
    const line = rawLine.replace(/^[ \t\n\v\f\r]+|[ \t\n\v\f\r]+$/g, "");
    if (line === "" || line.startsWith("#")) continue;
    if (line.startsWith("[")) {
      if (found) return true;
      found = line.startsWith(`[${service}]`);
    } else if (found) {
      addLine(keywords, line, where);
    }
  }
  return found;
}

/** The lines, each with its line feed, which counts for the length. */
function linesOf(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    throw badOption(`service file "${file}" not found`);
  }
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function addLine(keywords: Keywords, line: string, where: string): void {
  if (line.startsWith("ldap")) throw badOption(`LDAP look-ups are not supported in ${where}`);
  const equals = line.indexOf("=");
  const keyword = line.slice(0, Math.max(0, equals));
  if (keyword === "service") {
    throw badOption(`nested service specifications not supported in ${where}`);
  }
  if (!isConnectionKeyword(keyword)) throw badOption(`syntax error in ${where}`);
  if (!keywords.has(keyword)) keywords.set(keyword, line.slice(equals + 1));
}
