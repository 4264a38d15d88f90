/**
 * The right-hand sides of [databases], [users] and [peers]: `key=value key='value with blanks and two ''quotes'''`,
 * by the rules of PgBouncer (src/loader.c): a value without quotes ends at a blank, and none may be empty.
 */

/** The pairs in their order, or what is wrong; never the values, which may be passwords. */
export function parseConnectString(text: string): readonly (readonly [string, string])[] | string {
  const pairs: [string, string][] = [];
  let rest = text.trimStart();
  while (rest !== "") {
    const [start, key = ""] = keyForm.exec(rest) ?? [];
    if (start === undefined) {
      const [last] = pairs.at(-1) ?? [];
      return `syntax error: a word without = ${last === undefined ? "at the beginning" : `after ${last}`}`;
    }
    rest = rest.slice(start.length);
    const quoted = rest.startsWith("'");
    const [source, content = ""] = (quoted ? quotedForm : plainForm).exec(rest) ?? [];
    if (source === undefined) return `syntax error: the quotes of ${key} are not closed`;
    const value = quoted ? content.replaceAll("''", "'") : content;
    if (value === "") return `syntax error: ${key} is empty`;
    pairs.push([key, value]);
    rest = rest.slice(source.length).trimStart();
  }
  return pairs;
}

const keyForm = /^([^= ]+)\s*=\s*/;
const quotedForm = /^'((?:[^']|'')*)'(?!')/;
const plainForm = /^([^ ]*)/;
