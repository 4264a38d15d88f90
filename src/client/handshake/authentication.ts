/**
 * The client's half of a login: answers what the server asks for, or refuses. One method per login: a server
 * that asks again, or in another way, is not a PostgreSQL server and might be after the password.
 *
 * What may be answered: anything over TLS or on this machine; a password in clear text over the network only
 * if that is allowed. `channelBinding: "require"` leaves nothing but SCRAM-SHA-256-PLUS. Old and foreign
 * methods are refused by name. sans-IO: PBKDF2 is asked for, not done.
 */
import { md5Response, md5ResponseFromHash } from "../../auth/md5.ts";
import { ScramClient } from "../../auth/scram-client.ts";
import { assert, unreachable } from "../../base/assert.ts";
import { OperationError, protocolViolation } from "../../base/errors.ts";
import { AuthenticationCode } from "../../wire/constants.ts";
import { encodePassword, encodeSaslInitialResponse, encodeSaslResponse } from "../../wire/encode-frontend.ts";
import type { BackendMessage } from "../../wire/messages.ts";
import {
  type AuthenticationMethod,
  type ConnectOptions,
  type Host,
  passwordFor,
  type ScramKeys,
  sendsCertificate,
} from "../conninfo/options.ts";

export type AuthenticationMessage = Extract<BackendMessage, { kind: `Authentication${string}` }>;

/** What is known of the channel that the login runs over. */
export interface Channel {
  readonly tls: boolean;
  /** tls-server-end-point data of the server's certificate, if it has any. */
  readonly endPoint: Buffer | undefined;
  /** The bytes do not leave this machine: a Unix socket or a loopback address. */
  readonly local: boolean;
  /** Which entry of the list of hosts it leads to. */
  readonly host: Host;
  /** The server asked for a client certificate in the TLS handshake. */
  readonly certificateRequested: boolean;
}

export type AuthenticationAction =
  | { readonly kind: "send"; readonly data: Buffer }
  | { readonly kind: "derive"; readonly password: string; readonly salt: Buffer; readonly iterations: number }
  /** The server has said enough for now; its next message follows by itself. */
  | { readonly kind: "wait" }
  | { readonly kind: "accepted" };

/** Bytes of randomness in a SCRAM nonce (scram-common.h SCRAM_RAW_NONCE_LEN). */
const nonceBytes = 18;

export class Authentication {
  readonly #options: ConnectOptions;
  readonly #channel: Channel;
  readonly #random: (bytes: number) => Buffer;
  #method: AuthenticationMethod = "none";
  #scram: ScramClient | undefined;
  #passwordFile: string | undefined;

  constructor(options: ConnectOptions, channel: Channel, random: (bytes: number) => Buffer) {
    this.#options = options;
    this.#channel = channel;
    this.#random = random;
  }

  /** What the server asked for so far. */
  get method(): AuthenticationMethod {
    return this.#method;
  }

  /** The password file whose password was used. */
  get passwordFile(): string | undefined {
    return this.#passwordFile;
  }

  /** The keys of a SCRAM login, once the server has proved itself. */
  get scramKeys(): ScramKeys | undefined {
    return this.#scram?.keys;
  }

