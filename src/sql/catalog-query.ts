/**
 * The question that a catalog is made of: which names of a database are not proven harmless. One SQL statement,
 * which any role may run; on a database without objects of its own it takes some milliseconds.
 *
 * What proves an object harmless is what pg_depend says of it. Dependencies on PostgreSQL's own objects are not
 * recorded there: so the stored expressions are searched for the numbers of its functions that leave something behind, and
 * of its views that tell of a session. Objects with numbers below 16384 (FirstNormalObjectId in the server's
 * access/transam.h) are PostgreSQL's own.
 *
 * *Quiet* functions leave nothing behind, but are not for everybody's pipeline: a write to a table that has them in triggers or
 * defaults is harmless, a read of a view that calls them is not. Whether a function in SQL or PL/pgSQL is quiet, its body says
 * (function-body.ts), as far as what it names is harmless; so the question is asked again as long as the last answer has
 * proven more of them quiet. Of some extensions it is known.
 *
 * Believed, because it takes a superuser to make them: functions in C, the in- and output functions of base types, operator
 * classes, access methods. Not asked: procedures and event triggers, as CALL and DDL are opaque always.
 */
import { builtinTraits } from "./builtin-functions.ts";
import { sessionViewNames } from "./system-views.ts";

/** Functions that may stand in a stored expression and do not make what holds it a matter of doubt. */
const plainTraits: ReadonlySet<string> = new Set(["immutable", "stable", "harmless", "node_local"]);

/** First column of the rows of {@link bodiesQuery}. */
export const bodyKind = "body";

const settings = `SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL statement_timeout = '30s';
SET LOCAL jit = off;
`;

/** Extensions whose functions in C are volatile, and give a value and nothing else. */
const quietExtensions = ["pgcrypto", "uuid-ossp"];

