/**
 * Made-up secrets for users that have none. PostgreSQL makes its own the same way (auth-scram.c
 * mock_scram_secret): the salt comes from the user's name and a key of the cluster, so that asking twice gives
 * the same salt twice, as it would for a real user. Nobody can log in with one: logins that use it are doomed.
 */
import { createHmac } from "node:crypto";
import { encodeText } from "../wire/text.ts";
import { scramSaltBytes } from "./scram.ts";
import type { ScramSecret, Secret } from "./secret.ts";

export class MockSecrets {
  readonly #key: Buffer;
  readonly #user: string;
  readonly #iterations: number;

  constructor(key: Buffer, user: string, iterations: number) {
    this.#key = key;
    this.#user = user;
    this.#iterations = iterations;
  }

  /** 16 bytes, as the salts PostgreSQL makes. */
  get salt(): Buffer {
    return this.#derive("salt").subarray(0, scramSaltBytes);
  }

  get scram(): ScramSecret {
    return {
      iterations: this.#iterations,
      salt: this.salt,
      storedKey: this.#derive("stored key"),
      serverKey: this.#derive("server key"),
    };
  }

  ofKind(kind: Secret["kind"]): Secret {
    switch (kind) {
      case "plain":
        return { kind, password: this.#derive("password").toString("base64") };
      case "md5":
        return { kind, hash: this.#derive("md5").toString("hex", 0, 16) };
      case "scram":
        return { kind, secret: this.scram };
    }
  }

  #derive(purpose: string): Buffer {
    return createHmac("sha256", this.#key).update(`${purpose}\0`).update(encodeText(this.#user)).digest();
  }
}
