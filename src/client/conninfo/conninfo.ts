/**
 * Connection parameters as libpq takes them (PostgreSQL's manual, "Database Connection Control Functions"):
 * a string or an object, filled up from service file, environment, defaults and password file.
 *
 *     explicit  >  service file  >  environment  >  built-in default  >  (user only) name of the account
 *
 * resolveConninfo looks at all of them, as PQconnectdb does. connectOptionsFromConninfo takes what it is given
 * and nothing else, except the name of the account. Both read files synchronously, if at all.
 */
import { isConnectionString, type Keywords, parseKeywords } from "./grammar.ts";
import { type Conninfo, optionsFromValues } from "./mapping.ts";
import { badOption, type ConnectOptions } from "./options.ts";
import {
  type ConnectionKeyword,
  type ConnectionParameters,
  connectionKeywords,
  describeParameter,
  isConnectionKeyword,
} from "./parameters.ts";
import { addService } from "./service-file.ts";
import {
  addDefaults,
  addPlainDefaults,
  type ConninfoSources,
  completeSources,
  noSources,
} from "./sources.ts";

export type { Conninfo } from "./mapping.ts";
export type { ConnectionKeyword, ConnectionParameters } from "./parameters.ts";
export type { ConninfoSources } from "./sources.ts";

/** What connection parameters may be given as: a string, an object, or values by keyword. */
export type ConninfoInput = string | ConnectionParameters | Conninfo;

/** A parameter as PQconndefaults and PQconninfoParse describe it; null is libpq's NULL. */
export interface ConninfoOption {
  readonly keyword: ConnectionKeyword;
  /** The environment variable that fills it in. */
  readonly envvar: string | null;
  /** The built-in default. */
  readonly compiled: string | null;
  /** The current value. */
  readonly val: string | null;
  /** A label for a field in a dialog. */
  readonly label: string;
  /** `""`: show it; `"*"`: a password; `"D"`: not for ordinary users. */
  readonly dispchar: "" | "*" | "D";
  /** Characters that a field should have room for. */
  readonly dispsize: number;
}

/**
 * The options of a connection by libpq's rules: what is missing in `input` comes from service file,
 * environment and defaults, a missing password from the password file, missing certificates from
 * `~/.postgresql`. Throws OperationError `client.bad_option` (22023) for an unknown keyword, a value that is
 * wrong or not supported, a service that is not found, or a key file that is open to others; no value of a
 * secret is in the text.
 */
export function resolveConninfo(input: ConninfoInput, sources: ConninfoSources = {}): ConnectOptions {
  return optionsFromValues(conninfoValues(input, sources), completeSources(sources));
}

/**
 * The options of a connection from `input` alone: neither environment nor files are read, and what points to
 * them (`service`, `passfile`) is an error. A user who is not named is the account's. Throws as
 * resolveConninfo.
 */
export function connectOptionsFromConninfo(input: ConninfoInput): ConnectOptions {
  const values = explicitValues(input);
  addDefaults(values, noSources);
  return optionsFromValues(values, noSources);
}

/**
 * The values that resolveConninfo goes by, defaults included (what PQconninfo tells of a connection). Throws
 * OperationError `client.bad_option` (22023) for an unknown keyword or a service that is not found; the
 * values themselves are not checked yet.
 */
export function conninfoValues(input: ConninfoInput, sources: ConninfoSources = {}): Conninfo {
  const values = explicitValues(input);
  addDefaults(values, completeSources(sources));
  return values;
}

/**
 * What a connection string says, and only that (PQconninfoParse): a URI, or keywords and values. Throws
 * OperationError `client.bad_option` (22023); no value is in the text.
 */
export function parseConninfo(text: string): Conninfo {
  return parseKeywords(text);
}

/**
 * Every parameter with its default in this environment (PQconndefaults). A service that cannot be read is no
 * error here.
 */
export function conninfoDefaults(sources: ConninfoSources = {}): ConninfoOption[] {
  const complete = completeSources(sources);
  const values: Keywords = new Map();
  try {
    addService(values, complete);
  } catch {
    // libpq has no way to tell of it here either; connecting will.
  }
  addPlainDefaults(values, complete);
  return conninfoOptions(values);
}

/** Every parameter, in libpq's order, with its value of `values`. */
export function conninfoOptions(values: Conninfo): ConninfoOption[] {
  return connectionKeywords.map((keyword) => {
    const { envvar, compiled, label, dispchar, dispsize } = describeParameter(keyword);
    return { keyword, envvar, compiled, val: values.get(keyword) ?? null, label, dispchar, dispsize };
  });
}

/**
 * Keywords and values one after the other, as PQconnectdbParams takes them: undefined, null and empty values
 * are skipped, later ones replace earlier ones. With `expandDbname`, the first dbname may be a connection
 * string: what it says replaces what stands before it, and what follows replaces that. Throws OperationError
 * `client.bad_option` (22023) for an unknown keyword or a bad string.
 */
export function conninfoFromPairs(
  pairs: Iterable<readonly [string, string | number | boolean | null | undefined]>,
  expandDbname: boolean,
): Conninfo {
  const values: Keywords = new Map();
  let expand = expandDbname;
  for (const [keyword, given] of pairs) {
    if (given === undefined || given === null || given === "") {
      // libpq looks at the first dbname that is not NULL, empty or not.
      if (keyword === "dbname" && given === "") expand = false;
      continue;
    }
    if (!isConnectionKeyword(keyword)) throw badOption(`invalid connection option ${optionName(keyword)}`);
    const value = textOf(keyword, given);
    if (keyword === "dbname" && expand && isConnectionString(value)) {
      for (const [name, text] of parseKeywords(value)) values.set(name, text);
    } else {
      values.set(keyword, value);
    }
    if (keyword === "dbname") expand = false;
  }
  return values;
}

function explicitValues(input: ConninfoInput): Keywords {
  if (typeof input === "string") return parseKeywords(input);
  if (input instanceof Map) return new Map(input);
  const { database, ...parameters } = input as ConnectionParameters;
  const values = new Map(conninfoFromPairs(Object.entries(parameters), true));
  if (database === undefined || database === "") return values;
  if (values.has("dbname")) throw badOption('"database" and "dbname" are the same: give one of them');
  values.set("dbname", textOf("dbname", database));
  return values;
}

/** Numbers in decimal; true and false as 1 and 0, for `replication` as words. */
function textOf(keyword: ConnectionKeyword, value: unknown): string {
  if (typeof value === "boolean") {
    return keyword === "replication" ? String(value) : value ? "1" : "0";
  }
  if (typeof value === "number") return String(value);
  if (typeof value !== "string") throw badOption(`connection option "${keyword}" must be a string`);
  if (value.includes("\0")) throw badOption(`connection option "${keyword}" contains a NUL`);
  return value;
}

/** A key that is no keyword is shown if it looks like one. */
function optionName(keyword: string): string {
  return /^\w{1,63}$/.test(keyword) ? `"${keyword}"` : "(not a keyword)";
}
