/**
 * What the settings of TLS versions, ciphers and key exchange mean, on both sides: PgBouncer's words (libusual,
 * tls_config.c) and OpenSSL's, turned into what Node's secure contexts take, or into what is wrong with them.
 */
import { constants } from "node:crypto";
import { createSecureContext, type SecureVersion } from "node:tls";
import { assert } from "../base/assert.ts";
import type { ConfigProblem } from "./errors.ts";
import type { Settings } from "./schema.ts";

/** For `createSecureContext`. */
export interface TlsLimits {
  readonly minVersion: SecureVersion;
  readonly maxVersion: SecureVersion;
  /** Suites of TLS 1.3 and ciphers of the versions before in one list; undefined: Node's own. */
  readonly ciphers: string | undefined;
}

/** The same, as a server in a handshake needs it. */
export interface ServerTlsLimits extends TlsLimits {
  readonly ecdhCurve: string;
  /** Bits of OpenSSL for versions between the lowest and the highest that are not spoken; 0: none. */
  readonly secureOptions: number;
  /** Undefined: no key exchange over finite fields. */
  readonly dhparam: "auto" | undefined;
}

interface Version {
  readonly name: string;
  readonly version: SecureVersion;
  /** OpenSSL's bit that switches it off. */
  readonly off: number;
}

/** Oldest first. */
const versions: readonly Version[] = [
  { name: "tlsv1.0", version: "TLSv1", off: constants.SSL_OP_NO_TLSv1 },
  { name: "tlsv1.1", version: "TLSv1.1", off: constants.SSL_OP_NO_TLSv1_1 },
  { name: "tlsv1.2", version: "TLSv1.2", off: constants.SSL_OP_NO_TLSv1_2 },
  { name: "tlsv1.3", version: "TLSv1.3", off: constants.SSL_OP_NO_TLSv1_3 },
];

/** Several versions in a word. `tlsv1` is every version, as in libusual. */
const versionWords: Readonly<Record<string, readonly string[]>> = {
  all: ["tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3"],
  legacy: ["tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3"],
  tlsv1: ["tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3"],
  secure: ["tlsv1.2", "tlsv1.3"],
  default: ["tlsv1.2", "tlsv1.3"],
};

/** Words for whole lists of ciphers; undefined: Node's own list. */
const cipherWords: ReadonlyMap<string, string | undefined> = new Map([
  ["", undefined],
  ["default", undefined],
  ["secure", undefined],
  ["fast", undefined],
  ["normal", undefined],
  ["legacy", "HIGH:+3DES:!aNULL"],
  ["compat", "HIGH:+3DES:!aNULL"],
  ["all", "ALL:!aNULL:!eNULL"],
]);

const suites: readonly string[] = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_128_CCM_8_SHA256",
  "TLS_AES_128_CCM_SHA256",
];
/** OpenSSL's own choice among them. */
const usualSuites = suites.slice(0, 3).join(":");

type TlsSettings = Pick<
  Settings,
  | "client_tls_protocols"
  | "client_tls_ciphers"
  | "client_tls13_ciphers"
  | "client_tls_ecdhcurve"
  | "client_tls_dheparams"
  | "server_tls_protocols"
  | "server_tls_ciphers"
  | "server_tls13_ciphers"
>;

/** Towards clients. The settings have been checked. */
export function clientTlsLimits(settings: TlsSettings): ServerTlsLimits {
  const { gaps } = versionsOf(settings, "client");
  return {
    ...limitsOf(settings, "client"),
    secureOptions: gaps.reduce((bits, { off }) => bits | off, 0),
    ecdhCurve: settings.client_tls_ecdhcurve,
    dhparam: settings.client_tls_dheparams === "auto" ? "auto" : undefined,
  };
}

/** Towards PostgreSQL. The settings have been checked. */
export function serverTlsLimits(settings: TlsSettings): TlsLimits {
  return limitsOf(settings, "server");
}

/** What is wrong with the settings of one side, by the names of the settings. */
export function tlsLimitProblems(settings: TlsSettings, side: "client" | "server"): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const add = (key: keyof TlsSettings, problem: string | undefined): void => {
    if (problem !== undefined) problems.push({ key, problem });
  };
  const read = readVersions(settings[`${side}_tls_protocols`]);
  if (typeof read === "string") add(`${side}_tls_protocols`, read);
  else if (side === "server" && versionsOf(settings, side).gaps.length > 0) {
    // OpenSSL's client would offer the part below the gap alone (SSL_CTX_set_options, NOTES).
    add("server_tls_protocols", "has a gap, which the client of a handshake cannot have");
  }
  add(`${side}_tls_ciphers`, cipherProblem(settings[`${side}_tls_ciphers`], side));
  add(`${side}_tls13_ciphers`, suiteProblem(settings[`${side}_tls13_ciphers`]));
  if (side === "client") add("client_tls_ecdhcurve", curveProblem(settings.client_tls_ecdhcurve));
  return problems;
}

