/** What becomes of a setting of PgBouncer: the form of the tables in globals.ts and names.ts. */
import type { ValueKind } from "./values.ts";

interface Common {
  /** PgBouncer's default as it is written; undefined: not set. */
  readonly default?: string;
}

/** Name and meaning are ours too. */
interface Same extends Common {
  readonly verdict: "same";
  /** How the text becomes the value, where its type alone does not say. */
  readonly convert?: (text: string) => unknown;
  /** Where the meaning differs in something. */
  readonly doc?: string;
}

/** The meaning is there under another name. */
interface Renamed extends Common {
  readonly verdict: "renamed";
  readonly to: string;
  readonly convert?: (text: string) => string;
  readonly doc: string;
}

/** Nothing that clients or servers would notice depends on it here: accepted, and named once in the log. */
interface Inert extends Common {
  readonly verdict: "inert";
  readonly kind: ValueKind;
  readonly doc: string;
}

/** Refused by name, unless the value asks for nothing. */
interface Unsupported extends Common {
  readonly verdict: "unsupported";
  readonly kind: ValueKind;
  /** Values besides the default that ask for nothing. */
  readonly harmless?: readonly string[];
  /** What to do about it. */
  readonly doc: string;
}

export type SettingVerdict = Same | Renamed | Inert | Unsupported;

/** Settings of one section by their names. */
export type VerdictTable = Readonly<Record<string, SettingVerdict>>;
