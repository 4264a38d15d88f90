/**
 * Those that are here now, of a kind that comes and goes all the time.
 *
 * A Set keeps more than it shows: when its table is full V8 copies those that are there into a new one, and the old one leads to the new one as
 * long as it is in memory. So once a table has lived long enough to be collected seldom, all tables after it stay until then,
 * and with them whoever was there when one was full: of short connections, nearly every one, with all it is made of.
 * Here one array is used again and again, and who has left is in nothing.
 */
import { assert } from "./assert.ts";

export class Roster<T extends object> {
  readonly #members: T[] = [];
  /** Where they are in it. Tables of a WeakMap do not lead to each other. */
  readonly #places = new WeakMap<T, number>();

  get size(): number {
    return this.#members.length;
  }

  add(member: T): void {
    assert(!this.#places.has(member), "a member is there once");
    this.#places.set(member, this.#members.length);
    this.#members.push(member);
  }

  /** Who is not there does not mind. */
  delete(member: T): void {
    const place = this.#places.get(member);
    if (place === undefined) return;
    this.#places.delete(member);
    const last = this.#members.pop() as T; // There is one: the member.
    if (last === member) return;
    this.#members[place] = last;
    this.#places.set(last, place);
  }

  /** In no order; those that were there at the beginning, whoever comes or leaves meanwhile. */
  [Symbol.iterator](): IterableIterator<T> {
    return this.#members.slice().values();
  }
}
