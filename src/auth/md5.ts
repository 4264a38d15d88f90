/**
 * PostgreSQL's md5 authentication: `"md5" + md5(md5(password + user) + salt)` with a salt of four bytes per
 * connection (docs 54.2.1, md5_common.c). Weak by today's measure: the stored hash alone is enough to log in.
 */
import { createHash } from "node:crypto";
import { encodeText } from "../wire/text.ts";

/** The answer to AuthenticationMD5Password for a password in clear text. */
export function md5Response(user: string, password: string, salt: Buffer): string {
  return md5ResponseFromHash(md5Hash(user, password), salt);
}

/** The answer to AuthenticationMD5Password for a stored hash (32 hexadecimal digits, without `md5`). */
export function md5ResponseFromHash(hash: string, salt: Buffer): string {
  return `md5${createHash("md5").update(hash, "latin1").update(salt).digest("hex")}`;
}

/**
 * The stored hash of a password, without `md5`: the user name is its salt.
 *
 * @throws OperationError `wire.nul_in_text` (22021) if either holds U+0000, which PostgreSQL cannot take.
 */
export function md5Hash(user: string, password: string): string {
  return createHash("md5").update(encodeText(password)).update(encodeText(user)).digest("hex");
}