  /**
   * Throws OperationError `client.login_failed` (08001) if the request cannot or must not be met, PeerError
   * (08P01, 28P01, 28000) if it breaks the rules.
   */
  receive(message: AuthenticationMessage): AuthenticationAction {
    switch (message.kind) {
      case "AuthenticationOk":
        this.#checkAccepted();
        return { kind: "accepted" };
      case "AuthenticationCleartextPassword":
        this.#begin("password");
        return { kind: "send", data: encodePassword(this.#cleartextPassword()) };
      case "AuthenticationMD5Password":
        this.#begin("md5");
        return { kind: "send", data: encodePassword(this.#md5Response(message.salt)) };
      case "AuthenticationSASL":
        return this.#beginScram(message.mechanisms);
      case "AuthenticationSASLContinue": {
        const challenge = this.#exchange().challenge(message.data);
        return challenge.kind === "derive"
          ? challenge
          : { kind: "send", data: encodeSaslResponse(challenge.data) };
      }
      case "AuthenticationSASLFinal":
        this.#exchange().verify(message.data);
        return { kind: "wait" };
      case "AuthenticationUnsupported":
        return this.#refuse(methodName(message.code));
      default:
        return unreachable(message, "authentication message");
    }
  }

  /** The answer to the challenge that asked for `derive`. */
  derived(saltedPassword: Buffer): Buffer {
    assert(this.#scram !== undefined, "a salted password belongs to a SCRAM exchange");
    return encodeSaslResponse(this.#scram.derived(saltedPassword));
  }

  #begin(method: AuthenticationMethod): void {
    if (this.#method !== "none") {
      throw protocolViolation("server requested authentication twice", { source: "server" });
    }
    this.#checkAllowed(method, `server requested ${methodWords[method]}`);
    this.#checkBindable(method);
    this.#method = method;
  }

  #checkAllowed(method: AuthenticationMethod | undefined, what: string): void {
    const { requireAuth } = this.#options;
    if (requireAuth === undefined || (method !== undefined && requireAuth.includes(method))) return;
    throw refusal(`authentication method requirement "${requireAuth.join(",")}" failed: ${what}`);
  }

  /** Only SASL can be bound to the channel: any other answer might give the password away. */
  #checkBindable(method: AuthenticationMethod | undefined): void {
    if (this.#options.channelBinding === "require" && method !== "scram-sha-256") {
      throw refusal("channel binding required but not supported by server's authentication request");
    }
  }

  /** libpq's order (fe-auth.c check_expected_areq): certificate, method, binding. */
  #checkAccepted(): void {
    if (this.#options.sslcertmode === "require") {
      if (!this.#channel.certificateRequested) throw refusal("server did not request an SSL certificate");
      if (!sendsCertificate(this.#options)) {
        throw refusal("server accepted connection without a valid SSL certificate");
      }
    }
    if (this.#method === "none") {
      this.#checkAllowed("none", "server did not complete authentication");
    }
    if (this.#scram !== undefined && !this.#scram.verified) {
      throw protocolViolation("server accepted the login before it proved itself", { source: "server" });
    }
    if (this.#options.channelBinding === "require" && this.#scram?.channelBound !== true) {
      throw refusal("channel binding required, but server authenticated client without channel binding");
    }
  }

  #refuse(what: string): never {
    this.#checkAllowed(undefined, `server requested ${what}`);
    this.#checkBindable(undefined);
    throw refusal(`server requested ${what}, which is not supported`);
  }

  #cleartextPassword(): string {
    const { allowCleartextPassword, requireAuth } = this.#options;
    const allowed =
      this.#channel.tls ||
      (allowCleartextPassword ?? (this.#channel.local || requireAuth?.includes("password") === true));
    if (!allowed) {
      throw refusal(
        "server requested a cleartext password over an unencrypted connection, which is not allowed",
      );
    }
    return this.#password();
  }

  #md5Response(salt: Buffer): string {
    const { md5Hash, user } = this.#options;
    return md5Hash === undefined
      ? md5Response(user, this.#password(), salt)
      : md5ResponseFromHash(md5Hash, salt);
  }

  #password(): string {
    const { password, file } = passwordFor(this.#options, this.#channel.host);
    if (password === undefined) throw refusal("fe_sendauth: no password supplied");
    this.#passwordFile = file;
    return password;
  }

  #beginScram(mechanisms: readonly string[]): AuthenticationAction {
    if (this.#scram !== undefined) {
      throw protocolViolation("duplicate SASL authentication request", { source: "server" });
    }
    const known = mechanisms.filter((mechanism) => mechanism.startsWith("SCRAM-SHA-256"));
    if (known.length === 0 && mechanisms.includes("OAUTHBEARER")) this.#refuse("OAUTHBEARER authentication");
    this.#begin("scram-sha-256");
    this.#scram = new ScramClient({
      mechanisms: [...mechanisms],
      channelBinding: this.#options.channelBinding,
      tls: this.#channel.tls,
      endPoint: this.#channel.endPoint,
      credential: this.#options.scramKeys ?? { password: this.#password() },
      nonce: this.#random(nonceBytes).toString("base64"),
    });
    const { mechanism, data } = this.#scram.initial();
    return { kind: "send", data: encodeSaslInitialResponse(mechanism, data) };
  }

  #exchange(): ScramClient {
    if (this.#scram === undefined) {
      throw protocolViolation("server continued a SASL exchange that was not begun", { source: "server" });
    }
    return this.#scram;
  }
}

const methodWords: Readonly<Record<AuthenticationMethod, string>> = {
  none: "no authentication",
  password: "a cleartext password",
  md5: "a hashed password",
  "scram-sha-256": "SASL authentication",
};

const methodNames: ReadonlyMap<number, string> = new Map([
  [AuthenticationCode.kerberosV4, "Kerberos 4 authentication"],
  [AuthenticationCode.kerberosV5, "Kerberos 5 authentication"],
  [AuthenticationCode.crypt, "crypt authentication"],
  [AuthenticationCode.scm, "SCM credential authentication"],
  [AuthenticationCode.gss, "GSSAPI authentication"],
  [AuthenticationCode.gssContinue, "a continued GSSAPI exchange"],
  [AuthenticationCode.sspi, "SSPI authentication"],
]);

function methodName(code: number): string {
  const name = methodNames.get(code);
  return name === undefined ? `authentication method ${code}` : `${name} (code ${code})`;
}

function refusal(message: string): OperationError {
  return new OperationError(message, { code: "client.login_failed", sqlstate: "08001", source: "server" });
}
