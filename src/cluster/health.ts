/**
 * How one node is, from the results of its probes alone. Results and `now` in, a condition and the time of the next
 * probe out.
 *
 * - N results in a row without an answer make a node that was reached unreachable, M answers in a row bring it back.
 *   The first result of all counts at once: nothing was known before.
 * - What PostgreSQL says of itself needs no repetition: 57P03 is a server that starts up or shuts down, 57P02 one that
 *   restarts all of its processes after a crash. 57P01 alone may be an administrator who ended the probe's connection:
 *   it only asks for the next probe at once, and says "draining" if that is not answered either.
 * - 53300 is a server that lives and is full: its condition stays, and probes become rarer.
 * - An error of any other kind (28P01, 3D000, a wrong answer) will not go away by itself, and says nothing about what
 *   clients may do there. It counts as no answer, so that a node that cannot be watched is not used unwatched.
 * - Errors that clients meet never get here: they ask for a probe, see {@link NodeHealth.suspect}.
 */
import { unreachable } from "../base/assert.ts";
import type { ProbeReport, ProbeResult } from "./probe-report.ts";

export interface HealthSettings {
  readonly probeIntervalMs: number;
  /** Between probes while a verdict is pending. */
  readonly probeFastIntervalMs: number;
  /** The longest pause between probes of a server that is full. */
  readonly probeBackoffMaxMs: number;
  /** Results in a row without an answer that make a node unreachable. */
  readonly failuresMax: number;
  /** Answers in a row that bring it back. */
  readonly answersMin: number;
}

export type Condition =
  /** Not probed yet. */
  | "unknown"
  | "answering"
  /** It says that it starts up, or recovers from a crash. */
  | "starting"
  /** It says that it shuts down. */
  | "stopping"
  | "unreachable";

/** An answer, and when its probe was begun: what happened since it cannot know. */
export interface Answer {
  readonly report: ProbeReport;
  readonly startedAt: number;
  readonly latencyMs: number;
}

export class NodeHealth {
  condition: Condition = "unknown";
  /** Why, in words; empty if it answers. */
  reason = "not probed yet";
  /** The last answer, however old. */
  answer: Answer | undefined;
  /** Whether the last result was that answer. */
  fresh = false;
  /** Whether there was any result. */
  heard = false;
  nextProbeAt: number;
  #settings: HealthSettings;
  #failures = 0;
  #answers = 0;
  #terminated = false;
  #backoffMs = 0;
  #suspectedAt = Number.NEGATIVE_INFINITY;
  #resultAt = Number.NEGATIVE_INFINITY;

  constructor(settings: HealthSettings, now: number) {
    this.#settings = settings;
    this.nextProbeAt = now;
  }

  /** What the last answer told of positions holds: nothing has happened since that may be a start from further back. */
  get positionKnown(): boolean {
    return this.answer !== undefined && this.answer.startedAt >= this.#suspectedAt;
  }

  /** Somebody waits for news of a node that answers: it is asked now. */
  hasten(now: number): void {
    if (this.condition === "answering") this.nextProbeAt = Math.min(this.nextProbeAt, now);
  }

  /** There is no primary: a node that answers may become it at any time, and is asked as often as one in doubt. */
  search(): void {
    if (this.condition !== "answering" || this.#backoffMs > 0) return;
    this.nextProbeAt = Math.min(this.nextProbeAt, this.#resultAt + this.#settings.probeFastIntervalMs);
  }

  configure(settings: HealthSettings): void {
    this.#settings = settings;
  }

  /** `startedAt`: when the probe was begun, `now`: when it ended. */
  probed(result: ProbeResult, startedAt: number, now: number): void {
    this.fresh = false;
    this.heard = true;
    this.#resultAt = now;
    this.#take(result, startedAt, now);
    if (startedAt < this.#suspectedAt) this.suspect(now);
  }

  #take(result: ProbeResult, startedAt: number, now: number): void {
    const { probeIntervalMs, probeFastIntervalMs } = this.#settings;
    switch (result.kind) {
      case "answer":
        this.#answered({ report: result.report, latencyMs: result.latencyMs, startedAt });
        this.nextProbeAt = now + (this.condition === "answering" ? probeIntervalMs : probeFastIntervalMs);
        return;
      case "refused":
        this.#failed("refuses connections");
        break;
      case "unreachable":
        this.#failed(result.detail);
        break;
      case "timeout":
        this.#failed("did not answer in time");
        break;
      case "error":
        this.#said(result.sqlstate, result.message, now);
        return;
      default:
        unreachable(result, "result of a probe");
    }
    this.nextProbeAt = now + (this.condition === "unreachable" ? probeIntervalMs : probeFastIntervalMs);
  }

  /**
   * Something is known that the last result may not show, be it an error that a client met: the next probe is due
   * at once, but no faster than probes follow each other while a verdict is pending. A full server is left alone.
   */
  suspect(now: number): void {
    this.#suspectedAt = now;
    if (this.#backoffMs > 0) return;
    const soonest = Math.max(now, this.#resultAt + this.#settings.probeFastIntervalMs);
    if (this.nextProbeAt > soonest) this.nextProbeAt = soonest;
  }

  #answered(answer: Answer): void {
    this.answer = answer;
    this.fresh = true;
    this.#failures = 0;
    this.#terminated = false;
    this.#backoffMs = 0;
    this.#answers++;
    const trusted = this.condition !== "unreachable" || this.#answers >= this.#settings.answersMin;
    if (!trusted) return;
    this.condition = "answering";
    this.reason = "";
  }

  #failed(reason: string): void {
    this.#answers = 0;
    this.#failures++;
    const enough = this.#failures >= this.#settings.failuresMax;
    if (!enough && this.condition !== "unknown") return;
    this.condition = "unreachable";
    this.reason = reason;
  }

  #said(sqlstate: string, message: string, now: number): void {
    const { probeIntervalMs, probeFastIntervalMs, probeBackoffMaxMs } = this.#settings;
    this.nextProbeAt = now + probeFastIntervalMs;
    switch (sqlstate) {
      case "53300":
        this.#backoffMs = Math.min(Math.max(this.#backoffMs * 2, probeIntervalMs), probeBackoffMaxMs);
        this.nextProbeAt = now + this.#backoffMs;
        if (this.condition === "unknown") this.reason = message;
        return;
      case "57P03":
        this.#declare(/shutting down/i.test(message) ? "stopping" : "starting", message);
        return;
      case "57P02":
        this.#declare("starting", message);
        return;
      case "57P01":
        if (this.#terminated) this.#declare("stopping", message);
        else this.nextProbeAt = now;
        this.#terminated = true;
        return;
      default:
        this.#failed(`${message} (SQLSTATE ${sqlstate})`);
        if (this.condition === "unreachable") this.nextProbeAt = now + probeIntervalMs;
    }
  }

  #declare(condition: "starting" | "stopping", message: string): void {
    this.#answers = 0;
    this.#failures = 0;
    this.condition = condition;
    this.reason = message;
  }
}
