/**
 * The server half of a client's login, without I/O: bodies of its 'p' messages in, actions out.
 *
 *     start()    → send a request | ok | fail
 *     receive(…) → send | derive | ask | ok | fail
 *     derived(…) → send | ok | fail
 *     answered(…) → ok | fail
 *
 * An unknown user must not be told from a known one: not by the messages, not by the salt, not by the work
 * done. So a user without a usable secret is given a made-up one, the same at every try (`mockKey`), and its
 * login is doomed: it takes every step and fails at the end, where a wrong password fails. Secrets in clear
 * text get the same kind of made-up salt for SCRAM, which also lets the caller keep what it derived.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { assert, unreachable } from "../base/assert.ts";
import { PeerError, protocolViolation } from "../base/errors.ts";
import { authTokenBytesMax } from "../wire/constants.ts";
import {
  encodeAuthenticationCleartextPassword,
  encodeAuthenticationMD5Password,
  encodeAuthenticationSASL,
  encodeAuthenticationSASLContinue,
  encodeAuthenticationSASLFinal,
} from "../wire/encode-backend.ts";
import { Reader } from "../wire/reader.ts";
import { encodeText } from "../wire/text.ts";
import { md5Hash, md5ResponseFromHash } from "./md5.ts";
import { MockSecrets } from "./mock-secret.ts";
import type { ScramKeys } from "./scram.ts";
import { scramIterationsMax, scramKeyBytes, scramKeys, scramNonceBytes, sha256 } from "./scram.ts";
import { ScramServer, scramMechanisms } from "./scram-server.ts";
import type { ScramSecret, Secret } from "./secret.ts";
import { buildScramSecret } from "./secret.ts";

export type AuthMethod = "trust" | "reject" | "password" | "md5" | "scram-sha-256" | "cert" | "ldap";

/** What the login needs to know of the connection's encryption. */
export interface LoginTls {
  /** True if the connection is encrypted. */
  readonly secure: boolean;
  /** tls-server-end-point data of our certificate; absent if it has none (see channel-binding.ts). */
  readonly endPoint?: Buffer | undefined;
  /** The user that the client's certificate stands for, if it showed one that our authorities vouch for. */
  readonly certificateUser?: string | undefined;
}

export interface LoginOptions {
  readonly method: AuthMethod;
  readonly user: string;
  /** What is stored for the user; undefined if there is no such user, or nothing stored for it. */
  readonly secret: Secret | undefined;
  /** It is known that there is no such user, so methods that ask for no secret let nobody in either. */
  readonly missing?: boolean;
  readonly tls: LoginTls;
  /** Cryptographically strong random bytes. */
  readonly random: (bytes: number) => Buffer;
  /** Secret of this process from which made-up salts come; the same on all processes behind one address. */
  readonly mockKey: Buffer;
  /** Rounds of PBKDF2 for secrets in clear text and for made-up ones: 1 to 1,000,000. */
  readonly scramIterations: number;
  /**
   * The kind of secret an unknown user seems to have: that of most users. By default `md5` for the method
   * md5 and `scram` for the others.
   */
  readonly unknownUserKind?: Secret["kind"];
}

export type LoginAction =
  /** Send this and wait for the next 'p' message. */
  | { readonly kind: "send"; readonly data: Buffer }
  /** Compute `saltedPassword` (pbkdf2.ts) and hand it to `derived`; the result may be kept and used again. */
  | { readonly kind: "derive"; readonly password: string; readonly salt: Buffer; readonly iterations: number }
  /** Ask the directory whether this is the user's password, and hand what it says to `answered`. */
  | { readonly kind: "ask"; readonly password: string }
  /**
   * The login is good. `data` goes out before AuthenticationOk. `keys` log in at any server that holds the
   * same SCRAM secret; `password` is known if it was sent or stored in clear text.
   */
  | {
      readonly kind: "ok";
      readonly data: Buffer | undefined;
      readonly keys: ScramKeys | undefined;
      readonly password: string | undefined;
    }
  | { readonly kind: "fail"; readonly error: PeerError };

/** PgBouncer's limit on a password in bytes: what fits in a message of 65,535 with some to spare. */
const passwordBytesMax = 65_530;

