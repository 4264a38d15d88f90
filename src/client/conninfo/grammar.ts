/**
 * libpq's two notations for connection parameters, as plain keywords and values:
 *
 *     host=localhost port=5432 dbname='my db' user=me            keyword/value
 *     postgresql://me:secret@localhost:5432/db?sslmode=require    URI
 *
 * Rules and their oddities are those of fe-connect.c (conninfo_parse, conninfo_uri_parse_options,
 * conninfo_uri_decode) of PostgreSQL 18: blanks at the ends of a URI's component are dropped, inner ones are
 * an error. No value ever appears in an error text, since it may be a password.
 */
import { badOption } from "./options.ts";

const uriPrefixes = ["postgresql://", "postgres://"];

/** What a text sets, in the order it was first set; a later duplicate has replaced an earlier value. */
export type Keywords = Map<string, string>;

/**
 * Parses either notation. `known` decides which keywords exist. Throws OperationError `client.bad_option`
 * (22023).
 */
export function parseKeywords(text: string, known: (keyword: string) => boolean): Keywords {
  const prefix = uriPrefixes.find((candidate) => text.startsWith(candidate));
  return prefix === undefined
    ? new KeywordValueParser(text, known).parse()
    : parseUri(text.slice(prefix.length), known);
}

/** isspace() of the C locale. */
const isBlank = (character: string | undefined): boolean =>
  character !== undefined && " \t\n\v\f\r".includes(character);

class KeywordValueParser {
  readonly #text: string;
  readonly #known: (keyword: string) => boolean;
  readonly #keywords: Keywords = new Map();
  #position = 0;

  constructor(text: string, known: (keyword: string) => boolean) {
    this.#text = text;
    this.#known = known;
  }

