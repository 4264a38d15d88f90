/**
 * From a pgbouncer.ini to the same checked configuration that a pgsluice.toml gives.
 *
 * Read, with the files it includes; mapped; then checked by the one schema of the configuration, whose problems are
 * told with the file and line that they come from. Relative paths start at the working directory, as in PgBouncer.
 */
import { readFile } from "node:fs/promises";
import { ConfigError, type ConfigProblem, reasonOf } from "../errors.ts";
import { checkConfig, unreadableFiles } from "../load.ts";
import type { Config } from "../schema.ts";
import { type IniLine, parseIni, placeText } from "./grammar.ts";
import { type Finding, type MappedIni, mapIni } from "./mapping.ts";

/** PgBouncer's limit. */
const includesMax = 10;

/**
 * Reads and checks a pgbouncer.ini, and that the files named in it can be read. `overrides` are settings of ours
 * that win over the file's. `notices`: what was set and has no effect here, as sentences.
 * @throws {ConfigError} `config.invalid`, with every problem.
 */
export async function loadIni(
  file: string,
  overrides: Readonly<Record<string, unknown>> = {},
): Promise<{ readonly config: Config; readonly notices: readonly string[] }> {
  const { config, findings } = await interpretIni(file, overrides, true);
  return { config, notices: findings.map(({ name, doc }) => `${name}: ${plain(doc)}`) };
}

/**
 * As {@link loadIni}, with what has no counterpart here as findings; among them what is not supported, unless that
 * is refused.
 */
export async function interpretIni(
  file: string,
  overrides: Readonly<Record<string, unknown>>,
  refusing: boolean,
): Promise<{ readonly config: Config; readonly findings: readonly Finding[] }> {
  const mapped = mapIni(await readIni(file), file);
  const { findings } = mapped;
  const refused = refusing ? findings.filter(({ verdict }) => verdict === "unsupported") : [];
  const problems = [...mapped.problems, ...refused.map(unsupportedProblem)];
  const raw = { ...mapped.raw, pgsluice: { ...mapped.raw.pgsluice, ...overrides } };
  let config: Config;
  try {
    config = checkConfig(raw, process.cwd(), file, true);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(file, [...problems, ...placed(error.problems, mapped)], error);
  }
  problems.push(...placed(await unreadableFiles(config), mapped));
  if (problems.length > 0) throw new ConfigError(file, problems);
  return { config, findings };
}

/**
 * The lines of a file and of all that it includes, in the order in which they take effect.
 * @throws {ConfigError} `config.invalid`: a file cannot be read, or a line is none.
 */
async function readIni(file: string, depth: number = 0): Promise<IniLine[]> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new ConfigError(file, [{ key: "", problem: `cannot be read: ${reasonOf(error)}` }], error);
  }
  const { lines, mistake } = parseIni(text, file);
  if (mistake !== undefined) {
    throw new ConfigError(file, [{ key: "", problem: mistake.problem, place: placeText(mistake.place) }]);
  }
  const result: IniLine[] = [];
  for (const line of lines) {
    if (line.kind !== "include") {
      result.push(line);
      continue;
    }
    if (depth >= includesMax) {
      const problem = `files are included more than ${includesMax} deep`;
      throw new ConfigError(file, [{ key: "%include", problem, place: placeText(line.place) }]);
    }
    result.push(...(await readIni(line.file, depth + 1)));
  }
  return result;
}

/** Text of a table without the marks of Markdown. */
export function plain(doc: string): string {
  return doc.replaceAll("`", "");
}

function unsupportedProblem({ name, doc, place }: Finding): ConfigProblem {
  return { key: name, problem: `not supported yet. ${plain(doc)}`, place: placeText(place) };
}

/** Problems of the checked configuration, with the names and places of the file. Each is told once. */
function placed(problems: readonly ConfigProblem[], { origins }: MappedIni): ConfigProblem[] {
  const result = new Map<string, ConfigProblem>();
  for (const { key, problem } of problems) {
    // Every node inherits the TLS settings of [pgbouncer].
    const name = key.replace(/^nodes\..*\.(\w+)$/, "pgsluice.$1");
    const origin = origins.get(name);
    const own = origin?.key ?? name.replace(/^pgsluice\./, "");
    const place = origin === undefined ? {} : { place: placeText(origin.place) };
    result.set(`${own}: ${problem}`, { key: own, problem, ...place });
  }
  return [...result.values()];
}
