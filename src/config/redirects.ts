/** Entries of the lists that lead reads elsewhere, as in pgpool-II: `PATTERN:WHERE`, or `PATTERN:WHERE(SHARE)` for a part of them. */

export interface RedirectEntry {
  /** Of the whole name. */
  readonly pattern: RegExp;
  /** `primary`, `standby` or the name of a node. */
  readonly where: string;
  /** From 0 to 1. */
  readonly share: number;
}

/** Of a text that is no entry: what is wrong with it. */
export function redirectEntry(text: string): RedirectEntry | string {
  const parts = /^(.+):([^:()]+?)(?:\(([0-9.]+)\))?$/s.exec(text.trim());
  if (parts === null) return `${JSON.stringify(text)} is not like "pattern:node" or "pattern:node(0.5)"`;
  const [, pattern = "", where = "", ratio = "1"] = parts;
  const share = Number(ratio);
  if (!(share >= 0 && share <= 1)) return `${JSON.stringify(text)}: the share must be from 0 to 1`;
  try {
    return { pattern: new RegExp(`^(?:${pattern.trim()})$`), where: where.trim(), share };
  } catch (error) {
    return `${JSON.stringify(text)}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Settings with such entries; what the first of them says comes before the others. */
export const redirectLists = [
  "app_name_redirect_preference_list",
  "user_redirect_preference_list",
  "database_redirect_preference_list",
] as const;
