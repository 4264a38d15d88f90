/**
 * What is stored of a user's password: the password itself, PostgreSQL's md5 hash of it, or a SCRAM secret.
 * The spellings are those of pg_authid.rolpassword, which PgBouncer's auth_file shares.
 */
import { assert } from "../base/assert.ts";
import { decodeBase64, parseIterations, scramKeyBytes, scramKeys, scramSha256, sha256 } from "./scram.ts";

/** A SCRAM secret: enough to check a client and to prove ourselves to it, not enough to log in as it. */
export interface ScramSecret {
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

/** A stored secret; `hash` is 32 lower-case hexadecimal digits without the prefix `md5`. */
export type Secret =
  | { readonly kind: "plain"; readonly password: string }
  | { readonly kind: "md5"; readonly hash: string }
  | { readonly kind: "scram"; readonly secret: ScramSecret };

/** Iterations are a signed 32-bit number in PostgreSQL (guc_tables.c scram_iterations). */
const iterationsStoredMax = 0x7fff_ffff;

/**
 * Tells the kind of a stored secret by its form, as PostgreSQL's get_password_type (crypt.c) does: what is
 * neither a well-formed md5 hash nor a well-formed SCRAM secret is a password in clear text.
 */
export function parseSecret(text: string): Secret {
  if (/^md5[0-9a-f]{32}$/.test(text)) return { kind: "md5", hash: text.slice(3) };
  const secret = parseScramSecret(text);
  return secret === undefined ? { kind: "plain", password: text } : { kind: "scram", secret };
}

/** `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (auth-scram.c parse_scram_secret), else undefined. */
function parseScramSecret(text: string): ScramSecret | undefined {
  const match = /^SCRAM-SHA-256\$([0-9]+):([^$:]+)\$([^$:]+):([^$:]+)$/.exec(text);
  if (match === null) return undefined;
  const [, iterationsText = "", saltText = "", storedKeyText = "", serverKeyText = ""] = match;
  // strtol takes leading zeros, so PostgreSQL stores such a secret as it was given.
  const iterations = parseIterations(iterationsText.replace(/^0+/, ""), iterationsStoredMax);
  const salt = decodeBase64(saltText);
  const storedKey = decodeBase64(storedKeyText);
  const serverKey = decodeBase64(serverKeyText);
  if (iterations === undefined || salt === undefined) return undefined;
  if (storedKey?.length !== scramKeyBytes || serverKey?.length !== scramKeyBytes) return undefined;
  return { iterations, salt, storedKey, serverKey };
}

/** The stored spelling of a SCRAM secret (scram-common.c scram_build_secret). */
export function formatScramSecret(secret: ScramSecret): string {
  const { iterations, salt, storedKey, serverKey } = secret;
  return `${scramSha256}$${iterations}:${salt.toString("base64")}$${storedKey.toString("base64")}:${serverKey.toString("base64")}`;
}

/** The secret to store for a salted password (see `saltedPassword` in pbkdf2.ts). */
export function buildScramSecret(saltedPassword: Buffer, salt: Buffer, iterations: number): ScramSecret {
  assert(saltedPassword.length === scramKeyBytes, "a salted password has 32 bytes");
  assert(salt.length > 0 && iterations >= 1, "a SCRAM secret has a salt and at least one round");
  const { clientKey, serverKey } = scramKeys(saltedPassword);
  return { iterations, salt, storedKey: sha256(clientKey), serverKey };
}
