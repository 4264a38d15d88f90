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

/** A condition of the ledger: that no library of this server has declared the parameter of this (folded) name. */
export function isUndeclared(name: string): string {
  return `NOT EXISTS (SELECT FROM declared WHERE pg_catalog.lower(declared.name) OPERATOR(pg_catalog.=) ${name})`;
}

/** Rows of the ledger: what the session has set of all these, for as long as nobody has read the names. */
export const customSettingsPart: string = `SELECT 'u', named.name, pg_catalog.current_setting(named.name, true), ''
  FROM (SELECT DISTINCT pg_catalog.lower(found[1]) ${namesFrom}) AS named (name) WHERE ${isUndeclared("named.name")}`;

/** First column of rows that name a function which sets parameters whose names its body does not tell. */
export const hidingFunctionKind = "hiding_function";

// No name in quotes comes first, and what is set is not over with the transaction; or SET is put together for EXECUTE.
const hidden =
  "[[:<:]]set_config[[:space:]]*[(](?![[:space:]]*e?''[^'']*''[[:space:]]*,)(?![^;]*,[[:space:]]*true[[:space:]]*[)])|" +
  "[[:<:]]execute[[:>:]][^;]*''[[:space:]]*set[[:space:]]+(?:session[[:space:]]+)?[[:alnum:]_.\"]*(?:%|'')";

/** Names of these functions, and of those that name one of them. */
const hidingFunctions = `WITH own AS MATERIALIZED (
    SELECT proname, prosrc FROM pg_catalog.pg_proc WHERE oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND prosrc OPERATOR(pg_catalog.<>) ''
  ), hiding AS (SELECT DISTINCT proname FROM own WHERE prosrc OPERATOR(pg_catalog.~*) '${hidden}'
  ), pattern AS (
    SELECT pg_catalog.concat('[[:<:]](', pg_catalog.string_agg(proname::pg_catalog.text, '|'), ')[[:>:]]') AS callers FROM hiding WHERE proname OPERATOR(pg_catalog.~) '^[[:alnum:]_]+$'
  )
  SELECT proname FROM hiding UNION SELECT proname FROM own, pattern WHERE EXISTS (SELECT FROM hiding) AND prosrc OPERATOR(pg_catalog.~*) callers`;

export const hidingFunctionsQuery: string = `SELECT '${hidingFunctionKind}', '', proname FROM (${hidingFunctions}) AS found`;

/** As {@link customSettingsPart}: rows of the ledger that name these functions. */
export const hidingFunctionsPart: string = `SELECT 'f', proname::pg_catalog.text, '', '' FROM (${hidingFunctions}) AS found`;

/** SET put together for EXECUTE. */
const dynamic = /\bexecute\b[^;]{0,200}'\s*set\s+(?:session\s+)?["\w.]*(?:%|')/i;

/** Calls of set_config() in a text, with the name if that is a constant. */
const calls = /\bset_config\s*\(\s*(?:e?'([^']*)'\s*,)?/gi;

/** SET of a name with a point in it. What is no parameter, as in UPDATE t SET column.field = 1, is asked for in vain. */
const sets =
  /\bset\s+(?:(?:session|local)\s+)?("[^".]+\.[^"]+"|(?:"[^".]+"|[\w$]+)(?:\.(?:"[^".]+"|[\w$]+))+)\s*(?:=|to\b)/gi;

/**
 * Names of parameters that a text sets by SET or set_config(), and whether it also sets one whose name is no constant, for longer
 * than its transaction.
 */
export function namesIn(text: string): { readonly names: readonly string[]; readonly hidden: boolean } {
  const names: string[] = [];
  let hidden = dynamic.test(text);
  for (const { 0: call, 1: name, index } of text.matchAll(calls)) {
    if (name !== undefined) names.push(name);
    else if (!hidden) hidden = !isLocal(text.slice(index + call.length, index + call.length + callLengthMax));
  }
  for (const [, name = ""] of text.matchAll(sets)) names.push(name.replaceAll('"', ""));
  return { names, hidden };
}

const pieces = /'(?:[^']|'')*'|"(?:[^"]|"")*"|[(),[\]'"]/g;

/** Characters of a call that are looked at: a text of nothing but calls is read in no time all the same. */
const callLengthMax = 1000;

/** Whether the last argument of a call is a plain `true`. `text` begins with its arguments. */
function isLocal(text: string): boolean {
  let depth = 0;
  let commas = 0;
  let last = 0;
  for (const found of text.matchAll(pieces)) {
    const [piece] = found;
    // A quote without its end.
    if (piece === "'" || piece === '"') return false;
    if (piece === "(" || piece === "[") depth++;
    else if (depth > 0 && (piece === ")" || piece === "]")) depth--;
    else if (piece === ")") return commas === 2 && /^\s*true\s*$/i.test(text.slice(last, found.index));
    else if (piece === "," && depth === 0) {
      commas++;
      last = found.index + 1;
    }
  }
  return false;
}
