/**
 * The text of a pgpool.conf (src/config/pool_config.l): as postgresql.conf, one `name = value` a line, the equals sign
 * optional, `#` begins a comment anywhere, quotes inside quotes are doubled or behind a backslash, and `include`
 * names another file. What the values mean is none of this file's business.
 */

export interface PgpoolLine {
  readonly name: string;
  readonly value: string;
  readonly line: number;
}

/** The lines, and the number of the first that is none. */
export function parsePgpoolConf(text: string): {
  readonly lines: readonly PgpoolLine[];
  readonly wrong?: number;
} {
  const lines: PgpoolLine[] = [];
  for (const [index, source] of text.split(/\r?\n/).entries()) {
    if (/^\s*(?:#|$)/.test(source)) continue;
    const [whole, name = "", quoted, bare = ""] = lineForm.exec(source) ?? [];
    if (whole === undefined) return { lines, wrong: index + 1 };
    const value = quoted === undefined ? bare : quoted.replaceAll("''", "'").replaceAll(/\\(.)/g, "$1");
    lines.push({ name, value, line: index + 1 });
  }
  return { lines };
}

const lineForm =
  /^\s*([A-Za-z_][A-Za-z0-9_]*)(?:\s*=\s*|\s+)(?:'((?:[^'\\]|''|\\.)*)'|([^\s'#]+))\s*(?:#.*)?$/;

/** As pgpool-II reads truth values. Undefined: none. */
export function readSwitch(text: string): boolean | undefined {
  const word = text.toLowerCase();
  if (["on", "true", "yes", "1"].includes(word)) return true;
  return ["off", "false", "no", "0"].includes(word) ? false : undefined;
}

const timeUnits: Readonly<Record<string, number>> = {
  us: 1e-6,
  ms: 0.001,
  s: 1,
  min: 60,
  h: 3600,
  d: 86_400,
};
const memoryUnits: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1024,
  MB: 1024 ** 2,
  GB: 1024 ** 3,
  TB: 1024 ** 4,
};

/** A number with a unit of time, in seconds; without one it counts `unitSeconds`. Undefined: none. */
export function readTime(text: string, unitSeconds: number): number | undefined {
  const [whole, number, unit = ""] = /^(-?\d+(?:\.\d+)?)\s*([a-z]*)$/.exec(text) ?? [];
  if (whole === undefined) return undefined;
  const factor = unit === "" ? unitSeconds : timeUnits[unit];
  return factor === undefined ? undefined : Number(number) * factor;
}

/** Whether two spellings are the same value: `1min` and `60`, `on` and `true`, `HIGH` and `high`. */
export function meansSame(a: string, b: string): boolean {
  return canonical(a) === canonical(b);
}

function canonical(text: string): string {
  const word = text.trim();
  const [whole, number, unit = ""] = /^(-?\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(word) ?? [];
  if (whole !== undefined && unit !== "") {
    const factor = timeUnits[unit] ?? memoryUnits[unit];
    if (factor !== undefined) return String(Number(number) * factor);
  }
  if (whole !== undefined) return String(Number(number));
  const truth = readSwitch(word);
  return truth === undefined ? word.replaceAll(/\s/g, "").toLowerCase() : String(Number(truth));
}
