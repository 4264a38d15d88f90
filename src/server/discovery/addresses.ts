/** The addresses of a name as nodes. */
import { lookup } from "node:dns/promises";
import type { Member } from "../../config/members.ts";
import type { Settings } from "../../config/schema.ts";

export interface Address {
  readonly address: string;
  readonly family: number;
}

/** How a name is resolved: by the system, unless a test does it. */
export type LookUp = (name: string) => Promise<readonly Address[]>;

export const systemLookUp: LookUp = (name) => lookup(name, { all: true });

/** Rejects if there is none, or no answer when `signal` aborts; the look-up itself cannot be called off. */
export async function membersOfName(
  { discovery_host: host, discovery_port: port }: Settings,
  lookUp: LookUp,
  signal: AbortSignal,
): Promise<readonly Member[]> {
  const found = await Promise.race([lookUp(host), aborted(signal)]);
  const all = [...new Set(found.map(({ address }) => address))].sort();
  // A machine that has an address of each family is one node, not two.
  const version4 = all.filter((address) => !address.includes(":"));
  const addresses = version4.length > 0 ? version4 : all;
  if (addresses.length === 0) throw new Error(`${host} has no address`);
  return addresses.map((address) => ({ name: address, host, port, hostaddr: address }));
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(new Error("no answer in time")), { once: true });
  });
}
