/** Plays logins against the machine with a client that does as it is asked, and keeps what both saw. */
import { createHash } from "node:crypto";
import type { AuthMethod, LoginAction, LoginOptions } from "../../../src/auth/login.ts";
import { LoginMachine } from "../../../src/auth/login.ts";
import { md5Hash, md5Response } from "../../../src/auth/md5.ts";
import { ScramClient } from "../../../src/auth/scram-client.ts";
import type { Secret } from "../../../src/auth/secret.ts";
import { assert } from "../../../src/base/assert.ts";
import { decodeBackend } from "../../../src/wire/decode-backend.ts";
import {
  encodePassword,
  encodeSaslInitialResponse,
  encodeSaslResponse,
} from "../../../src/wire/encode-frontend.ts";
import type { BackendMessage } from "../../../src/wire/messages.ts";
import { answerChallenge, saltedPasswordSync, secretOf } from "./exchange.ts";

export const user: string = "alice";
export const password: string = "pencil ✎";
export const salt: Buffer = Buffer.from("0123456789abcdef");
export const iterations: number = 3;
export const secrets: Record<Secret["kind"], Secret> = {
  plain: { kind: "plain", password },
  md5: { kind: "md5", hash: md5Hash(user, password) },
  scram: { kind: "scram", secret: secretOf(password, salt, iterations) },
};
export const methods: AuthMethod[] = ["password", "md5", "scram-sha-256"];

export function newMachine(change: Partial<LoginOptions>): LoginMachine {
  let randomCount = 0;
  return new LoginMachine({
    method: "scram-sha-256",
    user,
    secret: secrets.plain,
    tls: { secure: false },
    random: (bytes) => {
      randomCount += 1;
      return createHash("shake256", { outputLength: bytes }).update(`${randomCount}`).digest();
    },
    mockKey: Buffer.from("a key of this cluster"),
    scramIterations: iterations,
    ...change,
  });
}

/** What a client sees and what the machine demands, in order. */
export interface Login {
  readonly trace: unknown[];
  readonly end: LoginAction;
  readonly client: ScramClient | undefined;
}

/** Plays a whole login with a client that does as it is asked. */
export function logIn(change: Partial<LoginOptions>, sent: string): Login {
  const machine = newMachine(change);
  const name = change.user ?? user;
  const trace: unknown[] = [];
  let client: ScramClient | undefined;
  let action = machine.start();
  for (;;) {
    if (action.kind === "derive") {
      trace.push({ demand: "derive", salt: action.salt.length, iterations: action.iterations });
      action = machine.derived(saltedPasswordSync(action.password, action.salt, action.iterations));
      continue;
    }
    if (action.kind !== "send") break;
    const message = decode(action.data);
    trace.push(message);
    if (message.kind === "AuthenticationSASL") client = newClient(message.mechanisms, sent, change);
    action = machine.receive(answer(message, client, name, sent));
  }
  if (action.kind === "ok" && action.data !== undefined) {
    const message = decode(action.data);
    assert(message.kind === "AuthenticationSASLFinal", "a login by SCRAM ends with a signature");
    client?.verify(message.data);
  }
  return { trace, end: action, client };
}

function newClient(mechanisms: readonly string[], sent: string, change: Partial<LoginOptions>): ScramClient {
  return new ScramClient({
    mechanisms,
    channelBinding: "prefer",
    tls: change.tls?.secure ?? false,
    endPoint: change.tls?.endPoint,
    credential: { password: sent },
    nonce: "fyko+d2lbbFgONRv9qkxdawL",
  });
}

function answer(
  message: BackendMessage,
  client: ScramClient | undefined,
  name: string,
  sent: string,
): Buffer {
  if (message.kind === "AuthenticationCleartextPassword") return body(encodePassword(sent));
  if (message.kind === "AuthenticationMD5Password") {
    return body(encodePassword(md5Response(name, sent, message.salt)));
  }
  assert(client !== undefined, `a client of SCRAM answers ${message.kind}`);
  if (message.kind === "AuthenticationSASL") {
    const { mechanism, data } = client.initial();
    return body(encodeSaslInitialResponse(mechanism, data));
  }
  assert(message.kind === "AuthenticationSASLContinue", `${message.kind} is no request`);
  return body(encodeSaslResponse(answerChallenge(client, message.data)));
}

export function decode(data: Buffer): BackendMessage {
  return decodeBackend(data, 0, data.length);
}

export function body(message: Buffer): Buffer {
  return message.subarray(5);
}

/** A login as somebody outside sees it: salts and nonces by their length only. */
export function shape({ trace, end }: Login): unknown {
  const masked = trace.map((step) => {
    const message = step as BackendMessage;
    if (message.kind === "AuthenticationMD5Password") return { ...message, salt: message.salt.length };
    if (message.kind !== "AuthenticationSASLContinue") return step;
    return { ...message, data: message.data.toString().replace(/s=[^,]+/, (found) => `s=${found.length}`) };
  });
  if (end.kind !== "fail") return { masked, end };
  const { message, code, sqlstate, source, detail, hint } = end.error;
  return { masked, error: { message, code, sqlstate, source, detail, hint } };
}
