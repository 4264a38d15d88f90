/**
 * One connection's login: everything a server says between the startup packet and its first ReadyForQuery,
 * and what the session is like then. sans-IO: bytes in, steps out; a connection that is tried anew has a
 * login of its own.
 */
import { assert, unreachable } from "../../base/assert.ts";
import { protocolViolation } from "../../base/errors.ts";
import { protocolVersion32, reportedParametersMax } from "../../wire/constants.ts";
import { decodeBackend } from "../../wire/decode-backend.ts";
import type { ErrorFields } from "../../wire/fields.ts";
import { Frame, Framer } from "../../wire/framer.ts";
import type { BackendMessage, NoticeResponse, ParameterStatus } from "../../wire/messages.ts";
import type { ConnectOptions, ScramKeys } from "../conninfo/options.ts";
import { Authentication, type AuthenticationMessage, type Channel } from "./authentication.ts";
import { loginRules, readyRules, tooManyParameters } from "./login-rules.ts";
import { negotiatedVersion } from "./negotiation.ts";
import { readOpening } from "./plain-error.ts";

/** What a server's words ask for, at this point of a conversation. */
export type Step =
  | { readonly kind: "send"; readonly data: Buffer }
  | { readonly kind: "derive"; readonly password: string; readonly salt: Buffer; readonly iterations: number }
  /** AuthenticationOk. */
  | { readonly kind: "accepted" }
  /** ErrorResponse. */
  | { readonly kind: "refused"; readonly fields: ErrorFields }
  /** An error that is no message. */
  | { readonly kind: "refusedInText"; readonly text: string }
  /** ReadyForQuery. */
  | { readonly kind: "ready" }
  /** A query has been answered, but is not over yet. */
  | { readonly kind: "answered" }
  /** The answer to a query is not what it can be. */
  | { readonly kind: "unanswered"; readonly text: string; readonly fields: ErrorFields | undefined };

/** A part of the talk with a server. Its `feed` and `next` throw PeerError if the server breaks a rule. */
export interface Conversation {
  /** Hands in bytes; what was fed before must have been taken by `next` to its end. They may be overwritten after it. */
  feed(bytes: Buffer): void;
  /** The next step; undefined if there is none in what was fed. */
  next(): Step | undefined;
  /** What was fed behind the last step; forgotten here. */
  takeRest(): Buffer;
}

/** More notices than this before the first query are dropped. */
const noticesMax = 100;

export class Login implements Conversation {
  readonly #options: ConnectOptions;
  readonly #authentication: Authentication;
  #framer = new Framer(loginRules);
  /** The first bytes, until it is clear what they begin. */
  #opening: Buffer | undefined = Buffer.alloc(0);
  #refusal: string | undefined;
  #begun = false;
  #negotiated = false;
  #protocolVersion: number;
  #backendPid = 0;
  #cancelKey: Buffer | undefined;
  readonly #parameters = new Map<string, string>();
  readonly #notices: ErrorFields[] = [];

  constructor(options: ConnectOptions, channel: Channel, random: (bytes: number) => Buffer) {
    this.#options = options;
    this.#authentication = new Authentication(options, channel, random);
    this.#protocolVersion = options.maxProtocolVersion;
  }

  get protocolVersion(): number {
    return this.#protocolVersion;
  }

  /** 0 if the server has sent no BackendKeyData. */
  get backendPid(): number {
    return this.#backendPid;
  }

  get cancelKey(): Buffer | undefined {
    return this.#cancelKey;
  }

  /** As reported by ParameterStatus. */
  get parameters(): Map<string, string> {
    return this.#parameters;
  }

  get notices(): readonly ErrorFields[] {
    return this.#notices;
  }

  get scramKeys(): ScramKeys | undefined {
    return this.#authentication.scramKeys;
  }

  /** Whether the server has asked for a password, in whatever form. */
  get passwordNeeded(): boolean {
    return this.#authentication.method !== "none";
  }

  /** The password file whose password was sent. */
  get passwordFile(): string | undefined {
    return this.#authentication.passwordFile;
  }

  feed(bytes: Buffer): void {
    if (this.#opening === undefined) return this.#framer.feed(bytes);
    const begun = Buffer.concat([this.#opening, bytes]);
    const opening = readOpening(begun);
    this.#opening = opening.kind === "message" ? undefined : begun;
    if (opening.kind === "message") this.#framer.feed(begun);
    else if (opening.kind === "text") this.#refusal = opening.text;
  }

  next(): Step | undefined {
    if (this.#refusal !== undefined) return { kind: "refusedInText", text: this.#refusal };
    while (this.#framer.next() === Frame.whole) {
      const { buffer, start, end } = this.#framer;
      const step = this.#receive(decodeBackend(buffer, start, end));
      if (step !== undefined) return step;
    }
    return undefined;
  }

  takeRest(): Buffer {
    return this.#framer.takeRest();
  }

  /** The answer to the step `derive`. */
  derived(saltedPassword: Buffer): Buffer {
    return this.#authentication.derived(saltedPassword);
  }

  /** Takes down what a server may tell of its session at any time. Throws PeerError if it is too much. */
  note(message: ParameterStatus | NoticeResponse): void {
    if (message.kind === "NoticeResponse") {
      if (this.#notices.length < noticesMax) this.#notices.push(message.fields);
      return;
    }
    this.#parameters.set(message.name, message.value);
    if (this.#parameters.size > reportedParametersMax) throw tooManyParameters();
  }

  #receive(message: BackendMessage): Step | undefined {
    switch (message.kind) {
      case "ErrorResponse":
        return { kind: "refused", fields: message.fields };
      case "NegotiateProtocolVersion":
        this.#negotiate(message.version, message.unsupported);
        return undefined;
      case "NoticeResponse":
      case "ParameterStatus":
        this.note(message);
        return undefined;
      case "BackendKeyData":
        this.#keepKey(message.pid, message.key);
        return undefined;
      case "ReadyForQuery":
        return { kind: "ready" };
      default:
        assert(message.kind.startsWith("Authentication"), "only messages of a login pass the framer");
        return this.#authenticate(message as AuthenticationMessage);
    }
  }

  #authenticate(message: AuthenticationMessage): Step | undefined {
    this.#begun = true;
    const action = this.#authentication.receive(message);
    switch (action.kind) {
      case "send":
      case "derive":
        return action;
      case "wait":
        return undefined;
      case "accepted": {
        const rest = this.#framer.takeRest();
        this.#framer = new Framer(readyRules);
        this.#framer.feed(rest);
        return action;
      }
      default:
        return unreachable(action, "action");
    }
  }

  #negotiate(version: number, unsupported: readonly string[]): void {
    if (this.#negotiated || this.#begun) {
      const text = this.#negotiated
        ? "received duplicate protocol negotiation message"
        : "received protocol negotiation message in the middle of a login";
      throw protocolViolation(text, { source: "server" });
    }
    this.#negotiated = true;
    this.#protocolVersion = negotiatedVersion(this.#options, version, unsupported);
  }

  #keepKey(pid: number, key: Buffer): void {
    if (key.length !== 4 && this.#protocolVersion < protocolVersion32) {
      const text = `received invalid BackendKeyData message: cancel key of ${key.length} bytes in protocol 3.0`;
      throw protocolViolation(text, { source: "server" });
    }
    this.#backendPid = pid;
    this.#cancelKey = Buffer.from(key);
  }
}
