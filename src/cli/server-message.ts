/**
 * An error or notice of the server as psql prints it: severity and message, the line of the statement with a
 * caret under the place, then detail, hint, query and context.
 */
import type { ServerError } from "../client/index.ts";
import { displayWidth } from "./display-width.ts";

type ErrorFields = ServerError["fields"];

export interface MessageOptions {
  /** The statement that was sent; without it a place in it is given as a number. */
  readonly sql: string | undefined;
  /** psql shows the context of errors, not of notices. */
  readonly context: boolean;
}

/** The text, with a line break at its end. */
export function serverMessage(fields: ErrorFields, { sql, context }: MessageOptions): string {
  const query = fields.position === undefined ? fields.internalQuery : sql;
  const position = Number(fields.position ?? fields.internalPosition ?? 0);
  const severity = fields.severityLocalized ?? fields.severity;
  const nowhere = query === undefined && position > 0 ? ` at character ${position}` : "";
  const lines = [`${severity}:  ${fields.message}${nowhere}`];
  if (query !== undefined && position > 0) lines.push(...markedLine(query, position));
  if (fields.detail !== undefined) lines.push(`DETAIL:  ${fields.detail}`);
  if (fields.hint !== undefined) lines.push(`HINT:  ${fields.hint}`);
  if (fields.internalQuery !== undefined) lines.push(`QUERY:  ${fields.internalQuery}`);
  if (context && fields.where !== undefined) lines.push(`CONTEXT:  ${fields.where}`);
  return `${lines.join("\n")}\n`;
}

/** Columns of a statement's line that are shown. */
const shownColumnsMax = 60;
/** As many columns behind the caret are shown, if there are. */
const behindColumnsMin = 10;

/** `LINE n: …` and the caret below it; nothing if the place is not in the statement. `position` counts from 1. */
function markedLine(query: string, position: number): string[] {
  const characters = Array.from(query);
  const place = position - 1;
  if (place > characters.length) return [];
  const before = characters
    .slice(0, place)
    .join("")
    .split(/\r\n|\r|\n/);
  const beginning = Array.from(before.at(-1) ?? "");
  const rest = characters.slice(place);
  const lineBreak = rest.findIndex((character) => character === "\n" || character === "\r");
  const cells = beginning.concat(lineBreak < 0 ? rest : rest.slice(0, lineBreak)).map(cell);
  const { start, end } = visible(cells, beginning.length);
  const label = `LINE ${before.length}: ${start > 0 ? "..." : ""}`;
  const shown = textOf(cells.slice(start, end));
  const indent = label.length + columnsOf(cells.slice(start, beginning.length));
  return [`${label}${shown}${end < cells.length ? "..." : ""}`, `${" ".repeat(indent)}^`];
}

interface Cell {
  readonly text: string;
  readonly columns: number;
}

function cell(character: string): Cell {
  const text = character === "\t" ? " " : character;
  return { text, columns: displayWidth(text) };
}

/** The part of a long line that is shown: its beginning, if enough of it lies behind the caret, else what is around. */
function visible(cells: readonly Cell[], caret: number): { readonly start: number; readonly end: number } {
  const { length } = cells;
  const columns = columnsOf(cells);
  if (columns <= shownColumnsMax) return { start: 0, end: length };
  const beforeCaret = columnsOf(cells.slice(0, caret));
  if (shownColumnsMax >= beforeCaret + behindColumnsMin) {
    let shown = columns;
    let end = length;
    while (shown > shownColumnsMax) shown -= cells[--end]?.columns ?? 0;
    return { start: 0, end };
  }
  let behind = columns - beforeCaret;
  let end = length;
  while (behind > behindColumnsMin) behind -= cells[--end]?.columns ?? 0;
  let shown = beforeCaret + behind;
  let start = 0;
  while (shown > shownColumnsMax) shown -= cells[start++]?.columns ?? 0;
  return { start, end };
}

function columnsOf(cells: readonly Cell[]): number {
  return cells.reduce((sum, { columns }) => sum + columns, 0);
}

function textOf(cells: readonly Cell[]): string {
  return cells.map(({ text }) => text).join("");
}
