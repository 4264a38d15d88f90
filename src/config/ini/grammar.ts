/**
 * The text of a pgbouncer.ini, by the rules of PgBouncer's own reader (libusual, usual/cfparser.c; config.md):
 *
 *     [section]
 *     key = value to the end of the line, without the blanks around it
 *     ; or # at the beginning of a line: a comment; further on they are part of the value
 *     %include FILE, relative to the working directory
 *
 * Keys are made of letters, digits and `_.-*`. PgBouncer's manual also promises keys in double quotes, which
 * its reader does not take; here they are taken. What the lines mean is none of this file's business.
 */

/** Where something stands. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

export type IniLine =
  | { readonly kind: "section"; readonly name: string; readonly place: Place }
  | { readonly kind: "value"; readonly key: string; readonly value: string; readonly place: Place }
  | { readonly kind: "include"; readonly file: string; readonly place: Place };

export interface IniMistake {
  readonly place: Place;
  readonly problem: string;
}

/** What stands in one file, up to its first mistake: what follows a mistake cannot be told apart. */
export function parseIni(
  text: string,
  file: string,
): { readonly lines: readonly IniLine[]; readonly mistake?: IniMistake } {
  const lines: IniLine[] = [];
  for (const [index, source] of text.split("\n").entries()) {
    const place = { file, line: index + 1 };
    let rest = source.trim();
    // A section may be followed by something else on its line.
    for (;;) {
      const step = parseItem(rest, place);
      if (typeof step === "string") return { lines, mistake: { place, problem: step } };
      if (step === undefined) break;
      lines.push(step.item);
      rest = step.rest;
    }
  }
  return { lines };
}

/** `file:line` */
export function placeText(place: Place): string {
  return `${place.file}:${place.line}`;
}

const sectionForm = /^\[([^\]]*)\]\s*(.*)$/;
const includeForm = /^%include[ \t]+(.*)$/;
const valueForm = /^([A-Za-z0-9_.*-]*|"(?:[^"]|"")*")[ \t]*=[ \t]*(.*)$/;

/** The first item of a line and what is left of the line, undefined if there is none, or what is wrong. */
function parseItem(
  text: string,
  place: Place,
): { readonly item: IniLine; readonly rest: string } | string | undefined {
  if (text === "" || text.startsWith("#") || text.startsWith(";")) return undefined;
  if (text.includes("\0")) return "must not contain a NUL character";
  const [isInclude, included = ""] = includeForm.exec(text) ?? [];
  if (isInclude !== undefined) return { item: { kind: "include", file: included, place }, rest: "" };
  if (text.startsWith("[")) {
    const [isSection, name = "", rest = ""] = sectionForm.exec(text) ?? [];
    if (isSection === undefined) return "syntax error: a section needs a closing bracket";
    return { item: { kind: "section", name, place }, rest };
  }
  const [isValue, key = "", value = ""] = valueForm.exec(text) ?? [];
  if (isValue === undefined) return "syntax error: neither key = value, nor a section, nor a comment";
  if (key === "") return "syntax error: nothing before the equals sign";
  const name = key.startsWith('"') ? key.slice(1, -1).replaceAll('""', '"') : key;
  return { item: { kind: "value", key: name, value, place }, rest: "" };
}
