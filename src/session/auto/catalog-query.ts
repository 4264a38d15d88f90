/**
 * What a database holds that may do more than its name says: the rows that sql/catalog.ts asks for.
 *
 * *Doubtful* is every function of users that runs SQL, whatever it declares, and those in C that are volatile. From there
 * doubt spreads: to operators, casts, domains, and to relations by their triggers, rules, policies, defaults, checks
 * and indexes; from a table to what cascades into it, to its parents and to views of it. Built-in functions leave no
 * trace in pg_depend, so those that act on a session are looked for by name in the definitions.
 */

/** Objects below are PostgreSQL's own (access/transam.h FirstNormalObjectId). */
const firstOfUsers = 16384;

const acting =
  "set_config|setseed|advisory_lock|setval|currval|lastval|replication_origin|pg_backup|lo_open|_to_xml|_xact_|dblink";

const doubtfulFunctions = `SELECT p.oid, n.nspname, p.proname, l.lanname NOT IN ('c', 'internal') AS runs_sql, p.provolatile
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  WHERE p.oid >= ${firstOfUsers}`;

/** Reads or writes of a relation that may run doubtful code: `relation`, `reads`, `writes`. */
const direct = `SELECT t.tgrelid AS relation, false AS reads, true AS writes FROM pg_catalog.pg_trigger t
    WHERE NOT t.tgisinternal AND t.tgfoid >= ${firstOfUsers}
  UNION ALL SELECT r.ev_class, r.ev_type = '1', r.ev_type <> '1' FROM pg_catalog.pg_rewrite r
    WHERE r.oid >= ${firstOfUsers} AND (r.ev_type <> '1' OR pg_catalog.pg_get_ruledef(r.oid) ~* '${acting}|nextval'
      OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN doubtful_objects o ON o.class = d.refclassid AND o.oid = d.refobjid
        WHERE d.classid = 2618 AND d.objid = r.oid))
  UNION ALL SELECT p.polrelid, true, true FROM pg_catalog.pg_policy p
    WHERE (coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') || coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), '')) ~* '${acting}|nextval'
      OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN doubtful_objects o ON o.class = d.refclassid AND o.oid = d.refobjid
        WHERE d.classid = 3256 AND d.objid = p.oid)
  UNION ALL SELECT a.adrelid, false, true FROM pg_catalog.pg_attrdef a
    WHERE pg_catalog.pg_get_expr(a.adbin, a.adrelid) ~* '${acting}'
      OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN doubtful_objects o ON o.class = d.refclassid AND o.oid = d.refobjid
        WHERE d.classid = 2604 AND d.objid = a.oid)
  UNION ALL SELECT c.conrelid, false, true FROM pg_catalog.pg_constraint c
    WHERE c.contype = 'c' AND c.conrelid <> 0 AND c.oid >= ${firstOfUsers} AND (pg_catalog.pg_get_constraintdef(c.oid) ~* '${acting}|nextval'
      OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN doubtful_objects o ON o.class = d.refclassid AND o.oid = d.refobjid
        WHERE d.classid = 2606 AND d.objid = c.oid))
  UNION ALL SELECT i.indrelid, false, true FROM pg_catalog.pg_index i
    WHERE i.indexrelid >= ${firstOfUsers} AND EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN doubtful_objects o
      ON o.class = d.refclassid AND o.oid = d.refobjid WHERE d.classid = 1259 AND d.objid = i.indexrelid)
  UNION ALL SELECT a.attrelid, false, true FROM pg_catalog.pg_attribute a JOIN doubtful_objects o ON o.class = 1247 AND o.oid = a.atttypid
  UNION ALL SELECT f.ftrelid, true, true FROM pg_catalog.pg_foreign_table f`;

/** Whatever is done to `cause` may happen by what is done to `relation`. */
const edges = `SELECT c.conrelid AS cause, c.confrelid AS relation, false AS reads FROM pg_catalog.pg_constraint c
    WHERE c.contype = 'f' AND (c.confdeltype IN ('c', 'n', 'd') OR c.confupdtype IN ('c', 'n', 'd'))
  UNION ALL SELECT i.inhrelid, i.inhparent, true FROM pg_catalog.pg_inherits i
  UNION ALL SELECT DISTINCT d.refobjid, r.ev_class, true FROM pg_catalog.pg_rewrite r
    JOIN pg_catalog.pg_depend d ON d.classid = 2618 AND d.objid = r.oid AND d.refclassid = 1259 AND d.refobjid <> r.ev_class
    WHERE r.oid >= ${firstOfUsers}`;

const sequences = `SELECT a.adrelid AS relation FROM pg_catalog.pg_attrdef a WHERE pg_catalog.pg_get_expr(a.adbin, a.adrelid) ~* 'nextval'
  UNION SELECT a.attrelid FROM pg_catalog.pg_attribute a WHERE a.attidentity <> '' AND a.attrelid >= ${firstOfUsers}`;

/** Columns kind, schema, name. To be run with pg_catalog first in the search path. */
export const catalogQuery: string = `WITH RECURSIVE functions AS MATERIALIZED (${doubtfulFunctions}),
doubtful AS MATERIALIZED (SELECT oid FROM functions WHERE runs_sql OR provolatile = 'v'),
operators AS MATERIALIZED (SELECT o.oid, n.nspname, o.oprname FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
  WHERE o.oprcode IN (SELECT oid FROM doubtful)),
domains AS MATERIALIZED (SELECT t.oid, n.nspname, t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  WHERE t.typinput IN (SELECT oid FROM doubtful) OR EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid AND c.oid >= ${firstOfUsers}
    AND (pg_catalog.pg_get_constraintdef(c.oid) ~* '${acting}|nextval' OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN doubtful f ON f.oid = d.refobjid
      WHERE d.classid = 2606 AND d.objid = c.oid AND d.refclassid = 1255)))),
doubtful_objects AS MATERIALIZED (SELECT 1255 AS class, oid FROM doubtful UNION ALL SELECT 2617, oid FROM operators UNION ALL SELECT 1247, oid FROM domains),
edges AS MATERIALIZED (${edges}),
relations AS (SELECT DISTINCT relation, reads, writes FROM (${direct}) AS found
  UNION SELECT e.relation, r.reads AND e.reads, r.writes FROM relations r JOIN edges e ON e.cause = r.relation),
sequences AS (SELECT relation FROM (${sequences}) AS found UNION SELECT e.relation FROM sequences s JOIN edges e ON e.cause = s.relation)
SELECT CASE WHEN provolatile = 'v' THEN 'function' WHEN runs_sql THEN 'function_stable' ELSE 'function_plain' END, nspname::text, proname::text FROM functions
UNION SELECT 'operator', nspname, oprname FROM operators
UNION SELECT 'type', nspname, typname FROM domains
UNION SELECT 'cast', '', '' FROM pg_catalog.pg_cast WHERE castfunc IN (SELECT oid FROM doubtful)
UNION SELECT 'relation_read', n.nspname, c.relname FROM relations r JOIN pg_catalog.pg_class c ON c.oid = r.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE r.reads
UNION SELECT 'relation_write', n.nspname, c.relname FROM relations r JOIN pg_catalog.pg_class c ON c.oid = r.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE r.writes
UNION SELECT 'relation_sequence', n.nspname, c.relname FROM sequences s JOIN pg_catalog.pg_class c ON c.oid = s.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace`;
