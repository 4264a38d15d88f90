/** What a StartupMessage says, sorted into what each part of the pooler needs (docs 54.2.1, 54.7). */
import { PeerError } from "../base/errors.ts";
import { trackedStartupName } from "../pool/parameters.ts";
import { nameBytesMax } from "../wire/constants.ts";
import type { LoginRequest } from "./context.ts";

export interface Startup extends LoginRequest {
  readonly minor: number;
  /** Settings that follow the client from server to server, in their reported spelling. */
  readonly tracked: ReadonlyMap<string, string>;
  /** `_pq_.` options, none of which is known here. */
  readonly unknownOptions: readonly string[];
}

/** Protocol options are named so (docs 54.2.1). */
const protocolOptionPrefix = "_pq_.";

/**
 * Sorts startup parameters; of duplicates the last counts. Throws PeerError 28000 if no user is named, in
 * PostgreSQL's words (backend_startup.c ProcessStartupPacket).
 */
export function readStartup(
  minor: number,
  parameters: readonly (readonly [string, string])[],
  isIgnored: (name: string) => boolean,
  address?: string,
): Startup {
  const given = new Map<string, string>(parameters);
  const user = given.get("user") ?? "";
  if (user === "") {
    throw new PeerError("no PostgreSQL user name specified in startup packet", {
      code: "login.no_user",
      sqlstate: "28000",
      source: "client",
    });
  }
  const database = given.get("database") ?? "";
  const tracked = new Map<string, string>();
  const otherParameters: [string, string][] = [];
  const unknownOptions: string[] = [];
  let replication = false;
  for (const [name, value] of given) {
    if (name === "user" || name === "database" || isIgnored(name)) continue;
    const trackedName = trackedStartupName(name);
    if (name.startsWith(protocolOptionPrefix)) {
      unknownOptions.push(name);
    } else if (trackedName !== undefined) {
      tracked.set(trackedName, trackedName === "application_name" ? withoutStrayBytes(value) : value);
    } else {
      if (name === "replication") replication = isReplication(value);
      otherParameters.push([name, value]);
    }
  }
  if (address !== undefined)
    tracked.set("application_name", nameWithHost(tracked.get("application_name"), address));
  if (replication) {
    // A walsender takes no SQL to set them later, and its server is not shared: it gets them at its start.
    otherParameters.push(...tracked);
    tracked.clear();
  }
  return {
    minor,
    user,
    database: database === "" ? user : database,
    tracked,
    otherParameters,
    unknownOptions,
    replication,
  };
}

/**
 * Bytes that are no UTF-8, which a server takes in its startup packet but not in a statement, in the spelling
 * that it gives them (string.c pg_clean_ascii, since PostgreSQL 16).
 */
function withoutStrayBytes(name: string): string {
  return name.replaceAll(/[\udc80-\udcff]/gu, (byte) => `\\x${(byte.charCodeAt(0) - 0xdc00).toString(16)}`);
}

/** `application_name_add_host`, as PgBouncer does it; the server keeps no more of it than a name's length. */
function nameWithHost(name: string | undefined, address: string): string {
  const whole = Buffer.from(`${name ?? "app"} - ${address}`);
  let end = Math.min(whole.length, nameBytesMax);
  // Not in the middle of a character.
  while (((whole[end] ?? 0) & 0xc0) === 0x80) end--;
  return whole.toString("utf8", 0, end);
}

/** `database`, or one of the spellings of true that the server takes (utils/adt/bool.c parse_bool). */
function isReplication(value: string): boolean {
  return !/^(f|fa|fal|fals|false|n|no|of|off|0)$/i.test(value);
}
