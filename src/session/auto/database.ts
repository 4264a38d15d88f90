/**
 * What all clients of one pool know together: the classes of statements, the parameters that the ledger asks
 * for by name, and how many reservations there are.
 */
import type { Clock } from "../../base/clock.ts";
import type { WriteFloor } from "../../cluster/floor.ts";
import { Multiplexer } from "../../pool/multiplexer.ts";
import type { Pool } from "../../pool/pool.ts";
import type { SharedStatement } from "../../pool/prepared.ts";
import { RoundTrip } from "../../pool/round-trip.ts";
import type { Server } from "../../pool/server.ts";
import type { Classifier, FunctionLists, LexicalSettings, ShapeTrail } from "../../sql/index.ts";
import { Classification } from "./classification.ts";
import { namesIn } from "./custom-names.ts";
import type { Informed } from "./doubts.ts";
import { Homes } from "./homes.ts";
import { hiding, type Knowledge, knowledgeOf, unknownStatement } from "./knowledge.ts";
import { LedgerQueries } from "./ledger.ts";
import { Listeners } from "./listening/listeners.ts";
import type { PassingName } from "./passing.ts";
import type { Pids } from "./pids.ts";
import { Reservation, type ReservationName, reservationNames } from "./reservations.ts";
import { TimedClients } from "./timeouts.ts";

/** Longer texts are not searched for names. */
const searchedBytesMax = 64 * 1024;

/** What a shared statement's text was found to be. */
interface Kept {
  readonly generation: number;
  readonly knowledge: Knowledge;
}

/** How many clients have a reservation now, and how often there was one. */
export interface ReservationCount {
  now: number;
  total: number;
}

export class AutoDatabase implements Informed {
  readonly pool: Pool;
  /** What all clients of the pooler have written. */
  readonly written: WriteFloor;
  readonly clock: Clock;
  readonly ledgerQueries: LedgerQueries = new LedgerQueries();
  readonly reservations: ReadonlyMap<ReservationName, ReservationCount>;
  /** How often there was one of those that are not counted there. */
  readonly passed: Record<PassingName, number> = { transaction: 0, copy: 0, portal: 0 };
  readonly classification: Classification;
  readonly multiplexer: Multiplexer;
  readonly homes: Homes;
  readonly listeners: Listeners;
  readonly timedClients: TimedClients = new TimedClients();
  /** Of the whole pooler. */
  readonly pids: Pids;
  /** Whether clients are told that their server is reserved (`pin_notice`). */
  readonly wantsNotice: () => boolean;
  /** New sessions will begin with other settings. */
  readonly #onDefaultsAltered: () => void;
  /** Functions, views or triggers may be others than before, for clients of other pools as well. */
  readonly #onCatalogChanged: () => void;

  constructor(
    pool: Pool,
    options: {
      readonly clock: Clock;
      readonly written: WriteFloor;
      /** Undefined while the parser is being loaded. */
      readonly classifier: () => Classifier | undefined;
      readonly functionLists: () => FunctionLists;
      readonly wantsNotice: () => boolean;
      readonly pids: Pids;
      readonly onDefaultsAltered: () => void;
      readonly onCatalogChanged: () => void;
      /** A server on the host of `besides`, by its backend's pid. */
      readonly serverOf: (pid: number, besides: Server) => Server | undefined;
    },
  ) {
    this.pool = pool;
    this.written = options.written;
    this.clock = options.clock;
    const { clock, classifier } = options;
    const roundTrip = new RoundTrip();
    this.classification = new Classification(
      pool,
      { clock, classifier, lists: options.functionLists, roundTrip },
      (name) => {
        this.ledgerQueries.addName(name);
      },
    );
    this.multiplexer = new Multiplexer(pool, clock, { roundTrip, onStandby: false });
    this.homes = new Homes(pool, options.clock);
    this.listeners = new Listeners(pool, options.clock, options.serverOf);
    this.pids = options.pids;
    this.wantsNotice = options.wantsNotice;
    this.#onDefaultsAltered = options.onDefaultsAltered;
    this.#onCatalogChanged = options.onCatalogChanged;
    this.reservations = new Map(reservationNames.map((name) => [name, { now: 0, total: 0 }]));
  }

