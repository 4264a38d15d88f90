/** Who can read a file with secrets in it. */
import type { Stats } from "node:fs";

/** Who may read or change a file besides its owner (and root): nobody, its group, or every user of the machine. */
export type Exposure = "nobody" | "group" | "everybody";

/**
 * By the rule of PostgreSQL for private keys (be-secure-common.c, check_ssl_key_file_permissions): nothing for
 * group and others, except that a file of root may be read by its group.
 */
export function exposureOf({ mode, uid }: Pick<Stats, "mode" | "uid">): Exposure {
  if (process.platform === "win32") return "nobody";
  if ((mode & 0o007) !== 0) return "everybody";
  const groupAllowed = uid === 0 ? 0o040 : 0;
  return (mode & 0o070 & ~groupAllowed) === 0 ? "nobody" : "group";
}
