/**
 * The defaults with which one client has logged in (pool/defaults.ts), on servers that began with others: the
 * difference is among what has to be set there, is no setting of the client's own, and is what RESET goes back to.
 */
import type { SessionDefaults } from "../../pool/defaults.ts";
import { ParameterVector } from "../../pool/parameters.ts";
import type { Server } from "../../pool/server.ts";

const none: ReadonlyMap<string, string> = new Map();

export class LoginDefaults {
  readonly #parameters: ParameterVector;
  readonly #own: SessionDefaults | undefined;
  /** What has to be set, for servers of these defaults and parameters of this version. */
  #wanted: ParameterVector | undefined;
  #theirs: SessionDefaults | undefined;
  #version: object | undefined;

  /** `parameters`: the client's. */
  constructor(parameters: ParameterVector) {
    this.#parameters = parameters;
    this.#own = parameters.defaults;
  }

  /** What a session of the client begins with, in the words of pg_settings; undefined if that is not known. */
  value(name: string): string | undefined {
    return this.#own?.value(name);
  }

  /** What has to be set on this server, so that it is as if it were the client's alone. */
  on(server: Server): ParameterVector {
    const { defaults } = server;
    if (defaults === this.#own || defaults === undefined || this.#own === undefined) return this.#parameters;
    const { version } = this.#parameters;
    if (this.#wanted === undefined || this.#theirs !== defaults || this.#version !== version) {
      this.#theirs = defaults;
      this.#version = version;
      this.#wanted = ParameterVector.copyOf(this.#parameters);
      for (const [name, value] of this.differenceOn(server)) {
        if (this.#parameters.get(name) === undefined) this.#wanted.set(name, value);
      }
    }
    return this.#wanted;
  }

  /** What has to be set on this server although the client has not set it. */
  differenceOn({ defaults, connection }: Server): ReadonlyMap<string, string> {
    if (defaults === this.#own || defaults === undefined || this.#own === undefined) return none;
    return this.#own.over(defaults, connection.parameters);
  }

  /** Whether a setting that was found on the server is the client's default. */
  isDefault(name: string, value: string, server: Server): boolean {
    return this.differenceOn(server).get(name) === value || this.#own?.undeclared.get(name) === value;
  }
}
