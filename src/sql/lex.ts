/**
 * One pass over a text, before PostgreSQL's parser sees it. It finds out
 *
 * - whether the parser can be given the text at all: how many tokens it has and how deep its tree may become. Nesting is
 *   counted from above: brackets and CASE open a level; on a level, operators that may hang on each other count until a comma,
 *   AND or OR, joins and set operations until the level closes. The grammar's other operators do not chain.
 *   And how often its lexer reads what it has read: behind each operator and each beginning of a comment it takes all operator
 *   characters there are, nested comments and all, and puts them back (scan.l, xcstart and operator).
 * - its shape: the text with its literals replaced and its comments taken out. Texts of one shape have one
 *   class, as long as no literal matters to it, which the caller decides.
 * - what the lexer of a session with other settings would see differently: backslashes in plain strings.
 *
 * The rules are those of PostgreSQL's scan.l; positions are bytes. Bytes above 127 are letters, as there.
 */
import { isUtf8 } from "node:buffer";
import { byteTable } from "./byte-table.ts";

export interface Lexed {
  /** Whether the text is UTF-8 without a zero byte. */
  readonly wellFormed: boolean;
  readonly tokens: number;
  /** An upper bound; above `depthMax` it is not counted on. */
  readonly depth: number;
  /** Bytes that PostgreSQL's lexer reads for operators and beginnings of comments: with the square of their length at worst. */
  readonly operatorBytes: number;
  /** The shape; undefined if it would not tell texts apart that differ. */
  readonly shape: string | undefined;
  /** A plain string holds a backslash: with standard_conforming_strings off it means something else. */
  readonly backslashes: boolean;
  /** Comments that speak to the pooler. */
  readonly hintComments: readonly string[];
}

export interface LexBounds {
  readonly tokensMax: number;
  readonly depthMax: number;
  readonly operatorBytesMax: number;
}

// What stands in a shape for a literal: bytes that no text has outside of quotes, or it gets no shape.
export const stringMark = 1;
export const integerMark = 2;
export const floatMark = 3;

/** Longer integers may be too large for an int4, and those are floats to the grammar. */
export const integerDigitsMax = 9;

const caseLevel = 1;
const bracketLevel = 0;

const hintWord = Buffer.from("pgsluice:");

// Kinds of bytes.
const other = 0;
const space = 1;
const letter = 2;
const digit = 3;
const operator = 4;
const kinds: Uint8Array = byteTable(other, letter, [
  [" \t\n\r\f\v", space],
  ["0123456789", digit],
  ["+-*/<>=~!@#%^&|`?", operator],
  ["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_", letter],
]);

export function lex(text: Buffer, bounds: LexBounds): Lexed {
  return new Lexer(text, bounds).run();
}

class Lexer {
  readonly #text: Buffer;
  readonly #bounds: LexBounds;
  readonly #shape: Buffer;
  #shapeLength = 0;
  #shapeable = true;
  #at = 0;
  #tokens = 0;
  #backslashes = false;
  readonly #hints: string[] = [];
  // Nesting: the open levels, what chains on the present one, and the deepest sum of all so far.
  readonly #levels: { readonly kind: number; readonly chain: number }[] = [];
  #softChain = 0;
  #hardChain = 0;
  #outerChain = 0;
  #depth = 0;
  #operatorBytes = 0;
  /** Where the operator characters end that were last looked at. */
  #operatorsEnd = 0;
  /** The token before was a dot or AS: a keyword behind it is a name. */
  #afterLabel = false;

  constructor(text: Buffer, bounds: LexBounds) {
    this.#text = text;
    this.#bounds = bounds;
    this.#shape = Buffer.allocUnsafe(text.length + 1);
  }

