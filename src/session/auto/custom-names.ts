/**
 * Names of parameters that nobody has declared, `a.b`, in the bodies of the database's functions. No catalog lists
 * what a session has set of them; so the ledger has to know for which to ask.
 */

/** Names that one database is asked for. */
const namesMax = 100;

/** First column of the rows of {@link customNamesQuery}; the third has the name. */
export const customNameKind = "custom_name";

// Without a backslash: the server's strings may be of the old kind.
const identifier = "[[:alpha:]_][[:alnum:]_$]*";
const before =
  "(?:set_config|current_setting)[[:space:]]*[(][[:space:]]*''|set[[:space:]]+(?:session[[:space:]]+|local[[:space:]]+)?";

const namesFrom = `FROM pg_catalog.pg_proc, LATERAL pg_catalog.regexp_matches(prosrc, '(?:${before})(${identifier}(?:[.]${identifier})+)', 'gi') AS found
  WHERE pronamespace OPERATOR(pg_catalog.<>) 11 AND prosrc OPERATOR(pg_catalog.~~*) '%set%' LIMIT ${namesMax}`;

export const customNamesQuery: string = `SELECT DISTINCT '${customNameKind}', '', pg_catalog.lower(found[1]) ${namesFrom}`;

/** Rows of the ledger: what the session has set of all these, for as long as nobody has read the names. */
export const customSettingsPart: string = `SELECT 's', name, pg_catalog.current_setting(name, true), 'user'
  FROM (SELECT DISTINCT pg_catalog.lower(found[1]) ${namesFrom}) AS named (name)`;

/** Calls of set_config() in a text, with the name if that is a constant. */
const calls = /\bset_config\s*\(\s*(?:e?'([^']*)'\s*,)?/gi;

/** SET of a name with a point in it. What is no parameter, as in UPDATE t SET column.field = 1, is asked for in vain. */
const sets =
  /\bset\s+(?:(?:session|local)\s+)?("[^".]+\.[^"]+"|(?:"[^".]+"|[\w$]+)(?:\.(?:"[^".]+"|[\w$]+))+)\s*(?:=|to\b)/gi;

/** Names of parameters that a text sets by SET or set_config(), and whether it also sets one whose name is no constant. */
export function namesIn(text: string): { readonly names: readonly string[]; readonly hidden: boolean } {
  const names: string[] = [];
  let hidden = false;
  for (const [, name] of text.matchAll(calls)) {
    if (name === undefined) hidden = true;
    else names.push(name);
  }
  for (const [, name = ""] of text.matchAll(sets)) names.push(name.replaceAll('"', ""));
  return { names, hidden };
}
