/**
 * pool_passwd as PgBouncer's user list. A line is `user:secret`, where the secret is `md5…` as PostgreSQL has it, `TEXT`
 * and the password, `AES` and the password encrypted with a key that lies elsewhere, or the password itself.
 */

export interface ConvertedUsers {
  readonly text: string;
  /** How many users can log in, and how many by an md5 hash. */
  readonly count: number;
  readonly md5Count: number;
  /** Users whose entries cannot be read. */
  readonly lost: readonly string[];
}

export function convertPasswords(poolPasswd: string): ConvertedUsers {
  const lines: string[] = [];
  const lost: string[] = [];
  let count = 0;
  let md5Count = 0;
  for (const line of poolPasswd.split(/\r?\n/)) {
    const [whole, user = "", secret = ""] = /^([^:#][^:]*):(.*)$/.exec(line) ?? [];
    if (whole === undefined) continue;
    if (secret.startsWith("AES")) {
      lost.push(user);
      lines.push(`; ${JSON.stringify(user)}: encrypted with AES. Set the password anew: ${quoted(user)} "…"`);
      continue;
    }
    count++;
    if (/^md5[0-9a-f]{32}$/.test(secret)) md5Count++;
    lines.push(`${quoted(user)} ${quoted(secret.replace(/^TEXT/, ""))}`);
  }
  return { text: `${lines.join("\n")}\n`, count, md5Count, lost };
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}
