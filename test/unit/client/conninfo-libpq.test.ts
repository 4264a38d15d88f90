/**
 * Our reading of connection strings against libpq 18 itself: the same strings go to both, and both must accept
 * the same and read the same values from it. Where a difference is intended, `intended` says why.
 */
import { isUtf8 } from "node:buffer";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { OperationError } from "../../../src/base/errors.ts";
import { conninfoDefaults, parseConninfo } from "../../../src/client/conninfo/conninfo.ts";
import { connectionKeywords } from "../../../src/client/conninfo/parameters.ts";
import { type LibpqAnswer, libpqProgram } from "../../kit/libpq.ts";

const libpq = libpqProgram();
const parse = (texts: readonly string[]): LibpqAnswer[] => libpq?.parse(texts) ?? [];

afterAll(() => libpq?.[Symbol.dispose]());

/** Strings that we refuse on purpose though libpq takes them. */
const intended: { readonly why: string; readonly applies: (text: string) => boolean }[] = [
  {
    why: "a string of JavaScript cannot hold bytes that are not UTF-8, and no other password must be sent",
    applies: (text) =>
      /^postgres(ql)?:\/\//.test(text) &&
      text.split(/[:@/?&=]/).some((part) => !isUtf8(percentDecoded(part))),
  },
];

function percentDecoded(text: string): Buffer {
  const bytes = Buffer.from(text).toString("latin1");
  const decoded = bytes.replace(/%([0-9a-f]{2})/gi, (_, digits) => String.fromCharCode(parseInt(digits, 16)));
  return Buffer.from(decoded, "latin1");
}

type Outcome = { readonly error: string } | Readonly<Record<string, string>>;

function ours(text: string): Outcome {
  try {
    return Object.fromEntries(parseConninfo(text));
  } catch (error) {
    if (!(error instanceof OperationError) || error.code !== "client.bad_option") throw error;
    return { error: "refused" };
  }
}

function theirs(text: string, answer: LibpqAnswer): Outcome {
  if (answer.error !== "" || intended.some(({ applies }) => applies(text))) return { error: "refused" };
  return Object.fromEntries([...answer.values].map(([keyword, value]) => [keyword, value.toString()]));
}

/** Both outcomes of every string on which we differ. */
function differences(texts: readonly string[]): { text: string; ours: Outcome; libpq: Outcome }[] {
  const answers = parse(texts);
  return texts.flatMap((text, index) => {
    const pair = { text, ours: ours(text), libpq: theirs(text, answers[index] as LibpqAnswer) };
    return isDeepEqual(pair.ours, pair.libpq) ? [] : [pair];
  });
}

function isDeepEqual(a: Outcome, b: Outcome): boolean {
  const lines = (outcome: Outcome): string[] => Object.entries(outcome).map((entry) => JSON.stringify(entry));
  return lines(a).toSorted().join() === lines(b).toSorted().join();
}

