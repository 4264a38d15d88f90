/** Values of flags: what commander hands over as text becomes a checked value, or an error that names the flag. */
import { InvalidArgumentError, Option } from "commander";
import { parse, TomlError } from "smol-toml";
import type { PoolMode } from "../config/schema.ts";
import { settings } from "../config/settings.ts";

/** For `commander`: an integer from `minimum` to `maximum`. */
export function integerFlag(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < minimum || value > maximum) {
      throw new InvalidArgumentError(`It must be an integer from ${minimum} to ${maximum}.`);
    }
    return value;
  };
}

/** For `commander`: one more value of a flag that may be given several times. */
export function repeatedFlag(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text];
}

/** For `commander`: `--set name=value`, several times. The value is TOML, or else plain text. */
export function settingFlag(
  text: string,
  before: Readonly<Record<string, unknown>> | undefined,
): Record<string, unknown> {
  const separator = text.indexOf("=");
  if (separator <= 0) throw new InvalidArgumentError("It must have the form name=value.");
  const name = text.slice(0, separator).trim();
  return { ...before, [name]: tomlValue(text.slice(separator + 1)) };
}

/** `--mode`, with the pool modes that the settings know. */
export function poolModeOption(): Option {
  return new Option("--mode <mode>", "when a client gives its server back (pool_mode)").choices([
    ...settings.pool_mode.values,
  ]);
}

/** The flags that are short for settings. */
export interface PoolerFlags {
  readonly port?: number;
  readonly mode?: PoolMode;
  readonly poolSize?: number;
  readonly logLevel?: string;
  readonly set?: Readonly<Record<string, unknown>>;
}

/** The settings of [pgsluice] that flags were given for. */
export function settingsOfFlags(flags: PoolerFlags): Record<string, unknown> {
  const given: Record<string, unknown> = { ...flags.set };
  if (flags.port !== undefined) given["listen_port"] = flags.port;
  if (flags.mode !== undefined) given["pool_mode"] = flags.mode;
  if (flags.poolSize !== undefined) given["default_pool_size"] = flags.poolSize;
  if (flags.logLevel !== undefined) given["log_level"] = flags.logLevel;
  return given;
}

function tomlValue(text: string): unknown {
  try {
    const { value, ...others } = parse(`value = ${text}`);
    return Object.keys(others).length === 0 ? value : text;
  } catch (error) {
    if (error instanceof TomlError) return text;
    throw error;
  }
}
