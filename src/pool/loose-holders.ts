/**
 * Clients that keep a server although they need not. Each decides for itself whether it gives it back when it is
 * asked: as a rule, as soon as somebody wants one.
 */
import type { Server } from "./server.ts";

export interface LooseHolder {
  readonly server: Server | undefined;
  /** Gives its server back, if it is at rest and may be given back now. */
  giveBack(): void;
}

/** Whose servers they are. */
interface Owner {
  /** Somebody waits for whom no server is coming. */
  readonly inNeed: boolean;
  /** Somebody waits for this server and no other. */
  isAwaited(server: Server): boolean;
}

export class LooseHolders {
  /** Servers that are used for a moment by the pooler itself, and come back then. */
  returning = 0;
  /** Whoever has used its server longest ago comes first. */
  readonly #holders = new Set<LooseHolder>();
  readonly #owner: Owner;

  constructor(owner: Owner) {
    this.#owner = owner;
  }

  /** It keeps its server, which it has just used. */
  add(holder: LooseHolder): void {
    this.#holders.delete(holder);
    this.#holders.add(holder);
  }

  remove(holder: LooseHolder): void {
    this.#holders.delete(holder);
  }

  /** Who holds this server and can do without should give it back. */
  wants(server: Server): boolean {
    return this.#owner.inNeed || server.closeReason !== undefined || this.#owner.isAwaited(server);
  }

  /** A server that may be given back as soon as it is awaited. */
  get serverAtRest(): Server | undefined {
    for (const { server } of this.#holders) if (server?.clean === true) return server;
    return undefined;
  }

  /** Who does not give back stands behind all others again. */
  askWhileWanted(): void {
    if (this.#holders.size === 0) return;
    for (const holder of [...this.#holders]) {
      if (!this.#owner.inNeed) return;
      holder.giveBack();
    }
  }

  /** Those whose time is over give back, whether anybody waits or not. */
  askAll(): void {
    for (const holder of [...this.#holders]) holder.giveBack();
  }
}
