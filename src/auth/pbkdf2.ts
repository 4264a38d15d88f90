/**
 * The slow half of SCRAM: from a password to SaltedPassword. It takes milliseconds of a processor, so it runs
 * in Node's thread pool; the machines only ask for it (`kind: "derive"`) and are told the result.
 */
import { pbkdf2 } from "node:crypto";
import { createRequire } from "node:module";
import { promisify } from "node:util";
import type * as Saslprep from "@mongodb-js/saslprep";
import { assert } from "../base/assert.ts";
import { encodeText } from "../wire/text.ts";
import { scramIterationsMax, scramKeyBytes } from "./scram.ts";

const pbkdf2Async = promisify(pbkdf2);
/** For what is loaded when it is first needed: tables of all of Unicode, for passwords that are not ASCII. */
const load = createRequire(import.meta.url);

/**
 * SaltedPassword of RFC 5802: PBKDF2-HMAC-SHA-256 of the prepared password; 32 bytes.
 *
 * Rejects with OperationError `wire.nul_in_text` (22021) if the password holds U+0000.
 */
export async function saltedPassword(password: string, salt: Buffer, iterations: number): Promise<Buffer> {
  assert(Number.isInteger(iterations) && iterations >= 1, "PBKDF2 takes at least one round");
  assert(iterations <= scramIterationsMax, "the rounds of PBKDF2 are bounded before they are asked for");
  return pbkdf2Async(encodeText(preparePassword(password)), salt, iterations, scramKeyBytes, "sha256");
}

/**
 * SASLprep (RFC 4013) as PostgreSQL applies it (saslprep.c, fe-auth-scram.c): ASCII stays as it is, and a
 * password with prohibited or unassigned characters, or of which nothing would be left, is taken raw.
 */
export function preparePassword(password: string): string {
  // eslint-disable-next-line no-control-regex
  if (/^[\x00-\x7f]*$/.test(password)) return password;
  const { saslprep } = load("@mongodb-js/saslprep") as typeof Saslprep;
  try {
    return saslprep(password) || password;
  } catch {
    return password;
  }
}
