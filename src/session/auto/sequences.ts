/** One client's use of sequences: what currval() and lastval() return is known to one server only. */
import type { Server } from "../../pool/server.ts";
import type { AutoDatabase } from "./database.ts";
import type { Knowledge } from "./knowledge.ts";

export class SequenceUse {
  readonly #clientId: number;
  readonly #database: AutoDatabase;
  /** Of statements on their way. */
  #uses = false;
  #asks = false;
  /** Where the client has last used a sequence. */
  #server: Server | undefined;

  constructor(clientId: number, database: AutoDatabase) {
    this.#clientId = clientId;
    this.#database = database;
  }

  see(knowledge: Knowledge): void {
    this.#uses ||= knowledge.usesSequence;
    if (!knowledge.asksSequence) return;
    this.#asks = true;
    this.#database.asksSequences = true;
  }

  /** The server that knows what is asked for, if it is still there and nobody has changed that. */
  get preferredServer(): Server | undefined {
    const server = this.#asks ? this.#server : undefined;
    return server?.sequencesOf === this.#clientId ? server : undefined;
  }

  /** Whether what another client's nextval() has left has to go first: it must look as if it had never been. */
  findsOthers(server: Server): boolean {
    const foreign = server.sequencesOf !== undefined && server.sequencesOf !== this.#clientId;
    return foreign && (this.#asks || this.#database.asksSequences);
  }

  /**
   * The statements run on this server. Returns whether it is kept from now on: who asks will ask again, and where
   * somebody asks, others will.
   */
  claim(server: Server): boolean {
    if (!this.#uses && !this.#asks) return false;
    const own = this.#uses || server.sequencesOf === this.#clientId;
    if (own) {
      server.sequencesOf = this.#clientId;
      this.#server = server;
    }
    this.#uses = false;
    this.#asks = false;
    return own && this.#database.asksSequences;
  }
}
