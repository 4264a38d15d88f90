/**
 * The password file: which password belongs to which server (PostgreSQL's manual, "The Password File"; rules
 * of fe-connect.c, passwordFromFile).
 *
 *     # comment
 *     hostname:port:database:username:password
 *
 * A field may be `*`, which matches anything. A backslash quotes the next character. The first line that
 * matches counts. A file that others than its owner may read is not used.
 */
import { readFileSync, statSync } from "node:fs";

/** What a line has to match. */
export interface PasswordQuery {
  /** Names that the first field may have, any of them. */
  readonly hosts: readonly string[];
  /** As it was given, not as a number: `05432` is found only where the file says so. */
  readonly port: string;
  readonly database: string;
  readonly user: string;
}

export interface PasswordFile {
  /** The password of the first line that matches; empty if that line has none. */
  readonly find: (query: PasswordQuery) => string | undefined;
}

/**
 * Reads a password file; undefined if there is none, or if it cannot be read. The file is read at once and
 * synchronously, as libpq does. `warn` is told if it is there but not used.
 */
export function readPasswordFile(file: string, warn: (text: string) => void): PasswordFile | undefined {
  let text: string;
  try {
    const found = statSync(file);
    // On Windows the folder is protected.
    if (process.platform !== "win32") {
      if (!found.isFile()) {
        warn(`password file "${file}" is not a plain file`);
        return undefined;
      }
      if ((found.mode & 0o077) !== 0) {
        warn(`password file "${file}" has group or world access; permissions should be u=rw (0600) or less`);
        return undefined;
      }
    }
    text = readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
  const lines = text
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .map((line) => line.replace(/\r+$/, ""));
  return { find: (query) => findPassword(lines, query) };
}

function findPassword(lines: readonly string[], query: PasswordQuery): string | undefined {
  for (const line of lines) {
    for (const host of query.hosts) {
      const rest = [host, query.port, query.database, query.user].reduce(
        (text: string | undefined, token) => (text === undefined ? undefined : behindField(text, token)),
        line,
      );
      if (rest !== undefined) return unquote(rest);
    }
  }
  return undefined;
}

/** What follows the first field of `text` and its colon if the field matches (pwdfMatchesString). */
function behindField(text: string, token: string): string | undefined {
  if (text.startsWith("*:")) return text.slice(2);
  let position = 0;
  for (const character of token) {
    if (text[position] === "\\") position++;
    if (!text.startsWith(character, position)) return undefined;
    position += character.length;
  }
  return text[position] === ":" ? text.slice(position + 1) : undefined;
}

/** Up to the next bare colon; a backslash at the very end stands for itself. */
function unquote(text: string): string {
  let password = "";
  for (let position = 0; position < text.length && text[position] !== ":"; position++) {
    if (text[position] === "\\" && position + 1 < text.length) position++;
    password += text[position];
  }
  return password;
}