  /** Everything that time asks for. */
  tick(): void {
    this.classification.tick();
    this.multiplexer.tick();
    this.timedClients.tick(this.clock.now());
    this.homes.tick();
    this.listeners.tick();
  }

  /**
   * As {@link ofText}, of a text that is read in the usual way; `trail`: how far its client has come in what it sends. What was
   * found of a shape is kept with it, so that one look at it is enough.
   */
  ofUsualText(buffer: Buffer, start: number, end: number, trail: ShapeTrail): Knowledge {
    const { classification } = this;
    const expected = classification.expected(buffer, start, end, trail);
    if (expected === undefined) return this.ofText(buffer, start, end, undefined, trail);
    const { catalog } = classification;
    if (expected.keptFor === catalog) return expected.kept as Knowledge;
    const knowledge = knowledgeOf(classification.classOf(expected));
    // The names in opaque code are the text's, and not its shape's.
    if (knowledge.opaque) return this.#withNames(knowledge, buffer, start, end);
    expected.kept = knowledge;
    expected.keptFor = catalog;
    return knowledge;
  }

  /** `settings`: those of the client, if they are unusual. */
  ofText(
    buffer: Buffer,
    start: number,
    end: number,
    settings?: LexicalSettings,
    trail?: ShapeTrail,
  ): Knowledge {
    if (start > end) return unknownStatement;
    const knowledge = knowledgeOf(this.classification.classify(buffer, start, end, settings, trail));
    return knowledge.opaque ? this.#withNames(knowledge, buffer, start, end) : knowledge;
  }

  /** A class does not tell the names of parameters in code that is opaque; some of them the text does. */
  #withNames(knowledge: Knowledge, buffer: Buffer, start: number, end: number): Knowledge {
    if (end - start > searchedBytesMax) return knowledge;
    const { names, hidden } = namesIn(buffer.toString("utf8", start, end));
    for (const name of names) if (name.includes(".")) this.ledgerQueries.addName(name);
    const { hidingFunctions } = this.classification;
    const hides = hidden || knowledge.calledNames.some((name) => hidingFunctions.has(name));
    return hides && !knowledge.definesOnly ? hiding(knowledge) : knowledge;
  }

  /** Whether a text is one PREPARE and nothing else. */
  preparesOne(text: string): boolean {
    const { effects, multiStatement } = this.classification.classify(Buffer.from(text), 0, text.length);
    return effects[0]?.kind === "prepare" && !multiStatement;
  }

  get catalogsKnown(): boolean {
    return this.classification.known;
  }

  usesSequence(text: Buffer): boolean {
    return this.ofText(text, 0, text.length).usesSequence;
  }

  /** The class of a shared statement is kept with it. */
  ofStatement(statement: SharedStatement, settings?: LexicalSettings): Knowledge {
    const kept = statement.kept as Kept | undefined;
    const { generation } = this.classification;
    if (kept !== undefined && kept.generation === generation && settings === undefined) return kept.knowledge;
    const knowledge = this.ofText(statement.body, 0, statement.body.indexOf(0), settings);
    if (settings === undefined) statement.kept = { generation, knowledge } satisfies Kept;
    return knowledge;
  }

  /** A client has written: `own` is what it reads by. */
  noteWrite(own: WriteFloor, nowMs: number = this.clock.now()): void {
    own.wrote(nowMs);
    this.written.wrote(nowMs);
  }

  /** A client has changed functions, views or triggers: its own, or those of all. */
  catalogChanged(whose: "own" | "all"): void {
    this.classification.refresh();
    if (whose === "all") this.#onCatalogChanged();
  }

  defaultsAltered(): void {
    this.#onDefaultsAltered();
  }

  /** The reservations of one client have changed. */
  count(before: number, after: number): void {
    for (const [name, count] of this.reservations) {
      const bit = Reservation[name];
      if ((before & bit) === (after & bit)) continue;
      if ((after & bit) !== 0) {
        count.now++;
        count.total++;
      } else {
        count.now--;
      }
    }
  }
}