const question = (quiet: readonly string[]): string => `
WITH RECURSIVE
quiet AS (
  SELECT unnest(${arrayOf(quiet, "oid")}) AS oid
  UNION
  SELECT p.oid
  FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = ANY (${arrayOf(quietExtensions)})
    JOIN pg_catalog.pg_proc p ON p.oid = d.objid
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
  WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.deptype = 'e'
    AND d.refclassid = 'pg_catalog.pg_extension'::regclass
),
functions AS (
  SELECT p.oid, p.pronamespace, p.proname, p.prokind, p.prorettype, p.provolatile,
         l.lanname IN ('internal', 'c') AS compiled
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  WHERE p.oid >= 16384
),
plain_harmful AS (
  SELECT oid FROM functions WHERE prokind <> 'a' AND (NOT compiled OR provolatile = 'v')
),
harmful AS (
  SELECT oid FROM plain_harmful
  UNION
  SELECT a.aggfnoid::oid
  FROM pg_catalog.pg_aggregate a JOIN plain_harmful h
    ON h.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                 a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
),
listed AS (
  SELECT string_agg(oid::text, '|') FILTER (WHERE proname <> 'nextval') AS numbers,
         string_agg(oid::text, '|') FILTER (WHERE proname = 'nextval') AS nextval
  FROM pg_catalog.pg_proc
  WHERE oid < 16384 AND pronamespace = 'pg_catalog'::regnamespace
    AND proname = ANY (${arrayOf(harmfulNames())})
),
session_views AS (
  SELECT string_agg(oid::text, '|') AS numbers
  FROM pg_catalog.pg_class
  WHERE oid < 16384 AND relname = ANY (${arrayOf(sessionViewNames)})
),
patterns AS (
  SELECT ':funcid (' || listed.numbers || ') ' AS listed, ':funcid (' || nextval || ') ' AS nextval,
         ':relid (' || session_views.numbers || ') ' AS session_views
  FROM listed, session_views
),
operators AS (
  SELECT o.oid, o.oprnamespace, o.oprname
  FROM pg_catalog.pg_operator o JOIN harmful h ON h.oid = o.oprcode
),
suspects AS (
  SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN harmful h ON h.oid = d.refobjid
  WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass
  UNION
  SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN operators o ON o.oid = d.refobjid
  WHERE d.refclassid = 'pg_catalog.pg_operator'::regclass
),
type_parts AS (
  SELECT oid AS whole, typbasetype AS part FROM pg_catalog.pg_type WHERE oid >= 16384 AND typbasetype <> 0
  UNION ALL
  SELECT oid, typelem FROM pg_catalog.pg_type WHERE oid >= 16384 AND typelem <> 0
  UNION ALL
  SELECT rngtypid, rngsubtype FROM pg_catalog.pg_range WHERE rngtypid >= 16384
  UNION ALL
  SELECT c.reltype, a.atttypid
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  WHERE a.atttypid >= 16384 AND c.reltype <> 0 AND NOT a.attisdropped
  UNION ALL
  SELECT k.contypid, d.refobjid
  FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_depend d
    ON d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = k.oid
   AND d.refclassid = 'pg_catalog.pg_type'::regclass
  WHERE k.contypid <> 0 AND d.refobjid <> k.contypid
),
types AS (
  SELECT k.contypid AS oid
  FROM pg_catalog.pg_constraint k CROSS JOIN patterns
  WHERE k.contypid <> 0
    AND (EXISTS (SELECT FROM suspects s WHERE s.classid = 'pg_catalog.pg_constraint'::regclass AND s.objid = k.oid)
         OR k.conbin::text ~ patterns.listed)
  UNION
  SELECT parts.whole FROM type_parts parts JOIN types ON types.oid = parts.part
),
of_types AS (
  SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN types t ON t.oid = d.refobjid
  WHERE d.refclassid = 'pg_catalog.pg_type'::regclass
),
doubtful AS (
  SELECT classid, objid FROM suspects UNION SELECT classid, objid FROM of_types
),
noisy AS (
  SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN harmful h ON h.oid = d.refobjid
  WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass AND h.oid NOT IN (SELECT oid FROM quiet)
  UNION
  SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN operators o ON o.oid = d.refobjid
  WHERE d.refclassid = 'pg_catalog.pg_operator'::regclass
  UNION
  SELECT classid, objid FROM of_types
),
read_parts AS (
  SELECT r.ev_class AS whole, d.refobjid AS part
  FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d
    ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
   AND d.refclassid = 'pg_catalog.pg_class'::regclass
  WHERE r.ev_type = '1'
  UNION ALL
  SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits
),
policies AS (
  SELECT p.polrelid AS oid
  FROM pg_catalog.pg_policy p CROSS JOIN patterns
  WHERE EXISTS (SELECT FROM doubtful s WHERE s.classid = 'pg_catalog.pg_policy'::regclass AND s.objid = p.oid)
     OR p.polqual::text ~ patterns.listed OR p.polwithcheck::text ~ patterns.listed
     OR p.polqual::text ~ patterns.session_views
     -- It may read relations that are not harmless themselves.
     OR p.polqual::text ~ 'SUBLINK' OR p.polwithcheck::text ~ 'SUBLINK'
),
reads AS (
  SELECT r.ev_class AS oid
  FROM pg_catalog.pg_rewrite r CROSS JOIN patterns
  WHERE r.ev_class >= 16384 AND r.ev_type = '1'
    AND (EXISTS (SELECT FROM doubtful s WHERE s.classid = 'pg_catalog.pg_rewrite'::regclass AND s.objid = r.oid)
         OR r.ev_action::text ~ patterns.listed OR r.ev_action::text ~ patterns.nextval
         OR r.ev_action::text ~ patterns.session_views)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_class m WHERE m.oid = r.ev_class AND m.relkind = 'm')
  UNION
  SELECT oid FROM pg_catalog.pg_class WHERE oid >= 16384 AND relkind = 'f'
  UNION
  SELECT p.oid FROM policies p JOIN pg_catalog.pg_class c ON c.oid = p.oid AND c.relrowsecurity
  UNION
  SELECT parts.whole FROM read_parts parts JOIN reads ON reads.oid = parts.part
),
write_parts AS (
  SELECT inhparent AS whole, inhrelid AS part FROM pg_catalog.pg_inherits
  UNION ALL
  SELECT confrelid, conrelid FROM pg_catalog.pg_constraint
  WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))
),
writes AS (
  SELECT oid FROM pg_catalog.pg_class WHERE oid >= 16384 AND relkind IN ('v', 'f')
  UNION
  SELECT oid FROM policies
  UNION
  SELECT ev_class FROM pg_catalog.pg_rewrite WHERE ev_class >= 16384 AND ev_type <> '1'
  UNION
  SELECT objid FROM noisy WHERE classid = 'pg_catalog.pg_class'::regclass
  UNION
  SELECT i.indrelid
  FROM pg_catalog.pg_index i JOIN noisy s ON s.classid = 'pg_catalog.pg_class'::regclass AND s.objid = i.indexrelid
  UNION
  SELECT k.conrelid FROM pg_catalog.pg_constraint k CROSS JOIN patterns
  WHERE k.conrelid >= 16384
    AND (EXISTS (SELECT FROM noisy s WHERE s.classid = 'pg_catalog.pg_constraint'::regclass AND s.objid = k.oid)
         OR k.conbin::text ~ patterns.listed)
  UNION
  SELECT a.adrelid FROM pg_catalog.pg_attrdef a CROSS JOIN patterns
  WHERE a.adrelid >= 16384
    AND (EXISTS (SELECT FROM noisy s WHERE s.classid = 'pg_catalog.pg_attrdef'::regclass AND s.objid = a.oid)
         OR a.adbin::text ~ patterns.listed)
  UNION
  SELECT t.tgrelid FROM pg_catalog.pg_trigger t CROSS JOIN patterns
  WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
    AND (EXISTS (SELECT FROM noisy s WHERE s.classid = 'pg_catalog.pg_trigger'::regclass AND s.objid = t.oid)
         OR t.tgqual::text ~ patterns.listed)
  UNION
  SELECT parts.whole FROM write_parts parts JOIN writes ON writes.oid = parts.part
),
sequences AS (
  SELECT a.adrelid AS oid FROM pg_catalog.pg_attrdef a CROSS JOIN patterns WHERE a.adbin::text ~ patterns.nextval
  UNION
  SELECT attrelid FROM pg_catalog.pg_attribute WHERE attidentity <> '' AND NOT attisdropped
),
relations AS (
  SELECT 'relation_read' AS kind, oid FROM reads
  UNION ALL
  SELECT 'relation_write', oid FROM writes
  UNION ALL
  SELECT 'relation_sequence', oid FROM sequences
),
rows AS (
  SELECT CASE WHEN h.oid IS NULL THEN 'function_plain' WHEN f.oid IN (SELECT oid FROM quiet) THEN 'function_quiet' WHEN f.provolatile = 'v' OR f.prokind = 'a' THEN 'function'
              ELSE 'function_stable' END AS kind,
         f.pronamespace AS namespace, f.proname AS name
  FROM functions f LEFT JOIN harmful h ON h.oid = f.oid
  WHERE f.prokind <> 'p' AND f.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
  UNION
  SELECT 'operator', oprnamespace, oprname FROM operators
  UNION
  SELECT 'type', t.typnamespace, t.typname FROM types JOIN pg_catalog.pg_type t ON t.oid = types.oid
  UNION
  SELECT 'cast', 11, 'cast' FROM pg_catalog.pg_cast k JOIN harmful h ON h.oid = k.castfunc
  UNION
  SELECT r.kind, c.relnamespace, c.relname FROM relations r JOIN pg_catalog.pg_class c ON c.oid = r.oid
)
SELECT rows.kind, n.nspname, rows.name
FROM rows JOIN pg_catalog.pg_namespace n ON n.oid = rows.namespace
ORDER BY 1, 2, 3`;

