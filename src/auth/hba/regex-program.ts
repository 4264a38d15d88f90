/**
 * From the text of a regular expression to the instructions that regex.ts runs. Each piece of the pattern
 * becomes a list of instructions whose jumps are relative to its own start, so that pieces can be repeated and
 * put behind each other; the whole is then made absolute.
 */
import { bracketSet, type CharacterSet, classOfEscape } from "./regex-sets.ts";

export type Instruction =
  /** Takes one character. */
  | { readonly kind: "one"; readonly accepts: CharacterSet }
  | { readonly kind: "jump"; readonly to: number }
  /** Goes on at both, `first` having precedence. */
  | { readonly kind: "split"; readonly first: number; readonly second: number }
  | { readonly kind: "groupStart" | "groupEnd" | "start" | "end" | "match" };

export interface Program {
  readonly instructions: readonly Instruction[];
  readonly groups: number;
}

/** Why a text is no regular expression that can be used; for the person who wrote it. */
export class RegexError extends Error {}

/** Bounds on what one pattern costs; PostgreSQL's own bound on a count is the same 255 (DUPMAX). */
const patternCharactersMax = 1000;
const instructionsMax = 2000;
const repeatMax = 255;

/** @throws {RegexError} */
export function compileRegex(source: string): Program {
  const parser = new Parser(source);
  const body = parser.whole();
  const instructions = [...body, { kind: "match" } as const].map((instruction, index) =>
    moved(instruction, index),
  );
  return { instructions, groups: parser.groups };
}

/** A relative instruction at its place. */
function moved(instruction: Instruction, by: number): Instruction {
  if (instruction.kind === "jump") return { kind: "jump", to: instruction.to + by };
  if (instruction.kind !== "split") return instruction;
  return { kind: "split", first: instruction.first + by, second: instruction.second + by };
}

interface Repeat {
  readonly least: number;
  /** Infinity: without end. */
  readonly most: number;
}

/** Targets of jumps are relative to the jump itself until the program is whole. */
type Piece = readonly Instruction[];

class Parser {
  groups = 0;
  readonly #source: readonly string[];
  #position = 0;

  constructor(source: string) {
    this.#source = Array.from(source);
    if (this.#source.length > patternCharactersMax) {
      throw new RegexError(`it is longer than ${patternCharactersMax} characters`);
    }
  }

