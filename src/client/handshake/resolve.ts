/**
 * Host names to addresses, without ever blocking the event loop. The time a look-up may take is the
 * driver's business: its timer and its signal go on counting while a name is looked for.
 */
import { lookup } from "node:dns/promises";

/** The addresses of a name, in the order in which they are tried. Rejects if there are none. */
export type Resolve = (host: string) => Promise<readonly string[]>;

/** The system's own resolver (getaddrinfo), hosts file included; its order of addresses is kept. */
export const resolveBySystem: Resolve = async (host) => {
  const found = await lookup(host, { all: true, verbatim: true });
  return found.map(({ address }) => address);
};

/**
 * A resolver that remembers answers for `keepMs` milliseconds of `now`, and asks once for many who ask at
 * the same time. Failures are not remembered. At most `namesMax` names are kept.
 */
export function cachedResolve(
  resolve: Resolve,
  options: { readonly keepMs: number; readonly now: () => number; readonly namesMax?: number },
): Resolve {
  const answers = new Map<
    string,
    { readonly untilMs: number; readonly addresses: Promise<readonly string[]> }
  >();
  const namesMax = options.namesMax ?? 1000;
  return (host) => {
    const known = answers.get(host);
    if (known !== undefined && options.now() < known.untilMs) return known.addresses;
    const addresses = resolve(host);
    answers.delete(host);
    const entry = { untilMs: options.now() + options.keepMs, addresses };
    answers.set(host, entry);
    const oldest = answers.size > namesMax ? answers.keys().next().value : undefined;
    if (oldest !== undefined) answers.delete(oldest);
    addresses.catch(() => {
      if (answers.get(host) === entry) answers.delete(host);
    });
    return addresses;
  };
}
