/**
 * Which kind of secret most users have, of those that were looked up: what one who does not exist has to seem to have. Of
 * users, not of logins, or who tries often would change it; and of no more than the last of them.
 */
import type { Secret } from "../auth/secret.ts";
import { LruMap } from "../base/lru.ts";

type Kind = Secret["kind"];

const usersMax = 1000;

export class UsualKind {
  readonly #kinds = new LruMap<string, Kind>(usersMax);
  readonly #counts: Record<Kind, number> = { scram: 0, md5: 0, plain: 0 };

  see(user: string, kind: Kind): void {
    const before = this.#kinds.get(user);
    if (before === kind) return;
    if (before !== undefined) this.#counts[before]--;
    const gone = this.#kinds.set(user, kind);
    if (gone !== undefined) this.#counts[gone[1]]--;
    this.#counts[kind]++;
  }

  /** Where two are as usual, PostgreSQL's default comes before md5. */
  get kind(): Kind {
    const { scram, md5, plain } = this.#counts;
    if (scram >= md5 && scram >= plain) return "scram";
    return md5 >= plain ? "md5" : "plain";
  }
}