/** What the machine waits for; each kind holds what the next step needs. */
type State =
  | { readonly kind: "start" }
  | { readonly kind: "password" }
  | { readonly kind: "asking"; readonly password: string }
  | { readonly kind: "md5"; readonly salt: Buffer }
  | { readonly kind: "sasl-initial" }
  | { readonly kind: "sasl-first"; readonly mechanism: string }
  | { readonly kind: "sasl-final"; readonly server: ScramServer }
  | { readonly kind: "derive-password"; readonly password: string; readonly secret: ScramSecret }
  | {
      readonly kind: "derive-scram";
      readonly password: string;
      readonly salt: Buffer;
      readonly mechanism: string;
      readonly first: Buffer;
    }
  | { readonly kind: "ended"; readonly error: PeerError | undefined };

export class LoginMachine {
  readonly #options: LoginOptions;
  readonly #mock: MockSecrets;
  #secretUsed: Secret | undefined;
  /** True if the login fails whatever the client sends. */
  #doomed: boolean;
  #state: State = { kind: "start" };

  constructor(options: LoginOptions) {
    const { secret, scramIterations, method, mockKey, user } = options;
    assert(
      Number.isInteger(scramIterations) && scramIterations >= 1 && scramIterations <= scramIterationsMax,
      "the rounds of a SCRAM secret are between 1 and the most we would do",
    );
    this.#options = options;
    this.#mock = new MockSecrets(mockKey, user, scramIterations);
    this.#doomed = secret === undefined || !isUsable(secret, method, user);
  }

