/**
 * Comments that speak to the pooler: `pgsluice: primary`, `pgsluice: node=b, cache=10s`. The word, a colon, then items with
 * commas or blanks between them, to the end of the comment.
 */
import type { Hint } from "./statement-class.ts";

/** More than anybody needs in one text. */
const hintsMax = 16;

export function hintsIn(comments: readonly string[]): Hint[] {
  const hints: Hint[] = [];
  for (const comment of comments) {
    const said = /pgsluice:([^]*?)(?:\*\/\s*)?$/i.exec(comment)?.[1] ?? "";
    for (const item of said.split(/[\s,;]+/)) {
      const [, name, value] = /^([a-z_]+)(?:=(.*))?$/i.exec(item) ?? [];
      if (name !== undefined && hints.length < hintsMax) hints.push({ name: name.toLowerCase(), value });
    }
  }
  return hints;
}
