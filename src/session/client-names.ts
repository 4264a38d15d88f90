/**
 * One client's names for shared prepared statements, as they are by the replies that are in, and the changes that are on
 * their way (statements.ts). Each name holds one reference to its statement.
 */
import { emptyMap, ownMap } from "../base/empty-map.ts";
import type { SharedStatement, StatementRegistry } from "../pool/prepared.ts";
import { nameBytesMax } from "../wire/constants.ts";
import { nameAt, spelledAt } from "./statement-messages.ts";
import type { NameChange } from "./statement-outcomes.ts";

export class ClientNames {
  readonly #registry: StatementRegistry;
  #named: Map<string, SharedStatement> = emptyMap;
  /** The last change of a name that is not answered yet. */
  #pending: Map<string, NameChange> = emptyMap;
  /**
   * The name that a message named last, if that is short, and what it means now. The next message often names it again:
   * that is found by comparing bytes, without a string being made.
   */
  #lastName = "";
  #last: SharedStatement | undefined;

  constructor(registry: StatementRegistry) {
    this.#registry = registry;
  }

  /** Names by the replies that are in. */
  get size(): number {
    return this.#named.size;
  }

  /** There are none, nor will be by what is on its way. */
  get none(): boolean {
    return this.#named.size === 0 && this.#pending.size === 0;
  }

  /** Changes are on their way. */
  get changing(): boolean {
    return this.#pending.size > 0;
  }

  get changes(): Iterable<NameChange> {
    return this.#pending.values();
  }

  /** The last change of a name, if it is not answered yet. */
  changeOf(name: string): NameChange | undefined {
    return this.#pending.get(name);
  }

  /** Names by the replies that are in, and what they mean by those. */
  get known(): ReadonlyMap<string, SharedStatement> {
    return this.#named;
  }

  /** All names, those that change first. */
  get #all(): Set<string> {
    return new Set([...this.#pending.keys(), ...this.#named.keys()]);
  }

  /** Bodies of Parse, by the names that they have for a message that is sent now. */
  bodies(): [string, Buffer][] {
    const bodies: [string, Buffer][] = [];
    for (const name of this.#all) {
      const statement = this.find(name);
      if (statement !== undefined) bodies.push([name, statement.body]);
    }
    return bodies;
  }

  /** A name of the statement that servers call so. */
  of(serverName: string): string | undefined {
    for (const name of this.#all) {
      // Or the one before, if what gives its name to another is not answered yet.
      if (this.find(name)?.name === serverName || this.#named.get(name)?.name === serverName) return name;
    }
    return undefined;
  }

  /** The statement that `name` means to a message that is sent now. */
  find(name: string): SharedStatement | undefined {
    const change = this.#pending.get(name);
    return change === undefined ? this.#named.get(name) : change.statement;
  }

  /** As {@link find}, of the name in `buffer[start, end)`. */
  findAt(buffer: Buffer, start: number, end: number): SharedStatement | undefined {
    if (this.#last !== undefined && this.#isLast(buffer, start, end)) return this.#last;
    const name = nameAt(buffer, start, end);
    const statement = this.find(name);
    if (end - start > nameBytesMax) return statement;
    this.#lastName = name;
    this.#last = statement;
    return statement;
  }

  /** The name that {@link findAt} was just asked for, as it is spelled. */
  spelledAt(buffer: Buffer, start: number, end: number): string {
    return end - start <= nameBytesMax ? this.#lastName : spelledAt(buffer, start, end, "");
  }

  #isLast(buffer: Buffer, start: number, end: number): boolean {
    const name = this.#lastName;
    const { length } = name;
    if (end - start !== length) return false;
    for (let at = 0; at < length; at++) if (buffer[start + at] !== name.charCodeAt(at)) return false;
    return true;
  }

  /** A change is being sent. */
  send(change: NameChange): NameChange {
    this.#last = undefined;
    this.#pending = ownMap(this.#pending).set(change.name, change);
    return change;
  }

  /** It is answered, and was carried out or not. */
  answer(change: NameChange): void {
    this.#last = undefined;
    if (this.#pending.get(change.name) === change) this.#pending.delete(change.name);
  }

  /** The name means this statement from now on, of which the caller has a reference; undefined: none. */
  set(name: string, statement: SharedStatement | undefined): void {
    this.#last = undefined;
    const before = this.#named.get(name);
    if (before !== undefined) this.#registry.release(before);
    this.#named.delete(name);
    if (statement !== undefined) this.#named = ownMap(this.#named).set(name, statement);
  }

  /** None of them means anything now; what is on its way comes behind that. */
  clear(): void {
    this.#last = undefined;
    for (const statement of this.#named.values()) this.#registry.release(statement);
    // The empty one is everybody's, and clearing it makes it a new table all the same.
    if (this.#named.size > 0) this.#named.clear();
  }
}
