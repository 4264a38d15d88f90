/** Vectors of settings, as auto mode needs them. */
import { formatLsn } from "../../cluster/index.ts";
import { isFollowed, ParameterVector, quoteLiteral, setConfig } from "../../pool/parameters.ts";
import type { Server } from "../../pool/server.ts";
import type { LexicalSettings } from "../../sql/index.ts";
import { encodeQuery } from "../../wire/encode-frontend.ts";
import type { Reset } from "./knowledge.ts";

/**
 * For a server on which another client's code has run that nobody has seen. It may have set parameters of any name, or what random()
 * returns next, which PostgreSQL has no command to undo.
 */
export const queriesBehindUnseenCode: readonly Buffer[] = [
  "RESET ALL",
  "SELECT pg_catalog.setseed(pg_catalog.hashtext(pg_catalog.gen_random_uuid()::pg_catalog.text) OPERATOR(pg_catalog./) 2147483648.0::pg_catalog.float8)",
].map((sql) => encodeQuery(sql));

/** What a server has after RESET ALL, which leaves alone as whom it acts. */
export function afterResetAll(server: Server): ParameterVector {
  const { tracked } = server.parameters;
  const vector = ParameterVector.of(server.connection.parameters);
  const identity = new Map<string, string>();
  for (const name of ["session_authorization", "role"]) {
    const value = tracked.get(name);
    if (value !== undefined) identity.set(name, value);
  }
  vector.replaceUntracked(identity, server.connection.parameters);
  return vector;
}

export function untrackedOf(parameters: ParameterVector, server: Server): Map<string, string> {
  const others = new Map<string, string>();
  for (const [name, value] of parameters.entries()) {
    if (!isFollowed(name, server.connection.parameters)) others.set(name, value);
  }
  return others;
}

/** In these a byte below 128 may be part of another character (mbutils.c, PG_ENCODING_BE_LAST and beyond). */
const unsafeEncodings: ReadonlySet<string> = new Set(
  "SJIS BIG5 GBK UHC GB18030 JOHAB SHIFT_JIS_2004".split(" "),
);

/** What a client's settings make of its texts, where they are not as usual. */
export function lexicalSettings(parameters: ParameterVector): LexicalSettings | undefined {
  const conformingStrings = parameters.get("standard_conforming_strings") !== "off";
  const asciiSafe = !unsafeEncodings.has(parameters.get("client_encoding") ?? "");
  return conformingStrings && asciiSafe ? undefined : { conformingStrings, asciiSafe };
}

/**
 * What sets those settings again with which the client began, but the server did not, if they have been reset: what was not, because the
 * statement failed or was skipped, is the session's own still (guc.c, PGC_S_SESSION). An undeclared one (`a.b`), which pg_settings does not
 * show, has been if it is what the server began with. `difference`: those of its defaults that the server does not report.
 */
export function queryBehindResets(
  resets: readonly Reset[],
  initial: ParameterVector,
  difference: ReadonlyMap<string, string>,
  server: Server,
): Buffer | undefined {
  const values: string[] = [];
  for (const [name, value] of [...initial.entries(), ...difference]) {
    if (server.connection.parameters.get(name) === value) continue;
    const reset = resets.find((one) => one.name === undefined || one.name === name.toLowerCase());
    if (reset === undefined) continue;
    const begun = name.includes(".") ? quoteLiteral(server.defaults?.undeclared.get(name) ?? "") : "NULL";
    values.push(`(${quoteLiteral(name)}, ${quoteLiteral(value)}, ${reset.local}, ${begun})`);
  }
  if (values.length === 0) return undefined;
  return encodeQuery(`
    SELECT pg_catalog.set_config(i.name, i.value, i.is_local) FROM (VALUES ${values.join(", ")}) AS i (name, value, is_local, begun)
    LEFT JOIN pg_catalog.pg_settings AS s ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) pg_catalog.lower(i.name)
    WHERE CASE WHEN s.name IS NOT NULL THEN s.source OPERATOR(pg_catalog.<>) 'session'
      ELSE COALESCE(i.begun OPERATOR(pg_catalog.=) COALESCE(pg_catalog.current_setting(i.name, true), ''), true) END`);
}

const idleTimeout = "idle_session_timeout";

/** Its client's limit on idle sessions would end a server that nobody has: it goes before anybody else gets the server. */
export function takeIdleTimeout(server: Server): void {
  const others = untrackedOf(server.parameters.tracked, server);
  if (!others.delete(idleTimeout)) return;
  server.parameters.tracked.replaceUntracked(others, server.connection.parameters);
  server.partingQuery = `SELECT ${setConfig(idleTimeout, null)}`;
}

const lsnName = "pgsluice.lsn";

/**
 * Has the server answer SHOW pgsluice.lsn with this position; undefined: with where the primary is now, which is past all that
 * was written; null: with nothing, since what is sent together with the SHOW may write.
 */
export function lsnQuery(lsn: bigint | undefined | null): Buffer {
  if (lsn === undefined) {
    const now = "pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text";
    return encodeQuery(`SELECT pg_catalog.set_config('${lsnName}', ${now}, false)`);
  }
  return encodeQuery(`SET ${lsnName} = '${lsn === null ? "" : formatLsn(lsn)}'`);
}
