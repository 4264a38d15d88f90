/**
 * Regular expressions of pg_hba.conf and pg_ident.conf, run against names that strangers choose.
 *
 * JavaScript's own engine tries alternatives one after the other and can need exponential time, which would
 * hold up every client. This one follows all alternatives at once (Thompson's construction, run as Pike's
 * machine), so its time is bounded by the length of the pattern times that of the name.
 *
 * The syntax is the part of PostgreSQL's advanced regular expressions (docs 9.7.3) that names need. What means
 * something else here, or nothing, is refused when the file is loaded, never reinterpreted. One difference is
 * left: where alternatives in parentheses overlap, `\1` is what the first of them matched, in PostgreSQL the
 * longest.
 */
import { compileRegex, type Instruction, type Program } from "./regex-program.ts";

/** Longer names cannot be names of PostgreSQL's (63 bytes, unless it was built otherwise). */
export const nameCharactersMax = 256;

/** What a match found: the text of the first parenthesized group, if it took part. */
export interface RegexMatch {
  readonly group: string | undefined;
}

/** A thread of the machine: where it is in the program, and where its first group began and ended. */
interface Thread {
  readonly at: number;
  readonly from: number;
  readonly to: number;
}

export class NameRegex {
  readonly source: string;
  readonly #program: Program;

  /** Throws RegexError (regex-program.ts) for what is no regular expression, or not one of those that are known here. */
  constructor(source: string) {
    this.source = source;
    this.#program = compileRegex(source);
  }

  /** How many parenthesized groups capture something. */
  get groups(): number {
    return this.#program.groups;
  }

  /** Finds the pattern anywhere in a name; undefined if it is not there, or the name is too long to be one. */
  match(name: string): RegexMatch | undefined {
    const points = Array.from(name, (character) => character.codePointAt(0) ?? 0);
    if (points.length > nameCharactersMax) return undefined;
    let found: Thread | undefined;
    let threads: Thread[] = [];
    for (let position = 0; position <= points.length; position++) {
      const seen = new Set<number>();
      const current: Thread[] = [];
      for (const thread of threads) this.#follow(thread, position, points.length, seen, current);
      // A match may begin anywhere, but one that began earlier goes before it.
      if (found === undefined) {
        this.#follow({ at: 0, from: -1, to: -1 }, position, points.length, seen, current);
      }
      threads = [];
      for (const thread of current) {
        const instruction = this.#at(thread.at);
        if (instruction.kind === "match") {
          // Those behind it matter less.
          found = thread;
          break;
        }
        const point = points[position];
        if (instruction.kind === "one" && point !== undefined && instruction.accepts(point)) {
          threads.push({ ...thread, at: thread.at + 1 });
        }
      }
    }
    if (found === undefined) return undefined;
    const { from, to } = found;
    return { group: from < 0 || to < 0 ? undefined : String.fromCodePoint(...points.slice(from, to)) };
  }

  /** Adds to `threads` every instruction that can be reached from one without taking a character, in order of precedence. */
  #follow(start: Thread, position: number, length: number, seen: Set<number>, threads: Thread[]): void {
    const waiting = [start];
    for (let thread = waiting.pop(); thread !== undefined; thread = waiting.pop()) {
      if (seen.has(thread.at)) continue;
      seen.add(thread.at);
      const instruction = this.#at(thread.at);
      const next = thread.at + 1;
      switch (instruction.kind) {
        case "one":
        case "match":
          threads.push(thread);
          break;
        case "jump":
          waiting.push({ ...thread, at: instruction.to });
          break;
        case "split":
          waiting.push({ ...thread, at: instruction.second }, { ...thread, at: instruction.first });
          break;
        case "groupStart":
          waiting.push({ at: next, from: position, to: -1 });
          break;
        case "groupEnd":
          waiting.push({ ...thread, at: next, to: position });
          break;
        case "start":
          if (position === 0) waiting.push({ ...thread, at: next });
          break;
        case "end":
          if (position === length) waiting.push({ ...thread, at: next });
          break;
      }
    }
  }

  #at(index: number): Instruction {
    // Every jump leads into the program, whose last instruction is a match.
    return this.#program.instructions[index] as Instruction;
  }
}
