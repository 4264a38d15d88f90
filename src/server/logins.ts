/**
 * Connections that are not logged in yet: each has its time, and those that will be refused unless they turn out to be
 * cancel requests give way to others of their kind.
 */
import { Roster } from "../base/roster.ts";
import type { LoginContext } from "../session/context.ts";
import { Login } from "../session/login.ts";
import type { Accepted } from "./listener.ts";

/** Dead ends have less time than those who may become sessions. */
const deadEndMs = 10_000;

export class Logins {
  readonly all: Roster<Login> = new Roster();
  /** Those of them that will be refused unless they turn out to be cancel requests. */
  readonly #deadEnds = new Set<Login>();

  begin(context: LoginContext, { transport, peer }: Accepted): Login {
    const login = new Login(context, transport, peer);
    this.all.add(login);
    if (login.deadEnd) this.#deadEnds.add(login);
    return login;
  }

  end(login: Login): void {
    this.all.delete(login);
    this.#deadEnds.delete(login);
  }

  /** The dead end that is there longest gives way, so that a flood of them keeps no cancel request out. */
  makeRoom(): boolean {
    for (const login of this.#deadEnds) {
      this.#deadEnds.delete(login);
      if (login.ended) continue;
      login.destroy();
      return true;
    }
    return false;
  }

  /** `loginMs`: how long one may take; 0: for ever. */
  tick(nowMs: number, loginMs: number): void {
    for (const login of this.all) {
      const limitMs = login.deadEnd ? Math.min(deadEndMs, loginMs === 0 ? deadEndMs : loginMs) : loginMs;
      if (limitMs > 0 && nowMs - login.startedAtMs >= limitMs) login.expire();
    }
  }
}
