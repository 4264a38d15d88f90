/**
 * The names of clients' addresses, for rules that are written with host names. As PostgreSQL does it (auth.c
 * check_hostname): the address is looked up, and then the name that this gave, which must have the address; without that anybody
 * could have a name of somebody else's in a reverse zone of his own. By the system's resolver, so /etc/hosts counts.
 *
 * Look-ups cannot be called off, and they hold threads that other work needs, the derivation of keys among it: few are
 * under way at a time, the others wait, none of them for long. An address that has no name in time has none.
 */
import { lookup, lookupService } from "node:dns/promises";
import { parsePeerAddress } from "../auth/hba/address.ts";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { SharedLookups } from "./shared-lookups.ts";
import { Turns } from "./turns.ts";

/** How names are found: the system's resolver, unless a test has its own. */
export interface Resolver {
  /** The name of an address. */
  reverse(address: string): Promise<string>;
  /** The addresses of a name. */
  forward(name: string): Promise<readonly string[]>;
}

/** Half of libuv's four threads. */
const lookupsMax = 2;
const limitMs = 5000;
/** PostgreSQL asks for each connection anew. */
const ageMaxMs = 60_000;
const namesMax = 10_000;
/** Who waits behind so many is as good as too late. */
const waitingMax = 200;

export class HostNames {
  readonly #names: SharedLookups<string>;
  readonly #logger: Logger;
  readonly #resolver: Resolver;
  readonly #turns = new Turns(lookupsMax);

  constructor(clock: Clock, logger: Logger, resolver: Resolver = systemResolver) {
    this.#names = new SharedLookups({
      entriesMax: () => namesMax,
      ageMaxMs: () => ageMaxMs,
      now: () => clock.now(),
    });
    this.#logger = logger;
    this.#resolver = resolver;
  }

  /** The name that the address has and that has the address; empty if there is none. Never rejects. */
  of(address: string): string | Promise<string> {
    return this.#names.get(address, () => this.#inTime(address));
  }

  forget(): void {
    this.#names.clear();
  }

  async #inTime(address: string): Promise<string> {
    if (this.#turns.waitingCount >= waitingMax) return "";
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<string>((resolve) => {
      timer = setTimeout(() => {
        this.#logger.warn({ address }, "no host name in time");
        resolve("");
      }, limitMs);
    });
    const name = await Promise.race([this.#turns.take(() => this.#look(address)), tooLate]);
    clearTimeout(timer);
    return name;
  }

  async #look(address: string): Promise<string> {
    try {
      return await this.#confirmed(address);
    } catch (error) {
      const reason = error instanceof Error ? error.message : "unknown";
      this.#logger.debug({ address, reason }, "no host name");
      return "";
    }
  }

  async #confirmed(address: string): Promise<string> {
    const plain = address.replace(/^::ffff:(?=[0-9.]+$)/i, "");
    const name = (await this.#resolver.reverse(plain)).replace(/\.$/, "");
    // Without a name getnameinfo may give the address itself.
    if (parsePeerAddress(name) !== undefined) return "";
    const wanted = parsePeerAddress(plain);
    const found = (await this.#resolver.forward(name)).map(parsePeerAddress);
    const confirmed = found.some(
      (one) => one !== undefined && wanted !== undefined && Buffer.compare(one, wanted) === 0,
    );
    if (!confirmed) this.#logger.warn({ address, name }, "host name of a client has not its address");
    return confirmed ? name : "";
  }
}

const systemResolver: Resolver = {
  // Any port: its service is not what is asked for.
  reverse: async (address) => (await lookupService(address, 0)).hostname,
  forward: async (name) => (await lookup(name, { all: true })).map(({ address }) => address),
};
