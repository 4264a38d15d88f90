/**
 * Sets of characters in regular expressions: escapes such as `\d`, and brackets. Classes are those of ASCII,
 * since PostgreSQL compiles the patterns of these files in its C collation (hba.c regcomp_auth_token).
 */

export type CharacterSet = (point: number) => boolean;

/** The set of `\d`, `\w`, `\s` and their opposites; undefined for any other letter. */
export function classOfEscape(letter: string): CharacterSet | undefined {
  const name = { d: "digit", w: "word", s: "space" }[letter.toLowerCase()];
  const set = name === undefined ? undefined : classes.get(name);
  if (set === undefined) return undefined;
  return letter === letter.toLowerCase() ? set : (point) => !set(point);
}

/** What a bracket expression says. `length` counts the characters behind `[`, the closing one included. */
export interface Bracket {
  readonly set: CharacterSet;
  readonly length: number;
  readonly problem: string | undefined;
}

/** Reads a bracket expression (docs 9.7.3.2) that begins before `start`. */
export function bracketSet(source: readonly string[], start: number): Bracket {
  const reader = new BracketReader(source, start);
  try {
    const set = reader.read();
    return { set, length: reader.position - start, problem: undefined };
  } catch (error) {
    if (!(error instanceof BracketError)) throw error;
    return { set: () => false, length: 0, problem: error.message };
  }
}

class BracketError extends Error {}

class BracketReader {
  position: number;
  readonly #source: readonly string[];

  constructor(source: readonly string[], start: number) {
    this.#source = source;
    this.position = start;
  }

  read(): CharacterSet {
    const negated = this.#source[this.position] === "^";
    if (negated) this.position++;
    const sets: CharacterSet[] = [];
    // Right at the beginning a "]" stands for itself.
    for (let first = true; first || this.#source[this.position] !== "]"; first = false) {
      sets.push(this.#item());
    }
    this.position++;
    const any: CharacterSet = (point) => sets.some((set) => set(point));
    return negated ? (point) => !any(point) : any;
  }

  #item(): CharacterSet {
    const special = this.#special();
    if (special !== undefined) return special;
    const low = this.#character();
    const next = this.#source[this.position + 1];
    if (this.#source[this.position] !== "-" || next === "]" || next === undefined)
      return (point) => point === low;
    this.position++;
    if (this.#special() !== undefined) throw new BracketError("a class cannot be the end of a range");
    const high = this.#character();
    if (high < low) throw new BracketError("a range in brackets runs backwards");
    return (point) => point >= low && point <= high;
  }

  /** A class by name or escape. */
  #special(): CharacterSet | undefined {
    const [character, next] = [this.#source[this.position], this.#source[this.position + 1]];
    if (character === "[" && (next === "." || next === "=")) {
      throw new BracketError(`"[${next}" in brackets is not supported`);
    }
    if (character === "[" && next === ":") {
      const name = /^\[:([a-z]+):\]/.exec(
        this.#source.slice(this.position, this.position + 20).join(""),
      )?.[1];
      const set = name === undefined || name === "word" ? undefined : classes.get(name);
      if (name === undefined || set === undefined) throw new BracketError("an unknown class in brackets");
      this.position += name.length + 4;
      return set;
    }
    if (character !== "\\" || next === undefined || !"dws".includes(next)) return undefined;
    this.position += 2;
    return classOfEscape(next);
  }

  #character(): number {
    let character = this.#source[this.position++];
    if (character === "\\") {
      character = this.#source[this.position++];
      if (character !== undefined && /^[A-Za-z0-9]$/.test(character)) {
        throw new BracketError(`"\\${character}" in brackets is not supported`);
      }
    }
    if (character === undefined) throw new BracketError("a bracket is not closed");
    return character.codePointAt(0) ?? 0;
  }
}

/** A set of the characters that a pattern of one ASCII character accepts. */
function ascii(pattern: RegExp): CharacterSet {
  const accepted = Array.from({ length: 128 }, (_, point) => pattern.test(String.fromCharCode(point)));
  return (point) => accepted[point] === true;
}

const classes: ReadonlyMap<string, CharacterSet> = new Map([
  ["alpha", ascii(/[A-Za-z]/)],
  ["digit", ascii(/[0-9]/)],
  ["alnum", ascii(/[A-Za-z0-9]/)],
  ["upper", ascii(/[A-Z]/)],
  ["lower", ascii(/[a-z]/)],
  ["space", ascii(/[ \t\n\v\f\r]/)],
  ["blank", ascii(/[ \t]/)],
  ["punct", ascii(/[!-/:-@[-`{-~]/)],
  ["graph", ascii(/[!-~]/)],
  ["print", ascii(/[ -~]/)],
  ["cntrl", ascii(/[^ -~]/)],
  ["xdigit", ascii(/[0-9A-Fa-f]/)],
  ["word", ascii(/[A-Za-z0-9_]/)],
]);