  /** The user's secret, or a made-up one. Made when a method needs it: `trust` and `cert` do not. */
  get #secret(): Secret {
    this.#secretUsed ??= this.#chooseSecret();
    return this.#secretUsed;
  }

  #chooseSecret(): Secret {
    const { secret, method } = this.#options;
    if (!this.#doomed && secret !== undefined) return secret;
    const unknownUserKind = this.#options.unknownUserKind ?? (method === "md5" ? "md5" : "scram");
    return this.#mock.ofKind(secret === undefined ? unknownUserKind : secret.kind);
  }

  /** The first step. Called once. */
  start(): LoginAction {
    assert(this.#state.kind === "start", "a login starts once");
    const { method, tls, user } = this.#options;
    switch (method) {
      case "trust":
        return this.#options.missing === true
          ? this.#fail(refused('"trust" authentication failed'))
          : this.#succeed({});
      case "reject":
        return this.#fail(refused("login rejected"));
      case "cert":
        return tls.certificateUser === user && user !== "" && this.#options.missing !== true
          ? this.#succeed({})
          : this.#fail(refused("certificate authentication failed"));
      case "password":
      case "ldap":
        this.#state = { kind: "password" };
        return { kind: "send", data: encodeAuthenticationCleartextPassword() };
      case "md5":
        return this.#secret.kind === "scram" ? this.#startScram() : this.#startMd5();
      case "scram-sha-256":
        return this.#startScram();
      default:
        return unreachable(method, "authentication method");
    }
  }

  /**
   * Takes the body of a 'p' message (without type and length). Whatever is wrong with it becomes a `fail`:
   * 28P01 for a wrong secret, 08P01 for a malformed message or one that was not asked for.
   */
  receive(body: Buffer): LoginAction {
    return this.#guarded(() => this.#receive(body));
  }

  /** Takes what `derive` asked for. After the login failed meanwhile, that failure again. */
  derived(saltedPassword: Buffer): LoginAction {
    assert(saltedPassword.length === scramKeyBytes, "a salted password has 32 bytes");
    const state = this.#state;
    if (state.kind === "derive-password") {
      return this.#checkDerived(state.password, state.secret, saltedPassword);
    }
    if (state.kind === "derive-scram") {
      const secret = buildScramSecret(saltedPassword, state.salt, this.#options.scramIterations);
      return this.#guarded(() => this.#challenge(secret, state.mechanism, state.first));
    }
    assert(state.kind === "ended" && state.error !== undefined, "a salted password was asked for");
    return { kind: "fail", error: state.error };
  }

  /** Takes what the directory said about the password. After the login failed meanwhile, that failure again. */
  answered(proved: boolean): LoginAction {
    const state = this.#state;
    if (state.kind === "asking") {
      return proved
        ? this.#succeed({ password: state.password })
        : this.#fail(passwordRefused("LDAP authentication failed"));
    }
    assert(state.kind === "ended" && state.error !== undefined, "the directory was asked");
    return { kind: "fail", error: state.error };
  }

  /** What the client did wrong ends its login; anything else is a mistake of ours and goes on up. */
  #guarded(step: () => LoginAction): LoginAction {
    try {
      return step();
    } catch (error) {
      if (error instanceof PeerError) return this.#fail(error);
      throw error;
    }
  }

  #receive(body: Buffer): LoginAction {
    if (body.length > authTokenBytesMax) {
      throw protocolViolation("password message too long", { code: "peer.message_too_long" });
    }
    const state = this.#state;
    switch (state.kind) {
      case "password":
        return this.#receivePassword(readPassword(body));
      case "md5":
        return this.#checkMd5(readPassword(body), state.salt);
      case "sasl-initial":
        return this.#receiveInitial(body);
      case "sasl-first":
        return this.#receiveFirst(state.mechanism, body);
      case "sasl-final":
        return this.#receiveFinal(state.server, body);
      case "start":
      case "asking":
      case "derive-password":
      case "derive-scram":
      case "ended":
        throw protocolViolation("unexpected password message", { code: "peer.unexpected_password" });
      default:
        return unreachable(state, "state of a login");
    }
  }

  #receivePassword(password: string): LoginAction {
    if (this.#options.method !== "ldap") return this.#checkPassword(password);
    this.#state = { kind: "asking", password };
    return { kind: "ask", password };
  }

  #checkPassword(password: string): LoginAction {
    const secret = this.#secret;
    switch (secret.kind) {
      case "plain":
        return this.#decide(sameText(password, secret.password), { password });
      case "md5":
        return this.#decide(sameText(md5Hash(this.#options.user, password), secret.hash), { password });
      case "scram": {
        const { salt, iterations } = secret.secret;
        this.#state = { kind: "derive-password", password, secret: secret.secret };
        return { kind: "derive", password, salt, iterations };
      }
      default:
        return unreachable(secret, "kind of secret");
    }
  }

  #checkDerived(password: string, secret: ScramSecret, saltedPassword: Buffer): LoginAction {
    const keys = scramKeys(saltedPassword);
    const proved = timingSafeEqual(sha256(keys.clientKey), secret.storedKey);
    return this.#decide(proved, { password, keys });
  }

  #startMd5(): LoginAction {
    const salt = this.#options.random(4);
    this.#state = { kind: "md5", salt };
    return { kind: "send", data: encodeAuthenticationMD5Password(salt) };
  }

  #checkMd5(response: string, salt: Buffer): LoginAction {
    const secret = this.#secret;
    assert(secret.kind !== "scram", "a SCRAM secret is never asked about by md5");
    const hash = secret.kind === "plain" ? md5Hash(this.#options.user, secret.password) : secret.hash;
    const password = secret.kind === "plain" ? secret.password : undefined;
    return this.#decide(sameText(response, md5ResponseFromHash(hash, salt)), { password });
  }

  #startScram(): LoginAction {
    const { secure, endPoint } = this.#options.tls;
    this.#state = { kind: "sasl-initial" };
    return { kind: "send", data: encodeAuthenticationSASL(scramMechanisms(secure, endPoint)) };
  }

  /** SASLInitialResponse: mechanism, length of the data (-1: none, it comes after an empty challenge), data. */
  #receiveInitial(body: Buffer): LoginAction {
    const reader = new Reader(body, 0, body.length, "client");
    const mechanism = reader.text();
    const first = reader.value();
    reader.finish();
    const { secure, endPoint } = this.#options.tls;
    if (!scramMechanisms(secure, endPoint).includes(mechanism)) {
      throw protocolViolation("client selected an invalid SASL authentication mechanism", {
        code: "peer.sasl_mechanism",
      });
    }
    if (first !== null) return this.#receiveFirst(mechanism, first);
    this.#state = { kind: "sasl-first", mechanism };
    return { kind: "send", data: encodeAuthenticationSASLContinue(Buffer.alloc(0)) };
  }

  #receiveFirst(mechanism: string, first: Buffer): LoginAction {
    const secret = this.#secret;
    if (secret.kind === "scram") return this.#challenge(secret.secret, mechanism, first);
    if (secret.kind === "md5") return this.#challenge(this.#doom(), mechanism, first);
    const { password } = secret;
    const salt = this.#mock.salt;
    // The message may lie in a buffer that is used again before the answer comes.
    this.#state = { kind: "derive-scram", password, salt, mechanism, first: Buffer.from(first) };
    return { kind: "derive", password, salt, iterations: this.#options.scramIterations };
  }

  #challenge(secret: ScramSecret, mechanism: string, first: Buffer): LoginAction {
    const { tls, random } = this.#options;
    const server = new ScramServer({
      secret,
      doomed: this.#doomed,
      tls: tls.secure,
      endPoint: tls.endPoint,
      nonce: random(scramNonceBytes).toString("base64"),
    });
    const data = server.first(mechanism, first);
    this.#state = { kind: "sasl-final", server };
    return { kind: "send", data: encodeAuthenticationSASLContinue(data) };
  }

  #receiveFinal(server: ScramServer, body: Buffer): LoginAction {
    const { data, clientKey, serverKey } = server.final(body);
    const password = this.#secret.kind === "plain" ? this.#secret.password : undefined;
    return this.#succeed({
      data: encodeAuthenticationSASLFinal(data),
      keys: { clientKey, serverKey },
      password,
    });
  }

  /** An md5 hash cannot take part in SCRAM: the exchange goes on with a made-up secret (auth-scram.c scram_init). */
  #doom(): ScramSecret {
    this.#doomed = true;
    return this.#mock.scram;
  }

  #decide(proved: boolean, found: { password?: string | undefined; keys?: ScramKeys }): LoginAction {
    return proved && !this.#doomed ? this.#succeed(found) : this.#fail(passwordFailed());
  }

  #succeed(found: { data?: Buffer; keys?: ScramKeys; password?: string | undefined }): LoginAction {
    assert(this.#state.kind !== "ended", "a login ends once");
    this.#state = { kind: "ended", error: undefined };
    return { kind: "ok", data: found.data, keys: found.keys, password: found.password };
  }

  #fail(error: PeerError): LoginAction {
    this.#state = { kind: "ended", error };
    return { kind: "fail", error };
  }
}

