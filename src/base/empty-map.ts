/**
 * A map that most owners never put anything in, as what a client has of a kind: an empty one costs 200 bytes, and there are thousands
 * of idle clients. Each starts with `emptyMap`, which is read like any other, and whoever adds to it takes {@link ownMap} first.
 */

/** Nothing is ever added to it, which would be everybody's. */
export const emptyMap: Map<never, never> = Object.assign(new Map<never, never>(), {
  set(): never {
    throw new Error("the empty map stays empty: see ownMap");
  },
});

/** A map to add to: this one, or a new one in the place of the empty one. */
export function ownMap<K, V>(map: Map<K, V>): Map<K, V> {
  return (map as Map<unknown, unknown>) === emptyMap ? new Map<K, V>() : map;
}
