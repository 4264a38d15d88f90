/**
 * Records of pg_hba.conf, and which of them decides over a connection: the first that fits its kind, address,
 * database and user (hba.c parse_hba_line, check_hba). Nothing is looked up to decide: not whether the user or
 * the database exists, so the decision tells a stranger nothing of either.
 *
 * What cannot be done here is refused by name when the file is loaded, never passed over: a rule that is
 * skipped lets in whom it was to keep out.
 */
import type { LdapOptions } from "../ldap.ts";
import type { AuthMethod } from "../login.ts";
import {
  type Address,
  type AddressRange,
  contains,
  type InterfaceAddress,
  isOfInterfaces,
  parseAddress,
  parsePeerAddress,
  rangeOfBits,
  rangeOfMask,
} from "./address.ts";
import {
  databasePattern,
  fitsDatabase,
  fitsUser,
  type NamePattern,
  type NamesAsked,
  RecordError,
  userPattern,
} from "./names.ts";
import { parseMethod, parseOptions } from "./options.ts";
import { nameCharactersMax } from "./regex.ts";
import type { Token, TokenLine } from "./tokens.ts";

export type ConnectionType = "local" | "host" | "hostssl" | "hostnossl" | "hostgssenc" | "hostnogssenc";

export type AddressPattern =
  | { readonly kind: "all" | "samehost" | "samenet" }
  | { readonly kind: "range"; readonly range: AddressRange };

export interface HbaRule {
  readonly file: string;
  readonly line: number;
  readonly type: ConnectionType;
  readonly databases: readonly NamePattern[];
  readonly users: readonly NamePattern[];
  /** Of type `local` there is none. */
  readonly address: AddressPattern | undefined;
  readonly method: AuthMethod;
  /** The certificate a client must show: one that our authorities vouch for, `verify-full` one of its user too. */
  readonly clientCertificate: "verify-ca" | "verify-full" | undefined;
  /** Which name in the certificate counts: the common name, or the distinguished name as a whole (RFC 2253). */
  readonly clientName: "CN" | "DN";
  /** The map of pg_ident.conf that says which users a certificate stands for; undefined: the one of its name. */
  readonly map: string | undefined;
  /** Of the method ldap: where to ask; undefined: what auth_ldap_options says. */
  readonly ldap: LdapOptions | undefined;
}

/** What is known of a client before it proves anything. */
export interface HbaConnection extends NamesAsked {
  readonly encrypted: boolean;
  /** Address of a TCP client as its socket says it; undefined: a Unix socket. */
  readonly address: string | undefined;
  /** The interfaces of this machine; asked only for `samehost` and `samenet`. */
  readonly interfaces: () => readonly InterfaceAddress[];
}

/** The rule that decides; undefined: none fits, and the client is refused. */
export function findRule(rules: readonly HbaRule[], connection: HbaConnection): HbaRule | undefined {
  // Regular expressions fit no such name, and one of them may be there to refuse it.
  const longest = Math.max(connection.user.length, connection.database.length);
  if (longest > nameCharactersMax) return undefined;
  const address = connection.address === undefined ? undefined : parsePeerAddress(connection.address);
  if (connection.address !== undefined && address === undefined) return undefined;
  return rules.find(
    (rule) =>
      fitsType(rule.type, connection) &&
      fitsAddress(rule.address, address, connection) &&
      fitsDatabase(rule.databases, connection) &&
      fitsUser(rule.users, connection.user),
  );
}

/** Reads one record. Throws RecordError (names.ts) with what is wrong with it. */
export function parseRule(record: TokenLine): HbaRule {
  const fields = new Fields(record);
  const type = parseType(fields.single("connection type"));
  const databases = fields.some("database").map(databasePattern);
  const users = fields.some("user").map(userPattern);
  const address = type === "local" ? undefined : parseAddressPattern(fields);
  const method = parseMethod(fields.single("authentication method"), type);
  const options = parseOptions(fields.rest(), type, method);
  const { file, line } = record;
  return { file, line, type, databases, users, address, method, ...options };
}

function fitsType(type: ConnectionType, { address, encrypted }: HbaConnection): boolean {
  switch (type) {
    case "local":
      return address === undefined;
    case "host":
    case "hostnogssenc":
      return address !== undefined;
    case "hostssl":
      return address !== undefined && encrypted;
    case "hostnossl":
      return address !== undefined && !encrypted;
    case "hostgssenc":
      // Encryption by GSSAPI is never agreed to.
      return false;
  }
}

function fitsAddress(
  pattern: AddressPattern | undefined,
  address: Address | undefined,
  connection: HbaConnection,
): boolean {
  if (pattern === undefined || pattern.kind === "all") return true;
  if (address === undefined) return false;
  if (pattern.kind === "range") return contains(pattern.range, address);
  return isOfInterfaces(address, connection.interfaces(), pattern.kind);
}

/** The fields of a record, one after the other. */
class Fields {
  readonly #record: TokenLine;
  #next = 0;

  constructor(record: TokenLine) {
    this.#record = record;
  }

  some(what: string): readonly Token[] {
    const field = this.#record.fields[this.#next++];
    if (field === undefined) throw new RecordError(`the line ends before the ${what}`);
    return field;
  }

  single(what: string): Token {
    const [first, ...others] = this.some(what);
    if (first === undefined || others.length > 0) throw new RecordError(`more than one ${what}`);
    return first;
  }

  rest(): readonly Token[] {
    return this.#record.fields.slice(this.#next).flat();
  }
}

const connectionTypes: readonly ConnectionType[] = [
  "local",
  "host",
  "hostssl",
  "hostnossl",
  "hostgssenc",
  "hostnogssenc",
];

function parseType({ text }: Token): ConnectionType {
  const type = connectionTypes.find((known) => known === text);
  if (type === undefined) throw new RecordError(`invalid connection type "${text}"`);
  return type;
}

function parseAddressPattern(fields: Fields): AddressPattern {
  const token = fields.single("address");
  if (!token.quoted) {
    if (token.text === "all" || token.text === "samehost" || token.text === "samenet") {
      return { kind: token.text };
    }
  }
  const [addressText = "", ...bitsTexts] = token.text.split("/");
  const address = parseAddress(addressText);
  if (address === undefined) {
    throw new RecordError(
      `"${token.text}" is no IP address; host names are not supported, since they would have to be looked up at every login`,
    );
  }
  const bitsText = bitsTexts.join("/");
  const range = bitsTexts.length > 0 ? rangeOfBits(address, bitsText) : maskedRange(address, fields);
  if (range === undefined) throw new RecordError(`invalid CIDR mask in address "${token.text}"`);
  return { kind: "range", range };
}

/** The mask stands in a field of its own. */
function maskedRange(address: Address, fields: Fields): AddressRange {
  const { text } = fields.single("network mask (or write ADDRESS/BITS)");
  const mask = parseAddress(text);
  if (mask === undefined) throw new RecordError(`invalid network mask "${text}"`);
  const range = rangeOfMask(address, mask);
  if (range === undefined) throw new RecordError("the address and the mask are not of the same kind");
  return range;
}