/**
 * False for a stored secret that must let nobody in: an empty password (as in PostgreSQL and PgBouncer), one
 * that no message can carry, and for the method `password` one that would keep a processor of ours busy out of
 * all proportion.
 */
function isUsable(secret: Secret, method: AuthMethod, user: string): boolean {
  switch (secret.kind) {
    case "plain":
      return secret.password !== "" && !secret.password.includes("\0");
    case "md5":
      return secret.hash !== md5Hash(user, "");
    case "scram":
      return method !== "password" || secret.secret.iterations <= scramIterationsMax;
    default:
      return unreachable(secret, "kind of secret");
  }
}

/** A password message: text, one zero byte, nothing else (auth.c recv_password_packet). */
function readPassword(body: Buffer): string {
  const reader = new Reader(body, 0, body.length, "client");
  const password = reader.text();
  if (reader.remaining !== 0) {
    throw protocolViolation("invalid password packet size", { code: "peer.malformed_message" });
  }
  if (body.length - 1 > passwordBytesMax) throw passwordRefused("password too long");
  if (password === "") throw passwordRefused("empty password returned by client");
  return password;
}

/** Compares in a time that does not depend on where two texts differ. */
function sameText(left: string, right: string): boolean {
  return timingSafeEqual(digestOf(left), digestOf(right));
}

function digestOf(text: string): Buffer {
  return createHash("sha256").update(encodeText(text)).digest();
}

function passwordFailed(): PeerError {
  return passwordRefused("password authentication failed");
}

function passwordRefused(message: string): PeerError {
  return new PeerError(message, {
    code: "peer.authentication_failed",
    sqlstate: "28P01",
    source: "client",
  });
}

function refused(message: string): PeerError {
  return new PeerError(message, { code: "peer.login_refused", sqlstate: "28000", source: "client" });
}
