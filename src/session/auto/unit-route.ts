/**
 * Where a client's unit may run, as far as its statements tell: between units of others, on a standby, or only on a
 * server of its own. And what matters for the reads of this client: who it is, what it has written, and what it has set
 * for itself as `pgsluice.route` and `pgsluice.min_lsn`, which are settings of its session like all others.
 */
import {
  parseLsn,
  type Redirect,
  type RouteHint,
  routeHint,
  type SessionNames,
  WriteFloor,
} from "../../cluster/index.ts";
import type { Pace } from "../../pool/pace.ts";
import type { ParameterVector } from "../../pool/parameters.ts";
import type { Reader } from "../context.ts";
import type { AutoDatabase } from "./database.ts";
import { type Knowledge, Mark } from "./knowledge.ts";

export class UnitRoute implements Reader {
  /** Of its slowest statement. */
  pace: Pace | undefined;
  /** Of all of its statements. */
  #marks = 0;
  /** It ends a transaction, and begins the next one with that. */
  ends = false;
  chains = false;
  /** Transactions of this client begin on the primary. */
  keepsToPrimary = false;
  readonly names: SessionNames;
  readonly written: WriteFloor = new WriteFloor();
  last: string | undefined;
  redirect: Redirect | undefined;
  redirectedBy: object | undefined;
  readonly #parameters: ParameterVector;
  /** Where comments in the unit, or in the BEGIN that is held back, want it to run. */
  #hint: RouteHint | undefined;
  #beginHint: RouteHint | undefined;
  /** Something was sent since the last settled transaction that may have written. */
  #wrote = false;
  /** What the client has set, and of which settings that is true. */
  #setHint: RouteHint | undefined;
  #setLsn: bigint | undefined;
  #version: object | undefined;

  constructor(names: SessionNames, parameters: ParameterVector) {
    this.names = names;
    this.#parameters = parameters;
  }

  get hint(): RouteHint | undefined {
    this.#readSettings();
    return this.#hint ?? this.#beginHint ?? this.#setHint;
  }

  get wanted(): bigint | undefined {
    this.#readSettings();
    return this.#setLsn;
  }

  /** A unit begins; nothing of it was seen. `begun`: the client is in a transaction. */
  begin(begun: boolean): void {
    this.pace = undefined;
    if ((this.#marks & Mark.says) !== 0) {
      this.ends = false;
      this.chains = false;
      this.#hint = undefined;
    }
    this.#marks = 0;
    if (!begun) this.#beginHint = undefined;
  }

  /** The unit was a BEGIN that is held back. */
  keepHint(): void {
    this.#beginHint = this.#hint;
  }

  see(knowledge: Knowledge): void {
    const { marks, pace } = knowledge;
    this.#marks |= marks;
    if ((marks & Mark.says) !== 0) this.#hear(knowledge);
    if (pace !== undefined && (this.pace === undefined || pace.fastMs > this.pace.fastMs)) this.pace = pace;
  }

  #hear({ transaction, routeHint, writes }: Knowledge): void {
    if (transaction?.kind === "commit" || transaction?.kind === "rollback") {
      this.ends = true;
      this.chains = transaction.chain;
    }
    this.#hint ??= routeHint;
    this.#wrote ||= writes;
  }

  /** Something in it needs a server for itself. */
  get exclusive(): boolean {
    return (this.#marks & Mark.exclusive) !== 0;
  }

  /** All of the unit may run on a standby. */
  get reads(): boolean {
    return (this.#marks & Mark.keepsFromStandby) === 0;
  }

  /** The same where a read-only transaction is open there, and whether something is left in that. */
  get stays(): boolean {
    return (this.#marks & Mark.leavesStandby) === 0;
  }

  get leaves(): boolean {
    return (this.#marks & Mark.leaves) !== 0;
  }

  /** It may begin such a transaction, although it reads nothing. */
  get opens(): boolean {
    return (this.#marks & Mark.opensNothing) === 0;
  }

  /** All of its statements may run between those of others. */
  get plain(): boolean {
    return !this.exclusive && this.pace !== undefined;
  }

  /** Something that may write was seen and is not answered. */
  get writes(): boolean {
    return this.#wrote;
  }

  /**
   * A position at or past all that the client has written, and that it wants to see; undefined while that is not known. What
   * has been sent and is not answered may be a write.
   */
  get token(): bigint | undefined {
    const known = this.#wrote ? undefined : this.written.known;
    const { wanted } = this;
    return known !== undefined && wanted !== undefined && wanted > known ? wanted : known;
  }

  /** Everything is answered, and no transaction is open. */
  settle(database: AutoDatabase, nowMs: number | undefined): void {
    if (!this.#wrote) return;
    this.#wrote = false;
    database.noteWrite(this.written, nowMs);
  }

  #readSettings(): void {
    const { version } = this.#parameters;
    if (version === this.#version) return;
    this.#version = version;
    const [name = "", ...value] = (this.#parameters.get("pgsluice.route") ?? "").trim().split("=");
    this.#setHint = routeHint(name, value.length === 0 ? undefined : value.join("="));
    this.#setLsn = parseLsn(this.#parameters.get("pgsluice.min_lsn") ?? "");
  }
}
