/**
 * Which of several hosts the next server of a pool is opened on (`load_balance_hosts`). Whoever's turn it is, the
 * others follow if it cannot be reached, in the same attempt.
 */
import type { ConnectOptions } from "../client/conninfo/options.ts";
import type { Server } from "../pool/server.ts";

export class HostTurns {
  #first = 0;

  /**
   * The options with the hosts in the order in which they are to be tried. `sticks`: where the newest of the
   * pool's `servers` is, comes first; else each host has its turn.
   */
  next(options: ConnectOptions, sticks: boolean, servers: Iterable<Server>): ConnectOptions {
    const { hosts } = options;
    if (hosts.length < 2) return options;
    if (sticks) this.#rememberNewest(hosts, servers);
    const first = this.#first % hosts.length;
    if (!sticks) this.#first = first + 1;
    return { ...options, hosts: [...hosts.slice(first), ...hosts.slice(0, first)] };
  }

  #rememberNewest(hosts: ConnectOptions["hosts"], servers: Iterable<Server>): void {
    for (const { connection } of servers) {
      const index = hosts.findIndex(({ host }) => host === connection.endpoint.host);
      if (index >= 0) this.#first = index;
    }
  }
}
