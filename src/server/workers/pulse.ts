/**
 * Whether the workers answer. Each is asked how it is doing every second. One that has not answered for a while (stopped, or busy with one thing for seconds) is *silent*:
 * it gets no new connections, and nobody waits for it who can do without; when it answers again, all is as before. One that stays silent for long is as good as dead: its clients
 * get no answers, and it keeps places of servers. So it is killed, and replaced.
 *
 * What is counted is beats of the primary, not time: a machine that was asleep has missed none.
 */
import type { Logger } from "../../base/log.ts";
import type { Member } from "./member.ts";

const beatMs = 1000;
/** So many beats without an answer. */
const silentBeats = 5;
const deadBeats = 30;

/** What is asked of a worker. */
export type Heart = Pick<Member, "slot" | "pid" | "ready" | "silent" | "kill"> & {
  askStatus(): Promise<void>;
};

export class Pulse {
  readonly #members: () => Iterable<Heart>;
  readonly #logger: Logger;
  readonly #onHeard: () => void;
  /** Those whose answer is still to come, and how many beats it has been. */
  readonly #missed = new Map<Heart, number>();
  readonly #timer: NodeJS.Timeout;

  /** `onHeard`: one that was silent has answered. */
  constructor(members: () => Iterable<Heart>, logger: Logger, onHeard: () => void) {
    this.#members = members;
    this.#logger = logger;
    this.#onHeard = onHeard;
    this.#timer = setInterval(() => this.beat(), beatMs);
    this.#timer.unref();
  }

  beat(): void {
    for (const member of this.#members()) {
      if (!member.ready) continue;
      const missed = this.#missed.get(member);
      if (missed === undefined) this.#ask(member);
      else this.#miss(member, missed + 1);
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #ask(member: Heart): void {
    this.#missed.set(member, 0);
    void member.askStatus().then(
      () => this.#hear(member),
      // It is gone.
      () => this.#missed.delete(member),
    );
  }

  #hear(member: Heart): void {
    this.#missed.delete(member);
    if (!member.silent) return;
    member.silent = false;
    this.#logger.warn({ worker: member.slot + 1, workerPid: member.pid }, "worker answers again");
    this.#onHeard();
  }

  #miss(member: Heart, missed: number): void {
    this.#missed.set(member, missed);
    if (missed === silentBeats) {
      member.silent = true;
      const fields = { worker: member.slot + 1, workerPid: member.pid };
      this.#logger.warn(fields, "worker does not answer: it gets no new connections");
    } else if (missed === deadBeats) {
      const fields = { worker: member.slot + 1, workerPid: member.pid, seconds: deadBeats };
      this.#logger.error(fields, "worker does not answer: it is killed");
      member.kill();
    }
  }
}
