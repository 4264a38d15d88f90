/**
 * A statement as an operator may see it: its beginning, without literals and comments. In doubt about where a literal
 * ends the rest is left out. So is the value of SET, which need not stand in quotes.
 */
const charactersMax = 100;

/** A comment, a name in quotes, a dollar-quoted string, a string, a number; at the end of the text, perhaps unfinished. */
const parts =
  /\/\*[\s\S]*?(?:\*\/|$)|--[^\n]*|"(?:[^"]|"")*(?:"|$)|\$([A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$[\s\S]*?(?:\$\1\$|$)|'(?:[^'\\]|'')*(?:['\\]|$)|(?<![\w$])\d[\w.]*/g;
const assignment = /^(\s*set\b[^=]*?(?:=|\bto\b)|\s*set\s+(?:(?:session|local)\s+)?\S+\s).*/is;

/** `text` may be cut off anywhere. */
export function redacted(text: string): string {
  let out = "";
  let at = 0;
  for (const match of text.matchAll(parts)) {
    const [part] = match;
    out += text.slice(at, match.index);
    at = match.index + part.length;
    if (part.startsWith('"')) out += part;
    else if (part.startsWith("/*") || part.startsWith("--")) out += " ";
    else out += "?";
    // What a backslash means depends on settings; PostgreSQL's comments nest.
    if (part.endsWith("\\") || (part.startsWith("/*") && part.includes("/*", 2))) {
      at = text.length;
      break;
    }
  }
  out += text.slice(at);
  const short = out.replace(assignment, "$1 ?").replace(/\s+/g, " ").trim();
  return short.length <= charactersMax ? short : `${short.slice(0, charactersMax)}…`;
}
