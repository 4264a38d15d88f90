/**
 * What is this text? The door of the room: layers from cheap to dear.
 *
 * 1. The shapes of plain texts seen lately, whatever their literals (shape-index.ts).
 * 2. The texts seen lately, byte for byte.
 * 3. The scanner, for the commonest utility statements.
 * 4. The shapes of other texts seen lately: those that differ only in literals and comments.
 * 5. PostgreSQL's parser.
 *
 * What comes out of 1 to 5 is what a text says by itself; the catalog of the database that it is for makes a class
 * of it. An entry keeps the class of the catalog it was last asked for.
 *
 * Nobody can make this dear for others: a text too long, with too many tokens or nested too deep, be it in comments, is unknown
 * before the parser sees it; parsing has a share of the time and a burst, and beyond them a text is unknown; the caches
 * have bounds in bytes. Unknown is always right, only slow: the text runs alone, on the primary, and the
 * session is looked at afterwards.
 */
import { analyze, unparsed } from "./analyze.ts";
import { GenerationCache } from "./cache.ts";
import { Catalog } from "./catalog.ts";
import { type LexBounds, type Lexed, lex } from "./lex.ts";
import type { Parser } from "./parser.ts";
import { innerStatementOf } from "./prepare.ts";
import { scan } from "./scanner.ts";
import { type Known, ShapeIndex, type ShapeTrail } from "./shape-index.ts";
import type { OpaqueReason, StatementClass } from "./statement-class.ts";
import type { Syntax } from "./syntax.ts";
import { verdict } from "./verdict.ts";
import { literalsMatter } from "./walk.ts";

export interface ClassifierOptions {
  /** For all caches together. */
  readonly cacheBytesMax?: number;
  /** Longer texts are unknown. */
  readonly textBytesMax?: number;
  readonly tokensMax?: number;
  readonly depthMax?: number;
  /** Bytes that PostgreSQL's lexer may read for operators and comments, many of them again and again. */
  readonly operatorBytesMax?: number;
  /** How much parsing may be done at once, and which share of the time in the long run. */
  readonly parseBurstMs?: number;
  readonly parseShare?: number;
  /** Milliseconds on a monotonic scale, to measure parsing with. */
  readonly now: () => number;
}

/** Settings of a session that change where its strings end. */
export interface LexicalSettings {
  /** standard_conforming_strings. */
  readonly conformingStrings: boolean;
  /** Whether bytes below 128 are always ASCII: not so in SJIS, BIG5, GBK, UHC, GB18030, JOHAB, SHIFT_JIS_2004. */
  readonly asciiSafe: boolean;
}

const usualSettings: LexicalSettings = { conformingStrings: true, asciiSafe: true };

/** Counts since the start, and sizes now. */
export interface ClassifierStatistics {
  readonly textHits: number;
  readonly scannerHits: number;
  readonly shapeHits: number;
  readonly parses: number;
  readonly refusals: number;
  readonly parseMs: number;
  /** Texts that were not looked at, by reason. */
  readonly unknown: Readonly<Record<string, number>>;
  readonly parserFailures: number;
  readonly textEntries: number;
  readonly textBytes: number;
  readonly shapeEntries: number;
  readonly shapeBytes: number;
}

interface Entry {
  readonly syntax: Syntax;
  /** The text means something else with standard_conforming_strings off. */
  readonly backslashes: boolean;
  /** No literal matters: it is that of all texts of its shape. */
  readonly shaped: boolean;
  catalog: Catalog;
  statementClass: StatementClass;
}

/** What is known of a text's shape, found by the trail of its client. */
export type ExpectedText = Known<Entry>;

export class Classifier {
  readonly #parser: Parser;
  readonly #now: () => number;
  readonly #textBytesMax: number;
  readonly #bounds: LexBounds;
  readonly #plain: ShapeIndex<Entry>;
  readonly #texts: GenerationCache<string, Entry>;
  readonly #shapes: GenerationCache<string, Entry>;
  readonly #burstMs: number;
  readonly #share: number;
  #budgetMs: number;
  #budgetAt: number;
  #textHits = 0;
  #scannerHits = 0;
  #shapeHits = 0;
  #parses = 0;
  #refusals = 0;
  #parseMs = 0;
  readonly #unknown: Record<string, number> = {};

