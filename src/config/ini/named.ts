/** One line of [databases], [users] or [peers]: its parameters, checked against the names that PgBouncer knows. */
import type { ConfigProblem } from "../errors.ts";
import { suggestion } from "../nearest.ts";
import { parseConnectString } from "./connect-string.ts";
import { type Place, placeText } from "./grammar.ts";
import { databaseVerdicts, peerVerdicts, userVerdicts } from "./names.ts";
import type { VerdictTable } from "./verdicts.ts";

export type NamedSection = "databases" | "users" | "peers";

export interface NamedEntry {
  readonly name: string;
  readonly place: Place;
  readonly table: VerdictTable;
  /** The last of several values of one name. */
  readonly values: ReadonlyMap<string, string>;
  readonly problems: readonly ConfigProblem[];
}

const tables: Readonly<Record<NamedSection, VerdictTable>> = {
  databases: databaseVerdicts,
  users: userVerdicts,
  peers: peerVerdicts,
};

export function readNamed(section: NamedSection, name: string, text: string, place: Place): NamedEntry {
  const table = tables[section];
  const problems: ConfigProblem[] = [];
  const complain = (key: string, problem: string): void => {
    problems.push({ key, problem, place: placeText(place) });
  };
  const quoted = JSON.stringify(name);
  const pairs = parseConnectString(text);
  if (typeof pairs === "string") {
    complain(quoted, pairs);
    return { name, place, table, values: new Map(), problems };
  }
  for (const [key] of pairs) {
    if (Object.hasOwn(table, key)) continue;
    complain(`${quoted}: ${key}`, `unknown parameter${suggestion(key, Object.keys(table))}`);
  }
  return { name, place, table, values: new Map(pairs), problems };
}
