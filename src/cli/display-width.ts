/** How many columns of a terminal text takes, as psql counts them, so that tables and carets stand straight. */

const plainText = /^[\x20-\x7e]*$/;
/** Marks that stand on the character before them. */
const combining = /\p{Mn}|\p{Me}/u;
/** East Asian wide and fullwidth characters and pictographs, by their blocks. */
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]/u;

/** Columns that a text without control characters takes. */
export function displayWidth(text: string): number {
  if (plainText.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += characterWidth(character);
  return width;
}

function characterWidth(character: string): number {
  if (wide.test(character)) return 2;
  return combining.test(character) ? 0 : 1;
}

/** One line that can be printed, and the columns it takes. */
export interface DisplayLine {
  readonly text: string;
  readonly width: number;
}

/**
 * A value as a terminal may show it: its lines, with tabs to every eighth column, and with control characters,
 * which could do anything to a terminal, spelled out as psql does (`\r`, `\x1B`, `\u0085`).
 */
export function displayLines(value: string): DisplayLine[] {
  if (plainText.test(value)) return [{ text: value, width: value.length }];
  return value.split("\n").map(displayLine);
}

const tabColumns = 8;

function displayLine(line: string): DisplayLine {
  let text = "";
  let width = 0;
  for (const character of line) {
    const shown = character === "\t" ? " ".repeat(tabColumns - (width % tabColumns)) : spelled(character);
    text += shown;
    width += displayWidth(shown);
  }
  return { text, width };
}

function spelled(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (character === "\r") return "\\r";
  if (code < 0x20 || code === 0x7f) return `\\x${hexadecimal(code, 2)}`;
  if (code >= 0x80 && code < 0xa0) return `\\u${hexadecimal(code, 4)}`;
  return character;
}

function hexadecimal(code: number, digits: number): string {
  return code.toString(16).toUpperCase().padStart(digits, "0");
}
