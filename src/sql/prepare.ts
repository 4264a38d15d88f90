/** Where the statement that SQL's PREPARE is about stands: the parse tree does not tell. */
import type { TextRange } from "./statement-class.ts";

/** A name, a list of types in parentheses, white space, comments: what may stand between PREPARE and AS. */
const head =
  /^(?:\s|--[^\n\r]*|\/\*[^]*?\*\/)*prepare(?:\s|--[^\n\r]*|\/\*[^]*?\*\/)+(?:u&)?(?:"(?:[^"]|"")*"|[\w$\x80-\xff]+)(?:"[^"]*"|'[^']*'|--[^\n\r]*|\/\*[^]*?\*\/|[^"'])*?[\s/)]as(?![\w$\x80-\xff])/i;

/** `prepare` is the range of the whole PREPARE, which the parser has accepted. */
export function innerStatementOf(text: Buffer, prepare: TextRange): TextRange {
  const source = text.toString("latin1", prepare.start, prepare.end);
  const length = head.exec(source)?.[0].length ?? 0;
  const rest = source.slice(length);
  const start = prepare.start + length + (rest.length - rest.trimStart().length);
  return { start, end: Math.max(start, prepare.start + source.trimEnd().length) };
}
