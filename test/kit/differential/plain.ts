/**
 * Plain SQL, cut into statements as psql cuts it: at semicolons outside quotes, comments, parentheses and
 * bodies of SQL functions; `\;` joins. Each is a simple query of the one client. Behind COPY … FROM STDIN stand
 * its data, up to `\.`; psql's other commands are refused.
 */
import { ScriptError, type Step } from "./script.ts";

const client = "a";

export function plainSteps(text: string, file: string): Step[] {
  const steps: Step[] = [];
  for (let rest = text; ; ) {
    const { sql, end } = cutStatement(rest, file);
    rest = rest.slice(end);
    const bare = sql.replace(/^(?:\s+|--.*(?:\n|$))+/, "").trim();
    if (bare !== "") {
      const query = { kind: "message", message: { kind: "Query", sql: bare } } as const;
      const ready = { kind: "ready", count: undefined } as const;
      if (/^copy\b[^]*\bfrom\s+stdin\b/i.test(bare)) {
        const data = copyData(rest, file);
        rest = rest.slice(data.end);
        steps.push({ client, source: bare, actions: [query, { kind: "copyIn", data: data.text }, ready] });
      } else {
        steps.push({ client, source: bare, actions: [query, ready] });
      }
    }
    if (rest === "") return steps;
  }
}

/** What stands at the next place of a text and is passed over as a whole. */
const pieces =
  /--[^\n]*|\/\*|[eE]'(?:[^'\\]|\\[^]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$[^]*?\$\1\$|\b(?:begin\s+atomic|case|end)\b|\\;|[;()\\]|[\w$]+/giy;

/** The first statement of a text without its semicolon, and where what is behind it begins. */
function cutStatement(text: string, file: string): { sql: string; end: number } {
  let parentheses = 0;
  let blocks = 0;
  let sql = "";
  for (let at = 0; at < text.length; ) {
    pieces.lastIndex = at;
    const piece = pieces.exec(text)?.[0] ?? text.charAt(at);
    at += piece.length;
    if (piece === "/*") {
      const end = endOfComment(text, at);
      sql += text.slice(at - 2, end);
      at = end;
      continue;
    }
    if (piece === "(") parentheses++;
    else if (piece === ")") parentheses--;
    else if (/^begin\s/i.test(piece)) blocks++;
    else if (/^case$/i.test(piece) && blocks > 0) blocks++;
    else if (/^end$/i.test(piece) && blocks > 0) blocks--;
    else if (piece === ";" && parentheses <= 0 && blocks === 0) return { sql, end: at };
    else if (piece === "\\")
      throw new ScriptError(`${file}: a command of psql: ${text.slice(at - 1).split("\n", 1)[0]}`);
    sql += piece === "\\;" ? ";" : piece;
  }
  return { sql, end: text.length };
}

/** Comments nest. */
function endOfComment(text: string, from: number): number {
  let depth = 1;
  for (const { 0: mark, index } of text.slice(from).matchAll(/\/\*|\*\//g)) {
    depth += mark === "/*" ? 1 : -1;
    if (depth === 0) return from + index + 2;
  }
  return text.length;
}

function copyData(text: string, file: string): { text: string; end: number } {
  const start = text.indexOf("\n") + 1;
  const end = /^\\\.$/m.exec(text.slice(start));
  if (end === null) throw new ScriptError(`${file}: the data behind COPY do not end with \\.`);
  return { text: text.slice(start, start + end.index), end: start + end.index + 2 };
}