  whole(): Piece {
    if (this.#source.join("").startsWith("***")) throw new RegexError('"***" is not supported');
    const piece = this.#choice();
    if (this.#position < this.#source.length) throw new RegexError("unbalanced parentheses");
    return piece;
  }

  #choice(): Piece {
    const first = this.#sequence();
    if (this.#peek() !== "|") return first;
    this.#position++;
    const second = this.#choice();
    return bounded([
      { kind: "split", first: 1, second: first.length + 2 },
      ...first,
      { kind: "jump", to: second.length + 1 },
      ...second,
    ]);
  }

  #sequence(): Piece {
    let piece: Piece = [];
    for (let next = this.#peek(); next !== undefined && next !== "|" && next !== ")"; next = this.#peek()) {
      piece = bounded([...piece, ...this.#quantified()]);
    }
    return piece;
  }

  #quantified(): Piece {
    const constraint = this.#constraint();
    const piece = constraint ?? this.#atom();
    const repeat = this.#quantifier();
    if (repeat === undefined) return piece;
    if (constraint !== undefined) throw new RegexError("a quantifier cannot follow ^, $, \\A or \\Z");
    const lazy = this.#take("?");
    if (this.#quantifier() !== undefined) throw new RegexError("a quantifier cannot follow another one");
    return repeated(piece, repeat, !lazy);
  }

  #constraint(): Piece | undefined {
    if (this.#take("^")) return [{ kind: "start" }];
    if (this.#take("$")) return [{ kind: "end" }];
    const letter = this.#peek() === "\\" ? this.#source[this.#position + 1] : undefined;
    if (letter !== "A" && letter !== "Z") return undefined;
    this.#position += 2;
    return [{ kind: letter === "A" ? "start" : "end" }];
  }

  #quantifier(): Repeat | undefined {
    if (this.#take("*")) return { least: 0, most: Number.POSITIVE_INFINITY };
    if (this.#take("+")) return { least: 1, most: Number.POSITIVE_INFINITY };
    if (this.#take("?")) return { least: 0, most: 1 };
    if (!this.#atBound()) return undefined;
    const bound = /^\{([0-9]+)(?:(,)([0-9]*))?\}/.exec(this.#source.slice(this.#position).join(""));
    if (bound === null) throw new RegexError("a bound in braces is not complete");
    this.#position += bound[0].length;
    const least = Number(bound[1]);
    const most =
      bound[2] === undefined ? least : bound[3] === "" ? Number.POSITIVE_INFINITY : Number(bound[3]);
    if (least > repeatMax || (most > repeatMax && Number.isFinite(most)) || least > most) {
      throw new RegexError(`a bound must be from 0 to ${repeatMax}, the smaller number first`);
    }
    return { least, most };
  }

  /** A brace that is not followed by a digit is an ordinary character (docs 9.7.3.1). */
  #atBound(): boolean {
    return this.#peek() === "{" && /^[0-9]$/.test(this.#source[this.#position + 1] ?? "");
  }

  #atom(): Piece {
    const character = this.#source[this.#position] ?? "";
    if ("*+?".includes(character) || this.#atBound())
      throw new RegexError("a quantifier has nothing to repeat");
    this.#position++;
    switch (character) {
      case "(":
        return this.#group();
      case ".":
        return one(() => true);
      case "[":
        return one(this.#bracket());
      case "\\":
        return one(this.#escape());
      default:
        return one(only(character));
    }
  }

  #group(): Piece {
    const silent = this.#take("?");
    if (silent && !this.#take(":")) {
      throw new RegexError('of the groups that begin with "(?" only "(?:" is supported');
    }
    // The text of the first group is all that is ever asked for.
    const captures = !silent && ++this.groups === 1;
    const inner = this.#choice();
    if (!this.#take(")")) throw new RegexError("unbalanced parentheses");
    return captures ? [{ kind: "groupStart" }, ...inner, { kind: "groupEnd" }] : inner;
  }

  #escape(): CharacterSet {
    const character = this.#source[this.#position];
    if (character === undefined) throw new RegexError("a backslash at the end escapes nothing");
    this.#position++;
    const set = classOfEscape(character);
    if (set !== undefined) return set;
    if (/^[A-Za-z0-9]$/.test(character)) throw new RegexError(`"\\${character}" is not supported`);
    return only(character);
  }

  #bracket(): CharacterSet {
    const { set, length, problem } = bracketSet(this.#source, this.#position);
    if (problem !== undefined) throw new RegexError(problem);
    this.#position += length;
    return set;
  }

  #peek(): string | undefined {
    return this.#source[this.#position];
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#position++;
    return true;
  }
}

function repeated(piece: Piece, { least, most }: Repeat, greedy: boolean): Piece {
  const result: Instruction[] = [];
  for (let count = 0; count < least; count++) bounded(result).push(...piece);
  if (!Number.isFinite(most)) {
    result.push(split(piece.length + 2, greedy), ...piece, { kind: "jump", to: -(piece.length + 1) });
    return bounded(result);
  }
  // Whoever leaves one of the optional ones leaves all that follow.
  for (let left = most - least; left > 0; left--) {
    bounded(result).push(split(left * (piece.length + 1), greedy), ...piece);
  }
  return bounded(result);
}

/** Goes on behind itself, or `away` further; what is greedy prefers to go on. */
function split(away: number, greedy: boolean): Instruction {
  return greedy ? { kind: "split", first: 1, second: away } : { kind: "split", first: away, second: 1 };
}

function bounded<T extends Piece>(piece: T): T {
  if (piece.length > instructionsMax) throw new RegexError("it is too large once its bounds are written out");
  return piece;
}

function one(accepts: CharacterSet): Piece {
  return [{ kind: "one", accepts }];
}

function only(character: string): CharacterSet {
  const expected = character.codePointAt(0);
  return (point) => point === expected;
}