function limitsOf(settings: TlsSettings, side: "client" | "server"): TlsLimits {
  const { lowest, highest } = versionsOf(settings, side);
  return {
    minVersion: lowest.version,
    maxVersion: highest.version,
    ciphers: cipherList(settings[`${side}_tls_ciphers`], settings[`${side}_tls13_ciphers`]),
  };
}

/** The lowest and the highest version, and those between that are not spoken. */
function versionsOf(
  settings: TlsSettings,
  side: "client" | "server",
): { readonly lowest: Version; readonly highest: Version; readonly gaps: readonly Version[] } {
  const read = readVersions(settings[`${side}_tls_protocols`]);
  const spoken = versions.filter(({ name }) => typeof read !== "string" && read.has(name));
  const [lowest] = spoken;
  const highest = spoken.at(-1);
  assert(lowest !== undefined && highest !== undefined, "settings are checked before they are used");
  const between = versions.slice(versions.indexOf(lowest), versions.indexOf(highest));
  return { lowest, highest, gaps: between.filter((version) => !spoken.includes(version)) };
}

/**
 * Names and words, separated by commas or colons; `!` takes one away from those before it, or from all. What is
 * wrong, as text.
 */
function readVersions(text: string): ReadonlySet<string> | string {
  const result = new Set<string>();
  for (const part of text.split(/[,:]/)) {
    const [, negated = "", word = ""] = /^\s*(!?)\s*(.*?)\s*$/.exec(part.toLowerCase()) ?? [];
    const names = Object.hasOwn(versionWords, word) ? versionWords[word] : [word];
    if (names === undefined || !names.every((name) => versions.some((version) => version.name === name))) {
      return `${JSON.stringify(part.trim())} is no version of TLS; there are tlsv1.0, tlsv1.1, tlsv1.2 and tlsv1.3, and for several of them "secure", "all" and "legacy"`;
    }
    if (negated !== "" && result.size === 0) for (const { name } of versions) result.add(name);
    for (const name of names) {
      if (negated === "") result.add(name);
      else result.delete(name);
    }
  }
  return result.size === 0 ? "leaves no version of TLS" : result;
}

/**
 * Node takes one list for all versions, and speaks no TLS 1.3 if it names no suite of it, and nothing else if it
 * names nothing else.
 */
function cipherList(ciphers: string, tls13: string): string | undefined {
  const older = ciphersOf(ciphers);
  const newer = tls13 === "" ? undefined : splitList(tls13).join(":");
  if (older === undefined && newer === undefined) return undefined;
  return `${newer ?? usualSuites}:${older ?? nodesCiphers()}`;
}

function ciphersOf(text: string): string | undefined {
  const word = text.trim().toLowerCase();
  return cipherWords.has(word) ? cipherWords.get(word) : splitList(text).join(":");
}

function nodesCiphers(): string {
  return splitList(constants.defaultCipherList)
    .filter((name) => !isSuite(name))
    .join(":");
}

/** OpenSSL takes colons, commas and blanks. */
function splitList(text: string): string[] {
  return text.split(/[:,\s]+/).filter((name) => name !== "");
}

function isSuite(name: string): boolean {
  return name.startsWith("TLS_");
}

function cipherProblem(text: string, side: "client" | "server"): string | undefined {
  const ciphers = ciphersOf(text);
  if (ciphers === undefined) return undefined;
  const suite = splitList(ciphers).find(isSuite);
  if (suite !== undefined) return `${suite} is of TLS 1.3, and belongs in ${side}_tls13_ciphers`;
  return acceptable({ ciphers: `${usualSuites}:${ciphers}` })
    ? undefined
    : `OpenSSL finds no cipher in ${JSON.stringify(text)}; "openssl ciphers -v" lists what there is`;
}

function suiteProblem(text: string): string | undefined {
  const unknown = splitList(text).find((name) => !suites.includes(name));
  return unknown === undefined
    ? undefined
    : `${JSON.stringify(unknown)} is no cipher of TLS 1.3; there are ${suites.join(", ")}`;
}

function curveProblem(text: string): string | undefined {
  if (text.toLowerCase() === "none") {
    return '"none" is not possible, because TLS 1.3 has no other key exchange; use "auto"';
  }
  return acceptable({ ecdhCurve: text })
    ? undefined
    : `OpenSSL knows no curve ${JSON.stringify(text)}; for example X25519, prime256v1, secp384r1, or several with colons between`;
}

function acceptable(options: { readonly ciphers?: string; readonly ecdhCurve?: string }): boolean {
  try {
    // No authorities, or Node would read all that it brings.
    createSecureContext({ ca: [], ...options });
    return true;
  } catch {
    return false;
  }
}