  constructor(parser: Parser, options: ClassifierOptions) {
    this.#parser = parser;
    this.#now = options.now;
    this.#textBytesMax = options.textBytesMax ?? 64 * 1024;
    this.#bounds = {
      tokensMax: options.tokensMax ?? 8192,
      depthMax: options.depthMax ?? 400,
      operatorBytesMax: options.operatorBytesMax ?? 1024 * 1024,
    };
    const cacheBytesMax = options.cacheBytesMax ?? 16 * 1024 * 1024;
    this.#plain = new ShapeIndex(cacheBytesMax / 4);
    this.#texts = new GenerationCache(cacheBytesMax / 2);
    this.#shapes = new GenerationCache(cacheBytesMax / 4);
    this.#burstMs = options.parseBurstMs ?? 100;
    this.#share = options.parseShare ?? 0.25;
    this.#budgetMs = this.#burstMs;
    this.#budgetAt = options.now();
  }

  /** Never throws, keeps nothing of `text` but a copy. */
  classify(
    text: Buffer | string,
    catalog: Catalog = Catalog.unknown,
    settings: LexicalSettings = usualSettings,
  ): StatementClass {
    const bytes = typeof text === "string" ? Buffer.from(text) : text;
    return this.classifySpan(bytes, 0, bytes.length, catalog, settings);
  }

  /**
   * What is known of the shape of `buffer[start, end)`, a text that is read in the usual way, if its client's trail leads there: nearly
   * all texts of a busy client are found so. Undefined: {@link classifySpan} has to find out.
   */
  expected(buffer: Buffer, start: number, end: number, trail: ShapeTrail): ExpectedText | undefined {
    if (end - start > this.#textBytesMax) return undefined;
    const known = this.#plain.expected(buffer, start, end, trail);
    if (known !== undefined) this.#shapeHits += 1;
    return known;
  }

  /** The class of such a text. */
  classOf({ value }: ExpectedText, catalog: Catalog): StatementClass {
    return classOf(value, catalog);
  }

  /** The same of `buffer[start, end)`. `trail`: of the client that has sent it, if it does not lead there. */
  classifySpan(
    buffer: Buffer,
    start: number,
    end: number,
    catalog: Catalog,
    settings: LexicalSettings = usualSettings,
    trail?: ShapeTrail,
  ): StatementClass {
    if (end - start > this.#textBytesMax) return this.#refuse("too_long");
    const usual = settings === usualSettings;
    const alike = usual ? this.#plain.find(buffer, start, end, trail) : undefined;
    if (alike !== undefined) {
      this.#shapeHits += 1;
      return classOf(alike, catalog);
    }
    const plain = usual && this.#plain.isPlain;
    const bytes = buffer.subarray(start, end);
    const key = bytes.toString("latin1");
    const known = this.#texts.get(key, entryBytes);
    if (known !== undefined) this.#textHits += 1;
    const entry = known ?? this.#learn(bytes, key, catalog);
    if (typeof entry === "string") return this.#refuse(entry);
    // What the words of a text decide is found by them, if nothing but words is in it: BEGIN, END.
    if (plain && (entry.shaped || this.#plain.isExact)) this.#plain.add(entry, entryBytes(entry));
    else if (known === undefined) this.#texts.set(key, entry, entryBytes(entry));
    if (!usual && misread(entry, key, settings)) return this.#refuse("encoding");
    return classOf(entry, catalog);
  }

  statistics(): ClassifierStatistics {
    return {
      textHits: this.#textHits,
      scannerHits: this.#scannerHits,
      shapeHits: this.#shapeHits,
      parses: this.#parses,
      refusals: this.#refusals,
      parseMs: this.#parseMs,
      unknown: { ...this.#unknown },
      parserFailures: this.#parser.failures,
      textEntries: this.#texts.entries,
      textBytes: this.#texts.bytes,
      shapeEntries: this.#shapes.entries + this.#plain.entries,
      shapeBytes: this.#shapes.bytes + this.#plain.bytes,
    };
  }

  #refuse(reason: OpaqueReason): StatementClass {
    this.#unknown[reason] = (this.#unknown[reason] ?? 0) + 1;
    return unknownClass(reason);
  }

  /** An entry for a text that is in no cache, or why there is none. */
  #learn(bytes: Buffer, key: string, catalog: Catalog): Entry | OpaqueReason {
    const scanned = scan(key);
    if (scanned !== undefined) {
      this.#scannerHits += 1;
      return newEntry(scanned, { backslashes: false, shaped: false }, catalog);
    }
    const lexed = lex(bytes, this.#bounds);
    const refused = refusal(lexed, this.#bounds);
    if (refused !== undefined) return refused;
    const { shape, backslashes } = lexed;
    if (shape !== undefined && /^[\s;]*$/.test(shape)) {
      const syntax = unparsed("empty", false, lexed.hintComments);
      return newEntry(syntax, { backslashes, shaped: false }, catalog);
    }
    const alike = shape === undefined ? undefined : this.#shapes.get(shape, entryBytes);
    if (alike !== undefined && alike.backslashes === backslashes) {
      this.#shapeHits += 1;
      return alike;
    }
    return this.#parse(bytes, lexed, catalog);
  }

  #parse(bytes: Buffer, lexed: Lexed, catalog: Catalog): Entry | OpaqueReason {
    const startedAt = this.#now();
    this.#refill(startedAt);
    if (this.#budgetMs <= 0) return "over_budget";
    const outcome = this.#parser.parse(bytes);
    if (outcome.kind === "unavailable") return "parser_unavailable";
    const syntax =
      outcome.kind === "parsed"
        ? analyze(outcome.statements, bytes.length, lexed.hintComments, (range) =>
            innerStatementOf(bytes, range),
          )
        : unparsed("unknown", "unparsable", lexed.hintComments);
    this.#parses += 1;
    if (outcome.kind === "refused") this.#refusals += 1;
    const shaped = lexed.shape !== undefined && literalsDoNotMatter(syntax);
    const entry = newEntry(syntax, { backslashes: lexed.backslashes, shaped }, catalog);
    const spentMs = Math.max(0, this.#now() - startedAt);
    this.#parseMs += spentMs;
    // A process that was not running meanwhile has not been parsing.
    this.#budgetMs -= Math.min(spentMs, parseMsMax(lexed.tokens));
    if (shaped && lexed.shape !== undefined) this.#shapes.set(lexed.shape, entry, entryBytes(entry));
    return entry;
  }

  #refill(now: number): void {
    const elapsedMs = Math.max(0, now - this.#budgetAt);
    this.#budgetMs = Math.min(this.#burstMs, this.#budgetMs + elapsedMs * this.#share);
    this.#budgetAt = now;
  }
}

/** Several times of what a parse takes on a slow machine: about 3 µs a token on a fast one. */
function parseMsMax(tokens: number): number {
  return 0.5 + tokens * 0.02;
}

/** The class of a text that was not looked at. */
export function unknownClass(reason: OpaqueReason): StatementClass {
  let known = unknownClasses.get(reason);
  if (known === undefined) {
    known = verdict(unparsed("unknown", reason, []), Catalog.unknown);
    unknownClasses.set(reason, known);
  }
  return known;
}

const unknownClasses = new Map<OpaqueReason, StatementClass>();

function newEntry(syntax: Syntax, traits: Pick<Entry, "backslashes" | "shaped">, catalog: Catalog): Entry {
  return { syntax, ...traits, catalog, statementClass: verdict(syntax, catalog) };
}

function classOf(entry: Entry, catalog: Catalog): StatementClass {
  if (entry.catalog !== catalog) {
    entry.catalog = catalog;
    entry.statementClass = verdict(entry.syntax, catalog);
  }
  return entry.statementClass;
}

function misread(entry: Entry, key: string, settings: LexicalSettings): boolean {
  if (entry.backslashes && !settings.conformingStrings) return true;
  // In the keys, every byte is a character.
  return !settings.asciiSafe && /[\x80-\xff]/.test(key);
}

function refusal(lexed: Lexed, bounds: LexBounds): OpaqueReason | undefined {
  if (!lexed.wellFormed) return "encoding";
  if (lexed.tokens > bounds.tokensMax || lexed.operatorBytes > bounds.operatorBytesMax) return "too_long";
  return lexed.depth > bounds.depthMax ? "too_deep" : undefined;
}

const shapedTags: ReadonlySet<string> = new Set([
  "SelectStmt",
  "InsertStmt",
  "UpdateStmt",
  "DeleteStmt",
  "MergeStmt",
]);

function literalsDoNotMatter({ statements, calls }: Syntax): boolean {
  const [only, second] = statements;
  if (only === undefined || second !== undefined || !shapedTags.has(only.tag)) return false;
  return !calls.some(({ name }) => literalsMatter.has(name));
}

/** An estimate, above what V8 takes: the objects of a class, and its names. */
function entryBytes({ syntax }: Entry): number {
  const { statements, calls, relations, operators, types, fields } = syntax;
  const effects = statements.reduce((sum, { effects: list }) => sum + list.length, 0);
  const items = calls.length + relations.length + operators.length + types.length + effects;
  return 700 + 200 * statements.length + 160 * items + 60 * fields.length;
}