  parse(): Keywords {
    for (this.#skipBlanks(); this.#position < this.#text.length; this.#skipBlanks()) {
      const keyword = this.#keyword();
      this.#skipBlanks();
      const value = this.#text[this.#position] === "'" ? this.#quoted() : this.#bare();
      if (!this.#known(keyword)) throw badOption(`invalid connection option "${keyword}"`);
      this.#keywords.set(keyword, value);
    }
    return this.#keywords;
  }

  #skipBlanks(): void {
    while (isBlank(this.#text[this.#position])) this.#position++;
  }

  #keyword(): string {
    const start = this.#position;
    while (this.#position < this.#text.length && this.#text[this.#position] !== "=") {
      if (isBlank(this.#text[this.#position])) break;
      this.#position++;
    }
    const keyword = this.#text.slice(start, this.#position);
    this.#skipBlanks();
    if (this.#text[this.#position] !== "=") {
      // What is no keyword may be the rest of a password.
      const what = this.#known(keyword) ? `"${keyword}"` : `the word at position ${start}`;
      throw badOption(`missing "=" after ${what} in connection info string`);
    }
    this.#position++;
    return keyword;
  }

  #bare(): string {
    let value = "";
    while (this.#position < this.#text.length && !isBlank(this.#text[this.#position]))
      value += this.#character();
    return value;
  }

  #quoted(): string {
    this.#position++;
    let value = "";
    while (this.#text[this.#position] !== "'") {
      if (this.#position >= this.#text.length)
        throw badOption("unterminated quoted string in connection info string");
      value += this.#character();
    }
    this.#position++;
    return value;
  }

  /** The next character, or the one a backslash quotes; a backslash at the very end stands for nothing. */
  #character(): string {
    if (this.#text[this.#position] === "\\") this.#position++;
    return this.#text[this.#position++] ?? "";
  }
}

function parseUri(text: string, known: (keyword: string) => boolean): Keywords {
  const keywords: Keywords = new Map();
  const store = (keyword: string, encoded: string): void => {
    if (encoded !== "") keywords.set(keyword, decodeComponent(encoded));
  };
  // Credentials are there if an @ comes before the first slash.
  const designator = /^([^@/]*)@/.exec(text);
  const credentials = designator?.[1] ?? "";
  const colon = credentials.indexOf(":");
  store("user", colon < 0 ? credentials : credentials.slice(0, colon));
  if (colon >= 0) store("password", credentials.slice(colon + 1));

  const { hosts, ports, rest } = parseHostList(text.slice(designator?.[0].length ?? 0));
  store("host", hosts.join(","));
  store("port", ports.join(","));
  const question = rest.indexOf("?");
  const path = question < 0 ? rest : rest.slice(0, question);
  store("dbname", path.slice(1));
  if (question >= 0) parseQuery(rest.slice(question + 1), keywords, known);
  return keywords;
}

/** `host[:port],…` up to the slash or question mark that ends it. */
function parseHostList(text: string): { hosts: string[]; ports: string[]; rest: string } {
  const hosts: string[] = [];
  const ports: string[] = [];
  let rest = text;
  for (;;) {
    const host = rest.startsWith("[") ? bracketed(rest) : (/^[^:/?,]*/.exec(rest)?.[0] ?? "");
    hosts.push(host);
    rest = rest.slice(rest.startsWith("[") ? host.length + 2 : host.length);
    const port = rest.startsWith(":") ? (/^:([^/?,]*)/.exec(rest)?.[1] ?? "") : undefined;
    if (port !== undefined) rest = rest.slice(port.length + 1);
    ports.push(port ?? "");
    if (!rest.startsWith(",")) break;
    rest = rest.slice(1);
  }
  // Without any port, libpq stores none; with several hosts, the commas stay.
  return { hosts, ports: hosts.length === 1 && ports[0] === "" ? [] : ports, rest };
}

/** The IPv6 address in `[…]`; what it holds is not checked. */
function bracketed(text: string): string {
  const end = text.indexOf("]");
  if (end < 0)
    throw badOption('end of string reached when looking for matching "]" in IPv6 host address in URI');
  if (end === 1) throw badOption("IPv6 host address may not be empty in URI");
  const next = text[end + 1];
  if (next !== undefined && !":/?,".includes(next)) {
    throw badOption(
      `unexpected character "${next}" behind the IPv6 host address in URI (expected ":" or "/")`,
    );
  }
  return text.slice(1, end);
}

function parseQuery(text: string, keywords: Keywords, known: (keyword: string) => boolean): void {
  if (text === "") return;
  const parameters = text.split("&");
  // An ampersand at the end opens no further parameter.
  if (parameters.at(-1) === "") parameters.pop();
  for (const parameter of parameters) {
    const [encodedKeyword = "", encodedValue, ...more] = parameter.split("=");
    if (more.length > 0) {
      throw badOption(`extra key/value separator "=" in URI query parameter: "${encodedKeyword}"`);
    }
    if (encodedValue === undefined) {
      throw badOption(`missing key/value separator "=" in URI query parameter: "${encodedKeyword}"`);
    }
    const keyword = decodeComponent(encodedKeyword);
    const value = decodeComponent(encodedValue);
    if (keyword === "ssl" && value === "true") keywords.set("sslmode", "require");
    else if (known(keyword)) keywords.set(keyword, value);
    else throw badOption(`invalid URI query parameter: "${keyword}"`);
  }
}

function decodeComponent(encoded: string): string {
  const trimmed = encoded.replace(/^ +/, "").replace(/ +$/, "");
  if (/[ \t\n\v\f\r]/.test(trimmed)) {
    throw badOption("unexpected spaces found in a part of the URI, use percent-encoded spaces (%20) instead");
  }
  if (!trimmed.includes("%")) return trimmed;
  if (/%(?![0-9a-fA-F]{2})/.test(trimmed)) throw badOption("invalid percent-encoded token in URI");
  if (trimmed.includes("%00")) throw badOption("forbidden value %00 in percent-encoded value in URI");
  const bytes: Buffer[] = [];
  for (const part of trimmed.split(/(%[0-9a-fA-F]{2})/)) {
    bytes.push(part.startsWith("%") ? Buffer.from(part.slice(1), "hex") : Buffer.from(part));
  }
  return Buffer.concat(bytes).toString();
}