const keywordWords = [...connectionKeywords, "requiressl", "ssl", "hosst", "database", ""];
const blanks = ["", "", "", " ", "  ", "\t", "\n", "\v", "\f", "\r"];
const pieces = fc.constantFrom(
  ...Array.from("abAB01:@/?#&=[],'\"\\%+-_. \t\n~*"),
  ...[
    "%20",
    "%2C",
    "%2f",
    "%3A",
    "%40",
    "%00",
    "%25",
    "%c3%a9",
    "%C3",
    "%FF",
    "%",
    "%1",
    "%zz",
    "\\'",
    "\\\\",
  ],
  ...["é", "😀", "\u00a0", "host", "true", "::1", "postgres://", "5432", "1"],
);
const word = fc.array(pieces, { maxLength: 5 }).map((parts) => parts.join(""));
/** Mostly harmless, so that what follows is reached as well. */
const component = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom("", "a", "host", "b%20c", " d", "e ", "f%2Fg", "é", "1", "12345") },
  { weight: 1, arbitrary: word },
);
const maybe = (before: string, value: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.oneof(
    fc.constant(""),
    value.map((text) => before + text),
  );

const queryParameter = fc
  .tuple(
    fc.constantFrom(...keywordWords, "us%65r", " port "),
    fc.constantFrom("=", "=", "=", "", "=="),
    component,
  )
  .map((parts) => parts.join(""));
const uri = fc
  .tuple(
    fc.constantFrom("postgres://", "postgresql://", "postgresql://", "Postgres://", "postgres:/"),
    fc.oneof(
      fc.constant(""),
      fc.tuple(component, maybe(":", component)).map(([u, p]) => `${u}${p}@`),
    ),
    fc
      .array(
        fc
          .tuple(
            fc.oneof(
              component,
              component.map((text) => `[${text}]`),
            ),
            maybe(":", component),
          )
          .map((parts) => parts.join("")),
        { maxLength: 3 },
      )
      .map((hosts) => hosts.join(",")),
    maybe("/", component),
    maybe(
      "?",
      fc.array(queryParameter, { maxLength: 3 }).map((parameters) => parameters.join("&")),
    ),
    fc.constantFrom("", "", "", "&", "/", "?"),
  )
  .map((parts) => parts.join(""));

const blank = fc.constantFrom(...blanks);
const quoted = word.map((text) => `'${text.replace(/(?<!\\)'/g, "\\'")}'`);
const pair = fc
  .tuple(
    blank,
    fc.constantFrom(...keywordWords),
    blank,
    fc.constantFrom("=", "=", "=", "=", ""),
    blank,
    fc.oneof(component, quoted, quoted, word),
  )
  .map((parts) => parts.join(""));
const keywordValue = fc
  .array(pair, { maxLength: 4 })
  .chain((pairs) => fc.constantFrom(" ", " ", "\n", "").map((separator) => pairs.join(separator)));

describe.skipIf(libpq === undefined)("as libpq", () => {
  test("has the same parameters", () => {
    const environment = { PGHOST: "h", PGPORT: "", PGREQUIRESSL: "1", PGAPPNAME: "a", HOME: "/nonexistent" };
    const rows = conninfoDefaults({ environment }).map((option) => [
      option.keyword,
      option.envvar,
      option.compiled,
      option.val,
      option.label,
      option.dispchar,
      String(option.dispsize),
    ]);
    expect(rows).toEqual(libpq?.defaults(environment));
    expect(rows).toHaveLength(50);
  });

  test("parses corner cases alike", () => {
    const words = ["", "a", "a b", "a'b", "a\\", "\\", "'", "''", "'a", "a%20b", "%", "=", "a=b", " ", "é"];
    const texts = [
      ...words,
      ...words.flatMap((value) => connectionKeywords.slice(0, 3).map((keyword) => `${keyword}=${value}`)),
      ...connectionKeywords.flatMap((keyword) => [`${keyword}=x`, `postgres://?${keyword}=x`]),
      ..."host|host user=x|host= user=x|=x| = x|user = 'a'b|user='a'port=1|user=a\\|user='a\\'|user='a\\".split(
        "|",
      ),
      ..."requiressl=1|requiressl=12|requiressl=0|requiressl=|sslmode=x requiressl=1".split("|"),
      ...[
        "//h?requiressl=1|//h?ssl=true|//h?ssl=1|//h?ssl|//h?=|//h?=x|//h?&|//h?a=b|//h?user=a&|//h?user=a&&",
        "//h?user=a=b|//h?user%3Da|//h?user=a&user=b|//u@h/d?user=v&host=i&dbname=e|//h?u%73er=x|//h? user = x ",
        "//|///|//@|//:@|//u:@|//:p@|//u:p:q@h|//u@h@i|//u:p@h:1@2|//h?user=a@b|//h/d?user=a@b|//u/p@h",
        "//:1|//:1,:2|//,|//,,|//a,b:1,[::1]:2/d|//a%2Cb:1%2C2|//a::1|//[::1]|//[::1]:5/d|//[::1]x|//[|//[]",
        "//[a b]|//[%20]|//[::1],[::2]:3|//[::1]?user=a|//[::1%25eth0]|// h |// a b|//h/ d |//h/a b|//h/a\tb",
        "//%2Ftmp/d|//h/%00|//h/%0|//h/%|//h/%zz|//h/%FF|//h/%c3%a9|//h//d|//h/d/e|//h/d#f|//h/d%3Fx|//h/+",
      ].flatMap((line) => line.split("|").map((text) => `postgres:${text}`)),
      "postgre://h",
      "POSTGRES://h",
      " postgres://h",
    ];
    expect(differences(texts)).toEqual([]);
  });

  test.each([
    ["URIs", uri],
    ["keywords and values", keywordValue],
    ["anything", word],
  ] as const)("parses 4000 random strings alike: %s", (_, arbitrary) => {
    const texts = fc.sample(arbitrary, { numRuns: 4000, seed: 20_180_918 });
    const accepted = parse(texts).filter(({ error }) => error === "").length;
    expect(accepted).toBeGreaterThan(40);
    expect(texts.length - accepted).toBeGreaterThan(40);
    expect(differences(texts).slice(0, 5)).toEqual([]);
  });
});
