/**
 * Where parameters come from that nobody gave: service file, environment, built-in defaults and the name of
 * the account, in this order (fe-connect.c, conninfo_add_defaults). Also where a user's own files lie.
 *
 * Files are read synchronously, as libpq does: they are small and local, and are looked at once for each set
 * of options, before anything is connected.
 */
import { userInfo } from "node:os";
import path from "node:path";
import type { Keywords } from "./grammar.ts";
import { connectionKeywords, describeParameter } from "./parameters.ts";
import { addService } from "./service-file.ts";

/** What may be looked at besides what the caller gives. */
export interface ConninfoSources {
  /** `process.env` if not given. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /**
   * The folder of `.pgpass`, `.pg_service.conf` and `.postgresql`. If not given: HOME of the environment, else
   * the account's home; on Windows the folder `postgresql` in APPDATA.
   */
  readonly home?: string;
  /** Whether service file, password file, certificates in their default places and sockets are looked for; true if not given. */
  readonly files?: boolean;
  /** Is told, in one line, what libpq prints to standard error. A warning of the process if not given. */
  readonly warn?: (text: string) => void;
}

/** Sources with everything decided. */
export interface Sources {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Undefined if files are not to be read, or nobody knows where home is. */
  readonly home: string | undefined;
  readonly files: boolean;
  readonly warn: (text: string) => void;
}

/** Neither environment nor files. */
export const noSources: Sources = { environment: {}, home: undefined, files: false, warn: () => undefined };

export function completeSources(given: ConninfoSources): Sources {
  const environment = given.environment ?? process.env;
  const files = given.files ?? true;
  return {
    environment,
    home: files ? (given.home ?? homeFolder(environment)) : undefined,
    files,
    warn: given.warn ?? ((text) => process.emitWarning(text)),
  };
}

/** pqGetHomeDirectory. */
function homeFolder(environment: Sources["environment"]): string | undefined {
  if (process.platform === "win32") {
    const folder = environment["APPDATA"];
    return folder === undefined ? undefined : path.join(folder, "postgresql");
  }
  return environment["HOME"] || account()?.homedir;
}

/** The name of the account that this process acts for, which is the user's if no other is given. */
export function accountName(): string | undefined {
  return account()?.username;
}

function account(): { readonly username: string; readonly homedir: string } | undefined {
  try {
    return userInfo();
  } catch {
    return undefined;
  }
}

/**
 * Fills in what `keywords` lacks. A value that is there counts even if it is empty. Throws OperationError
 * `client.bad_option` (22023) for a service that is not found or badly written.
 */
export function addDefaults(keywords: Keywords, sources: Sources): void {
  addService(keywords, sources);
  addPlainDefaults(keywords, sources);
}

/** All but the service file. */
export function addPlainDefaults(keywords: Keywords, { environment }: Sources): void {
  let sslmodeIsDefault = false;
  for (const keyword of connectionKeywords) {
    if (keywords.has(keyword)) continue;
    const { envvar, compiled } = describeParameter(keyword);
    let value = envvar === null ? undefined : environment[envvar];
    if (value === undefined && keyword === "sslmode") {
      if (environment["PGREQUIRESSL"]?.startsWith("1")) value = "require";
      else sslmodeIsDefault = true;
    }
    value ??= compiled ?? (keyword === "user" ? accountName() : undefined);
    if (value !== undefined) keywords.set(keyword, value);
  }
  // Where the system's roots are trusted, anybody's certificate is valid for something: only the name counts.
  if (sslmodeIsDefault && keywords.get("sslrootcert") === "system") keywords.set("sslmode", "verify-full");
}