  run(): Lexed {
    const text = this.#text;
    const wellFormed = text.indexOf(0) < 0 && isUtf8(text);
    while (wellFormed && this.#at < text.length && !this.#overBounds()) this.#token();
    return {
      wellFormed,
      tokens: this.#tokens,
      depth: this.#depth,
      operatorBytes: this.#operatorBytes,
      shape: this.#shapeable ? this.#shape.toString("latin1", 0, this.#shapeLength) : undefined,
      backslashes: this.#backslashes,
      hintComments: this.#hints,
    };
  }

  #overBounds(): boolean {
    const { tokensMax, depthMax, operatorBytesMax } = this.#bounds;
    return this.#tokens > tokensMax || this.#depth > depthMax || this.#operatorBytes > operatorBytesMax;
  }

  #token(): void {
    const byte = this.#byte(0);
    switch (kinds[byte]) {
      case space:
        return this.#keep(this.#at + 1);
      case letter:
        return this.#word();
      case digit:
        return this.#number();
      case operator:
        return this.#operator();
      default:
        return this.#other(byte);
    }
  }

  #other(byte: number): void {
    const label = this.#afterLabel;
    this.#afterLabel = false;
    this.#tokens += 1;
    switch (byte) {
      case 0x27: // '
        return this.#string(false);
      case 0x22: // "
        return this.#quotedName();
      case 0x24: // $
        return this.#dollar();
      case 0x28: // (
      case 0x5b: // [
        this.#open(bracketLevel);
        break;
      case 0x29: // )
      case 0x5d: // ]
        this.#close();
        break;
      case 0x2c: // ,
      case 0x3b: // ;
        this.#softChain = 0;
        break;
      case 0x2e: // .
        if (kinds[this.#byte(1)] === digit && !label) return this.#number();
        this.#afterLabel = true;
        break;
      case 0x3a: // : as in ::, :=, and slices
        this.#chain(true);
        break;
      default:
        // Not in SQL: a control character, a backslash, braces.
        this.#shapeable = false;
    }
    this.#keep(this.#at + 1);
  }

  // Nesting.

  #open(kind: number): void {
    this.#levels.push({ kind, chain: this.#softChain * chainBase + this.#hardChain });
    this.#outerChain += this.#softChain + this.#hardChain;
    this.#softChain = 0;
    this.#hardChain = 0;
    this.#count();
  }

  #close(): void {
    const level = this.#levels.pop();
    if (level === undefined) return;
    this.#softChain = Math.floor(level.chain / chainBase);
    this.#hardChain = level.chain % chainBase;
    this.#outerChain -= this.#softChain + this.#hardChain;
  }

  #chain(soft: boolean): void {
    if (soft) this.#softChain += 1;
    else this.#hardChain += 1;
    this.#count();
  }

  #count(): void {
    const depth = this.#levels.length + this.#outerChain + this.#softChain + this.#hardChain;
    if (depth > this.#depth) this.#depth = depth;
  }

  // Words, names, operators.

  #word(): void {
    const text = this.#text;
    const start = this.#at;
    let end = start + 1;
    while (end < text.length && isWordByte(text[end] as number)) end += 1;
    const next = end < text.length ? text[end] : 0;
    if (end === start + 1) {
      const first = (text[start] as number) | 0x20;
      if (next === 0x27 && first === 0x65) return this.#escapeString(end);
      // b'…' and x'…' have rules of their own, and are rare.
      if (next === 0x27 && (first === 0x62 || first === 0x78)) this.#shapeable = false;
      // u&'…' and u&"…": escapes whose character another word may name.
      if (next === 0x26 && first === 0x75) this.#shapeable = false;
    }
    this.#tokens += 1;
    const label = this.#afterLabel;
    this.#afterLabel = false;
    if (!label || this.#isKeyword(start, end, "case")) this.#keyword(start, end);
    this.#keep(end);
  }

  #keyword(start: number, end: number): void {
    switch (end - start) {
      case 2:
        if (this.#isKeyword(start, end, "or")) this.#softChain = 0;
        else if (this.#isKeyword(start, end, "at")) this.#chain(true);
        else if (this.#isKeyword(start, end, "as")) this.#afterLabel = true;
        return;
      case 3:
        if (this.#isKeyword(start, end, "and")) this.#softChain = 0;
        else if (this.#isKeyword(start, end, "not")) this.#chain(true);
        else if (this.#isKeyword(start, end, "end") && this.#levels.at(-1)?.kind === caseLevel) this.#close();
        return;
      case 4:
        if (this.#isKeyword(start, end, "case")) this.#open(caseLevel);
        else if (this.#isKeyword(start, end, "join")) this.#chain(false);
        return;
      case 5:
        if (this.#isKeyword(start, end, "union")) this.#chain(false);
        return;
      case 6:
        if (this.#isKeyword(start, end, "except")) this.#chain(false);
        return;
      case 7:
        if (this.#isKeyword(start, end, "collate")) this.#chain(true);
        return;
      case 9:
        if (this.#isKeyword(start, end, "intersect")) this.#chain(false);
        return;
      default:
    }
  }

  #isKeyword(start: number, end: number, keyword: string): boolean {
    if (end - start !== keyword.length) return false;
    for (let index = 0; index < keyword.length; index += 1) {
      if (((this.#text[start + index] as number) | 0x20) !== keyword.charCodeAt(index)) return false;
    }
    return true;
  }

  #quotedName(): void {
    this.#keep(this.#quoteEnd(0x22, this.#at + 1, false));
  }

  #operator(): void {
    this.#afterLabel = false;
    const text = this.#text;
    this.#countOperators(this.#at);
    if (this.#byte(0) === 0x2d && this.#byte(1) === 0x2d) return this.#lineComment();
    if (this.#byte(0) === 0x2f && this.#byte(1) === 0x2a) return this.#blockComment();
    let end = this.#at;
    while (end < text.length && kinds[text[end] as number] === operator) {
      const pair = ((text[end] as number) << 8) | (text[end + 1] ?? 0);
      if (end > this.#at && (pair === 0x2d2d || pair === 0x2f2a)) break;
      end += 1;
      // An operator may fall apart into several, as in "1 +-+-1".
      this.#chain(true);
    }
    this.#tokens += 1;
    this.#keep(end);
  }

  /** PostgreSQL's lexer begins an operator or a comment here. */
  #countOperators(at: number): void {
    if (at >= this.#operatorsEnd) {
      let end = at;
      while (end < this.#text.length && kinds[this.#text[end] as number] === operator) end += 1;
      this.#operatorsEnd = end;
    }
    this.#operatorBytes += this.#operatorsEnd - at;
  }

  // Literals.

  /** e'…' */
  #escapeString(quoteAt: number): void {
    this.#tokens += 1;
    this.#afterLabel = false;
    this.#at = quoteAt;
    this.#string(true);
  }

  /** From the opening quote over all continuations in further lines. */
  #string(escapes: boolean): void {
    let end = this.#at;
    for (;;) {
      const start = end + 1;
      end = this.#quoteEnd(0x27, start, escapes);
      if (!escapes && !this.#backslashes) {
        const backslash = this.#text.indexOf(0x5c, start);
        this.#backslashes = backslash >= 0 && backslash < end;
      }
      const next = this.#continuation(end);
      if (next < 0) break;
      end = next;
    }
    this.#mark(stringMark, end);
  }

  /** Behind the closing quote; the end of the text if there is none. */
  #quoteEnd(quote: number, from: number, escapes: boolean): number {
    const text = this.#text;
    let at = from;
    for (;;) {
      if (!escapes) {
        const found = text.indexOf(quote, at);
        if (found < 0) return this.#unclosed();
        at = found;
      }
      const byte = text[at];
      if (byte === undefined) return this.#unclosed();
      if (byte === 0x5c && escapes) at += 2;
      else if (byte !== quote) at += 1;
      else if (text[at + 1] === quote) at += 2;
      else return at + 1;
    }
  }

  #unclosed(): number {
    this.#shapeable = false;
    return this.#text.length;
  }

  /** Where a string goes on: at a quote behind white space that holds a line break. Below 0 if it does not. */
  #continuation(from: number): number {
    const text = this.#text;
    let broken = false;
    for (let at = from; at < text.length; at += 1) {
      const byte = text[at] as number;
      if (byte === 0x0a || byte === 0x0d) broken = true;
      else if (byte === 0x2d && text[at + 1] === 0x2d) at = this.#lineEnd(at) - 1;
      else if (byte === 0x27 && broken) return at;
      else if (kinds[byte] !== space) return -1;
    }
    return -1;
  }

  /** $1, or $tag$ … $tag$. */
  #dollar(): void {
    const text = this.#text;
    let end = this.#at + 1;
    if (kinds[text[end] ?? 0] === digit) {
      while (end < text.length && kinds[text[end] as number] === digit) end += 1;
      // "$1a" is refused in some versions and two tokens in others.
      if (kinds[text[end] ?? 0] === letter) this.#shapeable = false;
      return this.#keep(end);
    }
    while (end < text.length && isTagByte(text[end] as number)) end += 1;
    if (text[end] !== 0x24) {
      this.#shapeable = false;
      return this.#keep(this.#at + 1);
    }
    const tag = text.subarray(this.#at, end + 1);
    const close = text.indexOf(tag, end + 1);
    this.#mark(stringMark, close < 0 ? this.#unclosed() : close + tag.length);
  }

  #number(): void {
    this.#tokens += 1;
    this.#afterLabel = false;
    const text = this.#text;
    let end = this.#at;
    let dots = 0;
    for (; end < text.length; end += 1) {
      const byte = text[end] as number;
      if (byte === 0x2e) dots += 1;
      else if (!isWordByte(byte)) break;
      // 1e5, 0x1f, 1_000 and mistakes: rare enough to be left to the parser.
      else if (kinds[byte] !== digit) this.#shapeable = false;
    }
    if (dots > 1) this.#shapeable = false;
    const digits = end - this.#at;
    this.#mark(dots === 0 && digits <= integerDigitsMax ? integerMark : floatMark, end);
  }

  // Comments.

  #lineComment(): void {
    const end = this.#lineEnd(this.#at);
    this.#comment(end);
  }

  #lineEnd(from: number): number {
    let end = from;
    while (end < this.#text.length && this.#text[end] !== 0x0a && this.#text[end] !== 0x0d) end += 1;
    return end;
  }

  #blockComment(): void {
    const text = this.#text;
    let level = 1;
    let at = this.#at + 2;
    while (level > 0) {
      const star = text.indexOf(0x2a, at);
      if (star < 0) return this.#comment(this.#unclosed());
      // Both "*/" and "/*" have a star; a slash belongs to one of them only.
      if (text[star - 1] === 0x2f && star - 1 >= at) {
        level += 1;
        this.#countOperators(star - 1);
        at = star + 1;
      } else if (text[star + 1] === 0x2f) {
        level -= 1;
        at = star + 2;
      } else at = star + 1;
    }
    this.#comment(at);
  }

  /** In a shape a comment is white space, unless it speaks to us. */
  #comment(end: number): void {
    const comment = this.#text.subarray(this.#at, end);
    if (comment.indexOf(hintWord) >= 0) {
      this.#hints.push(comment.toString("utf8"));
      this.#keep(end);
    } else {
      this.#mark(0x20, end);
    }
  }

  // The shape.

  #keep(end: number): void {
    const length = end - this.#at;
    if (length === 1) this.#shape[this.#shapeLength] = this.#text[this.#at] as number;
    else this.#text.copy(this.#shape, this.#shapeLength, this.#at, end);
    this.#shapeLength += length;
    this.#at = end;
  }

  #mark(mark: number, end: number): void {
    this.#shape[this.#shapeLength] = mark;
    this.#shapeLength += 1;
    this.#at = end;
  }

  #byte(ahead: number): number {
    return this.#text[this.#at + ahead] ?? 0;
  }
}

/** Two counts in one number of a level; above every bound of tokens. */
const chainBase = 1 << 24;

function isWordByte(byte: number): boolean {
  const kind = kinds[byte];
  return kind === letter || kind === digit || byte === 0x24;
}

function isTagByte(byte: number): boolean {
  const kind = kinds[byte];
  return kind === letter || kind === digit;
}
