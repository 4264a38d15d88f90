/** The process ids that clients in auto mode were told, of all workers: each worker hears of those of the others, also one that is started later. */
import type { Member } from "./member.ts";
import type { PidChanges, ToldPid } from "./protocol.ts";

export class ToldPids {
  readonly #members: () => Iterable<Member>;
  /** By what makes one, and how often that was told: nodes may have processes of the same ids. */
  readonly #told = new Map<Member, Map<string, { readonly pid: ToldPid; count: number }>>();

  constructor(members: () => Iterable<Member>) {
    this.#members = members;
  }

  change(member: Member, { told, gone }: Omit<PidChanges, "slot">): void {
    const own = this.#told.get(member) ?? new Map<string, { readonly pid: ToldPid; count: number }>();
    this.#told.set(member, own);
    for (const pid of told) {
      const known = own.get(keyOf(pid));
      if (known === undefined) own.set(keyOf(pid), { pid, count: 1 });
      else known.count++;
    }
    for (const pid of gone === "all" ? [] : gone) {
      const known = own.get(keyOf(pid));
      if (known !== undefined && --known.count === 0) own.delete(keyOf(pid));
    }
    this.#spread(member, { told, gone });
  }

  /** It can be told from now on. */
  onReady(member: Member): void {
    for (const [{ slot }, own] of this.#told) {
      const told = [...own.values()].flatMap(({ pid, count }) => Array.from({ length: count }, () => pid));
      if (told.length > 0) member.link.tell("pids", { slot, told, gone: [] });
    }
  }

  onExit(member: Member): void {
    if (this.#told.delete(member)) this.#spread(member, { told: [], gone: "all" });
  }

  #spread(member: Member, changes: Omit<PidChanges, "slot">): void {
    for (const other of this.#members()) {
      if (other !== member && other.ready) other.link.tell("pids", { slot: member.slot, ...changes });
    }
  }
}

function keyOf({ pid, user, node }: ToldPid): string {
  return JSON.stringify([pid, user, node]);
}
