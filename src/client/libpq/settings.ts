/**
 * The one place where this face meets connection parameters: text or keywords in, what a connection needs
 * out. Nothing is thrown here: libpq's calls to start give a connection that has failed already instead.
 */
import {
  type Conninfo,
  conninfoFromPairs,
  conninfoValues,
  parseConninfo,
  resolveConninfo,
} from "../conninfo/conninfo.ts";
import type { ConnectOptions } from "../conninfo/options.ts";
import type { ConninfoSources } from "../conninfo/sources.ts";

/** Keywords and values, in order: pairs, or an object. What is undefined, null or empty is skipped. */
export type ParameterList =
  | Iterable<readonly [string, ParameterValue]>
  | Readonly<Record<string, ParameterValue>>;

type ParameterValue = string | number | boolean | null | undefined;

/** What a connection is made by. */
export interface Settings {
  readonly options: ConnectOptions;
  /** Every value that counted, defaults included. */
  readonly values: Conninfo;
}

export type SettingsOutcome =
  | { readonly settings: Settings; readonly fault?: undefined }
  | { readonly settings?: undefined; readonly fault: unknown };

/** Settings by a conninfo string (PQconnectStart): what it does not say comes from files and environment. */
export function settingsFromString(conninfo: string, sources: ConninfoSources): SettingsOutcome {
  return settingsFrom(() => parseConninfo(conninfo), sources);
}

/** Settings by keywords and values (PQconnectStartParams). */
export function settingsFromParameters(
  parameters: ParameterList,
  expandDbname: boolean,
  sources: ConninfoSources,
): SettingsOutcome {
  const pairs = isIterable(parameters) ? parameters : Object.entries(parameters);
  return settingsFrom(() => conninfoFromPairs(pairs, expandDbname), sources);
}

function settingsFrom(explicit: () => Conninfo, sources: ConninfoSources): SettingsOutcome {
  try {
    const values = conninfoValues(explicit(), sources);
    return { settings: { options: resolveConninfo(values, sources), values } };
  } catch (fault) {
    return { fault };
  }
}

function isIterable(parameters: ParameterList): parameters is Iterable<readonly [string, ParameterValue]> {
  return Symbol.iterator in parameters;
}
