/** Values as PgBouncer reads them (libusual, cf_set_int, cf_set_time_usec, cf_set_lookup) and as the configuration holds them. */
import type { Declaration } from "../declare.ts";

/** How a setting that has no counterpart here is written: only to see whether it has its default. */
export type ValueKind = "integer" | "seconds" | "text";

/** C's strtol with base 0: decimal, 0x…, or octal behind a 0. Undefined: no integer. */
export function readInteger(text: string): number | undefined {
  const [whole, sign = "", digits = ""] =
    /^\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(text) ?? [];
  if (whole === undefined) return undefined;
  const octal = /^0[0-7]/.test(digits);
  const value = octal ? Number.parseInt(digits, 8) : Number(digits);
  return sign === "-" ? 0 - value : value;
}

/** Seconds, decimals and exponents allowed. Undefined: none, or negative. */
export function readSeconds(text: string): number | undefined {
  return /^\s*\+?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text) ? Number(text) : undefined;
}

/** C's atoi, as the values of [databases] and [users] are read, but not where there is more than a number. */
export function readCount(text: string): number | undefined {
  return /^\s*[+-]?\d+$/.test(text) ? Number(text) : undefined;
}

/**
 * A value for zod to check: what PgBouncer would have understood, or the text itself, which is then refused with
 * what the setting allows.
 */
export function valueOf(text: string, declaration: Declaration): unknown {
  switch (declaration.type) {
    case "integer":
      return readInteger(text) ?? text;
    case "seconds":
      return readSeconds(text) ?? text;
    case "boolean": {
      // Integers in PgBouncer; our own settings are written as in TOML too.
      if (text === "true" || text === "false") return text === "true";
      const number = readInteger(text);
      return number === undefined ? text : number !== 0;
    }
    case "choice":
      return text.toLowerCase();
    case "list":
    case "text":
      return text;
  }
}

/** As {@link valueOf}, for a value of [databases], [users] or [peers]. Undefined: a negative number, PgBouncer's "not set". */
export function namedValueOf(text: string, declaration: Declaration): unknown {
  if (declaration.type !== "integer" && declaration.type !== "seconds") return valueOf(text, declaration);
  const count = readCount(text);
  if (count !== undefined && count < 0) return undefined;
  return (declaration.type === "seconds" ? readSeconds(text) : count) ?? text;
}

/** Whether `text` is a value of this kind at all. */
export function isOfKind(text: string, kind: ValueKind): boolean {
  if (kind === "integer") return readInteger(text) !== undefined;
  return kind === "text" || readSeconds(text) !== undefined;
}

/** Whether two spellings mean the same value. */
export function meansSame(a: string, b: string, kind: ValueKind): boolean {
  if (kind === "integer") return readInteger(a) === readInteger(b);
  if (kind === "seconds") return readSeconds(a) === readSeconds(b);
  const plain = (text: string): string => text.replace(/\s/g, "").toLowerCase();
  return plain(a) === plain(b);
}

/** PgBouncer's file mode is a number; ours is written in octal. */
export function fileMode(text: string): string {
  const mode = readInteger(text);
  return mode === undefined || mode < 0 ? text : `0${mode.toString(8).padStart(3, "0")}`;
}

/** PgBouncer's verbosity, from 0 to 3, as our log level. */
export function logLevel(text: string): string {
  const verbosity = readInteger(text);
  if (verbosity === undefined) return text;
  if (verbosity <= 0) return "info";
  return verbosity === 1 ? "debug" : "trace";
}
