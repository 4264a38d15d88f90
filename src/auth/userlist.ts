/**
 * PgBouncer's auth_file, one user a line:
 *
 *     "name" "secret" anything else up to the end of the line is ignored
 *     ; a comment
 *
 * A double quote inside is written twice. The secret is a password, an md5 hash or a SCRAM secret. Unlike
 * PgBouncer, which logs a broken line and forgets all that follow it, a broken file is refused as a whole:
 * half of the users able to log in is harder to notice.
 */
import { OperationError } from "../base/errors.ts";
import type { Secret } from "./secret.ts";
import { parseSecret } from "./secret.ts";

/** PgBouncer's MAX_USERNAME - 1. */
const userBytesMax = 127;
/** PgBouncer's limit for a secret since long passwords came. */
const secretBytesMax = 65_530;

/**
 * The users of an auth_file and their secrets; of two lines for one user the later counts.
 *
 * @throws OperationError `auth.userlist`, F0000 (config_file_error), with the number of the line and no secret.
 */
export function parseUserlist(text: string): Map<string, Secret> {
  const users = new Map<string, Secret>();
  const reader = new UserlistReader(text);
  while (reader.nextLine()) {
    const user = reader.quoted("user name");
    if (user === "") throw reader.broken("the user name is empty");
    if (Buffer.byteLength(user) > userBytesMax) {
      throw reader.broken(`the user name is longer than ${userBytesMax} bytes`);
    }
    const secret = reader.quoted("secret");
    if (Buffer.byteLength(secret) > secretBytesMax) {
      throw reader.broken(`the secret is longer than ${secretBytesMax} bytes`);
    }
    users.set(user, parseSecret(secret));
    reader.skipLine();
  }
  return users;
}

class UserlistReader {
  readonly #text: string;
  #position = 0;

  constructor(text: string) {
    this.#text = text.startsWith("\ufeff") ? text.slice(1) : text;
  }

  /** Goes to the next line that holds a user; false at the end of the file. */
  nextLine(): boolean {
    for (;;) {
      this.#skipBlanks(/\s*/y);
      if (this.#position >= this.#text.length) return false;
      if (this.#text[this.#position] !== ";") return true;
      this.skipLine();
    }
  }

  skipLine(): void {
    const end = this.#text.indexOf("\n", this.#position);
    this.#position = end < 0 ? this.#text.length : end + 1;
  }

  /** Reads one quoted text, with blanks of the same line before it. */
  quoted(what: string): string {
    this.#skipBlanks(/[^\S\n]*/y);
    if (this.#text[this.#position] !== '"') throw this.broken(`a ${what} in double quotes was expected`);
    let end = this.#position + 1;
    for (;;) {
      end = this.#text.indexOf('"', end);
      if (end < 0) throw this.broken(`the ${what} has no closing quote`);
      if (this.#text[end + 1] !== '"') break;
      end += 2;
    }
    const inner = this.#text.slice(this.#position + 1, end);
    if (inner.includes("\n") || inner.includes("\0")) {
      throw this.broken(`the ${what} holds a line break or a zero byte: is a quote missing?`);
    }
    this.#position = end + 1;
    return inner.replaceAll('""', '"');
  }

  broken(problem: string): OperationError {
    const line = this.#text.slice(0, this.#position).split("\n").length;
    return new OperationError(`broken auth file: line ${line}: ${problem}`, {
      code: "auth.userlist",
      sqlstate: "F0000",
      source: "internal",
    });
  }

  #skipBlanks(pattern: RegExp): void {
    pattern.lastIndex = this.#position;
    this.#position += pattern.exec(this.#text)?.[0].length ?? 0;
  }
}
