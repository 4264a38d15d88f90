/**
 * When a worker that has died is replaced: at once, or, if it had lived only a moment, after a pause that doubles each time. One that dies while it starts, so many times
 * in a row, will not be had at all; then the pooler gives up, so that whoever watches over it learns of it.
 */
import { OperationError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Member } from "./member.ts";

/** One that has lived so long had nothing wrong from the start. */
const soundMs = 10_000;
const pauseMs = 100;
const pauseMsMax = 10_000;
/** So many failed starts in a row are enough. */
const failuresMax = 5;

interface Record {
  restarts: number;
  /** In a row, of workers that lived only a moment. */
  early: number;
  /** In a row, of workers that were never ready. */
  failures: number;
}

export class Replacement {
  readonly #does: {
    readonly logger: Logger;
    readonly begin: (slot: number) => void;
    readonly giveUp: (failure: OperationError) => void;
  };
  readonly #records = new Map<number, Record>();
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(does: {
    readonly logger: Logger;
    readonly begin: (slot: number) => void;
    readonly giveUp: (failure: OperationError) => void;
  }) {
    this.#does = does;
  }

  /** How often the worker of a slot was replaced. */
  countOf(slot: number): number {
    return this.#records.get(slot)?.restarts ?? 0;
  }

  /** `how` it has ended. */
  onExit(member: Member, how: string): void {
    const { slot, pid, ageMs, connections } = member;
    const record = this.#records.get(slot) ?? { restarts: 0, early: 0, failures: 0 };
    this.#records.set(slot, record);
    const reason = member.failure instanceof Error ? member.failure.message : how;
    record.failures = member.wasReady ? 0 : record.failures + 1;
    if (record.failures >= failuresMax) {
      this.#does.giveUp(cannotStart(slot, reason, member.failure));
      return;
    }
    record.early = ageMs < soundMs ? record.early + 1 : 0;
    const waitMs = record.early <= 1 ? 0 : Math.min(pauseMsMax, pauseMs * 2 ** (record.early - 2));
    this.#does.logger.error(
      { worker: slot + 1, workerPid: pid, reason, connections, againInMs: waitMs },
      member.wasReady ? "worker died, and its clients are lost" : "worker could not be started",
    );
    record.restarts++;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#does.begin(slot);
    }, waitMs);
    this.#timers.add(timer);
  }

  /** Nobody is replaced any more. */
  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

function cannotStart(slot: number, reason: string, cause: unknown): OperationError {
  return new OperationError(
    `worker ${slot + 1} could not be started ${failuresMax} times in a row: ${reason}`,
    {
      code: "server.worker_failed",
      sqlstate: "58000",
      source: "internal",
      hint: "The log says why each time. Files that the configuration names have to be readable by the user that the pooler runs as.",
      cause,
    },
  );
}
