/** What all clients of a script were told, in the order of its steps, and how two of these differ. */

import { encodeBackend } from "../../../src/wire/encode-backend.ts";
import { type BackendMessage, type ColumnDescription, Tracer } from "../../../src/wire/index.ts";
import { Names, normalise } from "./normalise.ts";

/** Changes a message, or takes it out; see test/differential/differences.ts. */
export type Rewrite = (
  message: BackendMessage,
  columns: readonly ColumnDescription[],
) => BackendMessage | undefined;

interface Entry {
  readonly client: string;
  readonly message: BackendMessage | undefined;
  readonly columns: readonly ColumnDescription[];
  readonly text: string;
}

export class Transcript {
  readonly names: Names = new Names();
  /** Why it ends before the script does. */
  stuck: string | undefined;
  readonly #entries: Entry[] = [];
  readonly #columns = new Map<string, readonly ColumnDescription[]>();
  /** Clients that have bound a statement since: their rows may have other columns. */
  readonly #bound = new Set<string>();

  heading(client: string, source: string): void {
    const [first = "", ...more] = source.split("\n");
    const text = `# ${source.startsWith(client) ? "" : `${client}: `}${first}${more.length > 0 ? " …" : ""}`;
    this.#entries.push({ client, message: undefined, columns: [], text });
  }

  note(client: string, text: string): void {
    this.#entries.push({ client, message: undefined, columns: [], text: `${client}\t${text}` });
  }

  message(client: string, message: BackendMessage): void {
    if (message.kind === "BackendKeyData") this.names.login(client, message.pid);
    if (message.kind === "RowDescription") this.#columns.set(client, message.columns);
    else if (message.kind === "ParseComplete") this.#columns.delete(client);
    if (message.kind === "RowDescription") this.#bound.delete(client);
    else if (message.kind === "BindComplete") this.#bound.add(client);
    const columns = this.#columns.get(client) ?? [];
    const shown = normalise(message, this.names, columns, !this.#bound.has(client));
    this.#entries.push({ client, message: shown, columns, text: "" });
  }

  /** Adds what another one holds. */
  append(other: Transcript): void {
    this.#entries.push(...other.#entries);
    this.stuck ??= other.stuck;
  }

  /** As text, a line for each message, without what `rewrites` take out. */
  lines(rewrites: readonly Rewrite[]): string[] {
    const tracer = new Tracer();
    return withSortedReports(this.#entries).flatMap(({ client, message, columns, text }) => {
      if (message === undefined) return [text];
      let shown: BackendMessage | undefined = message;
      for (const rewrite of rewrites) {
        if (shown !== undefined) shown = rewrite(shown, columns);
      }
      return shown === undefined ? [] : [`${client}\t${tracer.backend(encodeBackend(shown)).trimEnd()}`];
    });
  }
}

/**
 * Reports of parameters that come one behind the other, by name: the server reports them in the order in which they were last
 * changed there, be it by others (guc.c ReportChangedGUCOptions), and the protocol promises none.
 */
function withSortedReports(entries: readonly Entry[]): Entry[] {
  const sorted = [...entries];
  for (let start = 0; start < sorted.length; start++) {
    let end = start;
    while (reportOf(sorted[end]) !== undefined && sorted[end]?.client === sorted[start]?.client) end++;
    if (end - start < 2) continue;
    const reports = sorted.slice(start, end);
    reports.sort((one, other) => ((reportOf(one) ?? "") < (reportOf(other) ?? "") ? -1 : 1));
    sorted.splice(start, reports.length, ...reports);
    start = end - 1;
  }
  return sorted;
}

function reportOf(entry: Entry | undefined): string | undefined {
  return entry?.message?.kind === "ParameterStatus" ? entry.message.name : undefined;
}

/** The lines that differ, with those around them; empty if none does. `-` is direct, `+` pooled. */
export function difference(direct: readonly string[], pooled: readonly string[]): string {
  const marked = merge(direct, pooled);
  const near = marked.map((_, at) =>
    marked.slice(Math.max(0, at - 3), at + 4).some(({ mark }) => mark !== " "),
  );
  let text = "";
  for (const [at, { mark, line }] of marked.entries()) {
    if (near[at] === true) text += `${mark}${line}\n`;
    else if (near[at - 1] === true) text += " …\n";
  }
  return text;
}

interface Marked {
  readonly mark: " " | "-" | "+";
  readonly line: string;
}

/** Longest common subsequence of the part between what is equal at both ends. */
function merge(from: readonly string[], to: readonly string[]): Marked[] {
  let start = 0;
  while (start < from.length && start < to.length && from[start] === to[start]) start++;
  let end = 0;
  while (end < from.length - start && end < to.length - start && from.at(-1 - end) === to.at(-1 - end)) end++;
  const [a, b] = [from.slice(start, from.length - end), to.slice(start, to.length - end)];
  const common = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  const at = (row: number, column: number): number => common[row]?.[column] ?? 0;
  for (let row = a.length - 1; row >= 0; row--) {
    for (let column = b.length - 1; column >= 0; column--) {
      const longest =
        a[row] === b[column]
          ? at(row + 1, column + 1) + 1
          : Math.max(at(row + 1, column), at(row, column + 1));
      (common[row] as Uint32Array)[column] = longest;
    }
  }
  const middle: Marked[] = [];
  for (let row = 0, column = 0; row < a.length || column < b.length; ) {
    if (row < a.length && column < b.length && a[row] === b[column]) {
      middle.push({ mark: " ", line: a[row++] ?? "" });
      column++;
    } else if (row < a.length && (column >= b.length || at(row + 1, column) >= at(row, column + 1))) {
      middle.push({ mark: "-", line: a[row++] ?? "" });
    } else {
      middle.push({ mark: "+", line: b[column++] ?? "" });
    }
  }
  const equal = (lines: readonly string[]): Marked[] => lines.map((line) => ({ mark: " ", line }));
  return [...equal(from.slice(0, start)), ...middle, ...equal(from.slice(from.length - end))];
}