/**
 * For the simple protocol; its one result has rows of kind, schema and name, and `Catalog` says what they mean. `quiet`: numbers
 * of functions that leave nothing behind. The search path is set because the session may be a client's, whose path may lead to
 * operators of users; the rest is against what a database of very many objects could cost. Statements of one Query
 * are one transaction, so all of it is over afterwards, whatever happens.
 */
export function catalogQuery(quiet: readonly string[]): string {
  return `${settings}${question(quiet).trim()}`;
}

/** Bodies of functions that may be quiet: kind, number, language, source. */
export const bodiesQuery: string = `SET LOCAL search_path = pg_catalog, pg_temp;
SELECT '${bodyKind}', p.oid::text, l.lanname, p.prosrc
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.oid >= 16384 AND p.prokind = 'f' AND l.lanname IN ('sql', 'plpgsql')
  AND length(p.prosrc) BETWEEN 1 AND 20000 AND p.prosrc !~* '[[:<:]]execute[[:>:]]'
ORDER BY p.oid LIMIT 2000`;

/** First column of the one row of {@link changesQuery}; the third has the count. */
export const changesKind = "changes";

/** Catalogs that the question asks for all that they hold, and such of which only what is changed in a row matters. */
const watchedWholly =
  "pg_proc pg_trigger pg_rewrite pg_policy pg_operator pg_cast pg_type pg_inherits pg_foreign_table pg_attrdef pg_constraint pg_index";
const watchedForUpdates = "pg_class pg_attribute pg_namespace";

/**
 * How often rows of the catalogs that matter have been changed, as PostgreSQL's cumulative statistics count it: another number
 * than before if there has been DDL that may make another catalog, and also for any new table, as that is a type.
 */
export const changesQuery: string = `SELECT '${changesKind}', '', pg_catalog.sum(counted.times)
FROM pg_catalog.unnest(ARRAY[${[
  ...watchedWholly.split(" ").flatMap((name) => ["inserted", "updated", "deleted"].map(countOf(name))),
  ...watchedForUpdates.split(" ").flatMap((name) => ["updated"].map(countOf(name))),
].join(", ")}]) AS counted (times)`;

function countOf(name: string): (what: string) => string {
  return (what) => `pg_catalog.pg_stat_get_tuples_${what}('pg_catalog.${name}'::pg_catalog.regclass)`;
}

function harmfulNames(): string[] {
  return [...builtinTraits()].flatMap(([name, trait]) => (plainTraits.has(trait) ? [] : [name]));
}

function arrayOf(values: Iterable<string>, type = "name"): string {
  return `'{${[...values].join(",")}}'::pg_catalog.${type}[]`;
}
