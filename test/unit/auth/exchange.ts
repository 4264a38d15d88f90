/** Pairs the two halves of SCRAM in memory, with a hand on the wire between them. */
import { pbkdf2Sync } from "node:crypto";
import { preparePassword } from "../../../src/auth/pbkdf2.ts";
import type { ScramKeys } from "../../../src/auth/scram.ts";
import type { ScramClientOptions } from "../../../src/auth/scram-client.ts";
import { ScramClient } from "../../../src/auth/scram-client.ts";
import { ScramServer } from "../../../src/auth/scram-server.ts";
import type { ScramSecret } from "../../../src/auth/secret.ts";
import { buildScramSecret } from "../../../src/auth/secret.ts";

/** Which of the four messages: 0 client-first, 1 server-first, 2 client-final, 3 server-final. */
export type Step = 0 | 1 | 2 | 3;

export interface Exchange {
  readonly clientPassword: string;
  readonly serverPassword: string;
  readonly salt: Buffer;
  readonly iterations: number;
  readonly tls: boolean;
  readonly clientEndPoint: Buffer | undefined;
  readonly serverEndPoint: Buffer | undefined;
  readonly channelBinding: ScramClientOptions["channelBinding"];
  readonly doomed: boolean;
  readonly clientKeys?: ScramKeys;
  readonly tamper?: (step: Step, message: Buffer) => Buffer;
  readonly offer?: (mechanisms: string[]) => string[];
}

export const plainExchange: Exchange = {
  clientPassword: "pencil",
  serverPassword: "pencil",
  salt: Buffer.from("0123456789abcdef"),
  iterations: 3,
  tls: false,
  clientEndPoint: undefined,
  serverEndPoint: undefined,
  channelBinding: "prefer",
  doomed: false,
};

export const endPoint: Buffer = Buffer.alloc(32, 7);

/** An encrypted exchange whose both sides see the same certificate. */
export const boundExchange: Exchange = {
  ...plainExchange,
  tls: true,
  clientEndPoint: endPoint,
  serverEndPoint: endPoint,
};

/** SaltedPassword at once, since tests take few rounds. */
export function saltedPasswordSync(password: string, salt: Buffer, iterations: number): Buffer {
  return pbkdf2Sync(preparePassword(password), salt, iterations, 32, "sha256");
}

export function secretOf(password: string, salt: Buffer, iterations: number): ScramSecret {
  return buildScramSecret(saltedPasswordSync(password, salt, iterations), salt, iterations);
}

/** Runs the four messages; throws what a machine throws. */
export function runExchange(exchange: Exchange): {
  mechanism: string;
  clientKeys: ScramKeys | undefined;
  serverKeys: ScramKeys;
  messages: string[];
} {
  const { tls, tamper = (_step, message) => message, offer = (mechanisms) => mechanisms } = exchange;
  const secret = secretOf(exchange.serverPassword, exchange.salt, exchange.iterations);
  const server = new ScramServer({
    secret,
    doomed: exchange.doomed,
    tls,
    endPoint: exchange.serverEndPoint,
    nonce: "3rfcNHYJY1ZVvWVs7j",
  });
  const client = new ScramClient({
    mechanisms: offer(server.mechanisms),
    channelBinding: exchange.channelBinding,
    tls,
    endPoint: exchange.clientEndPoint,
    credential: exchange.clientKeys ?? { password: exchange.clientPassword },
    nonce: "fyko+d2lbbFgONRv9qkxdawL",
  });
  const messages: string[] = [];
  const pass = (step: Step, message: Buffer): Buffer => {
    messages.push(message.toString("latin1"));
    return tamper(step, message);
  };
  const initial = client.initial();
  const serverFirst = pass(1, server.first(initial.mechanism, pass(0, initial.data)));
  const clientFinal = answerChallenge(client, serverFirst);
  const { data, ...serverKeys } = server.final(pass(2, clientFinal));
  client.verify(pass(3, data));
  return { mechanism: initial.mechanism, clientKeys: client.keys, serverKeys, messages };
}

/** The client's final message for a challenge, with PBKDF2 done here. */
export function answerChallenge(client: ScramClient, serverFirst: Buffer): Buffer {
  const challenge = client.challenge(serverFirst);
  if (challenge.kind === "send") return challenge.data;
  const { password, salt, iterations } = challenge;
  // A number of rounds changed on the way makes another salted password; which one does not matter.
  return client.derived(saltedPasswordSync(password, salt, Math.min(iterations, 100)));
}
