/**
 * The classes of statements for one database: the classifier, which all share, with what is known of this
 * database's functions, views and triggers.
 *
 * That is read from the database's own catalogs, by a query on a server of the pool, when the first client comes;
 * again when a statement has passed that may have changed them, when PostgreSQL has counted that others have
 * (catalog-watch.ts), and now and then, in case that is not counted. Until it is known nothing is taken for harmless.
 *
 * On that occasion it is found how long a question and its answer are under way (pool/round-trip.ts).
 */
import { createHash } from "node:crypto";
import { assert } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import { fingerprintKind, fingerprintRow, userOf } from "../../pool/defaults.ts";
import { ParameterVector, settingsQueries } from "../../pool/parameters.ts";
import type { Pool } from "../../pool/pool.ts";
import { emptyQuery, type RoundTrip, roundTripProbes } from "../../pool/round-trip.ts";
import type { Server, ServerOwner } from "../../pool/server.ts";
import { askUnseen, rowsOf } from "../../pool/unseen.ts";
import type { Waiter } from "../../pool/waiters.ts";
import {
  Catalog,
  CatalogReading,
  type Classifier,
  changesKind,
  changesQuery,
  type ExpectedText,
  type FunctionLists,
  type LexicalSettings,
  type ShapeTrail,
  type StatementClass,
  unknownClass,
} from "../../sql/index.ts";
import { encodeQuery } from "../../wire/encode-frontend.ts";
import { CatalogWatch } from "./catalog-watch.ts";
import {
  customNameKind,
  customNamesQuery,
  hidingFunctionKind,
  hidingFunctionsQuery,
} from "./custom-names.ts";

/** How long a catalog is believed. Longer means that a trigger made behind our back goes unnoticed for longer. */
const catalogAgeMsMax = 60_000;
/** Pause before the catalogs are read again after they were just read, or could not be. */
const reloadPauseMs = 100;
const retryPauseMs = 5000;

/** For so long the catalogs wait for a server that is idle. */
const idleWaitMs = 200;
/** Who needs a server waits so long for the one on which the catalogs are read before another is opened. */
const momentMs = 200;

export class Classification implements Waiter, ServerOwner {
  /** It waits for a server as a client does, and is none. */
  readonly clientsCount: number = 0;
  /** Changes whenever the class of a text may be another one than before. */
  generation = 0;
  /** Names of functions that set parameters whose names nobody knows, as of the last reading. */
  hidingFunctions: ReadonlySet<string> = new Set();
  readonly #pool: Pool;
  readonly #clock: Clock;
  /** Undefined while the parser is being loaded. */
  readonly #classifier: () => Classifier | undefined;
  readonly #onCustomName: (name: string) => void;
  readonly #roundTrip: RoundTrip;
  /** Queries that do nothing and are still to be timed; when the last one was sent, and the shortest time. */
  #probesLeft = 0;
  #probeSentMs = 0;
  #shortestMs = 0;
  /** What an administrator says of functions. */
  readonly #lists: () => FunctionLists;
  #catalog: Catalog = Catalog.unknown;
  /** With those lists, as of the last look at them. */
  #listed: Catalog = Catalog.unknown;
  #listedBy: FunctionLists | undefined;
  #server: Server | undefined;
  #loading = false;
  #reading = new CatalogReading();
  #hiding = new Set<string>();
  /** Asked for again while it was being read. */
  #stale = true;
  /** Others may have changed them. */
  readonly #watch: CatalogWatch;
  /** All that is asked for is whether they have. */
  #looking = false;
  #changes: string | undefined;
  /** Of what was read last: where it has stayed the same, nobody has to judge a text again. */
  #digest = "";
  #dueSinceMs: number | undefined;
  #notBeforeMs = 0;
  #loadedAtMs = 0;
  #leasedAtMs = 0;
  #returning = false;
  #rows: Buffer[] = [];
  #failed = false;

  constructor(
    pool: Pool,
    environment: {
      readonly clock: Clock;
      readonly classifier: () => Classifier | undefined;
      readonly lists: () => FunctionLists;
      /** Is measured on this occasion. */
      readonly roundTrip: RoundTrip;
    },
    onCustomName: (name: string) => void,
  ) {
    this.#pool = pool;
    this.#clock = environment.clock;
    this.#classifier = environment.classifier;
    this.#roundTrip = environment.roundTrip;
    this.#watch = new CatalogWatch(pool.statistics);
    this.#lists = environment.lists;
    this.#list();
    this.#onCustomName = onCustomName;
  }

  /** The catalogs have been read, and nothing has passed since that may have changed them. */
  get known(): boolean {
    return this.#catalog !== Catalog.unknown;
  }

  /** What the classes of texts depend on besides the texts: another object when that has changed. */
  get catalog(): Catalog {
    return this.#listed;
  }

  /** What is known of `buffer[start, end)`, if it is what the trail of its client leads to. */
  expected(buffer: Buffer, start: number, end: number, trail: ShapeTrail): ExpectedText | undefined {
    return this.#classifier()?.expected(buffer, start, end, trail);
  }

  classOf(expected: ExpectedText): StatementClass {
    return this.#classifier()?.classOf(expected, this.#listed) ?? unknownClass("parser_unavailable");
  }

  /** The class of `buffer[start, end)`. Never throws. `trail`: of the client that has sent it. */
  classify(
    buffer: Buffer,
    start: number,
    end: number,
    settings?: LexicalSettings,
    trail?: ShapeTrail,
  ): StatementClass {
    const classifier = this.#classifier();
    if (classifier === undefined) return unknownClass("parser_unavailable");
    return classifier.classifySpan(buffer, start, end, this.#listed, settings, trail);
  }

  /** Functions, views or triggers may not be what they were. */
  refresh(): void {
    this.#catalog = Catalog.unknown;
    this.#list();
    this.#stale = true;
    this.load();
  }

  /** The classes of texts may be others than before. */
  #list(): void {
    this.#listedBy = this.#lists();
    this.#listed = this.#catalog.with(this.#listedBy);
    this.generation++;
  }

  /** Everything that time asks for. */
  tick(): void {
    if (this.#lists() !== this.#listedBy) this.#list();
    if (this.known && this.#clock.now() - this.#loadedAtMs >= catalogAgeMsMax) {
      // Only for those who use it: nobody waits for it.
      this.#stale = this.#pool.clients > 0;
    }
    if (this.#clock.now() - this.#leasedAtMs >= momentMs) this.#setReturning(false);
    this.load();
  }

  /** The server that is used here will be free in a moment. */
  #setReturning(returning: boolean): void {
    if (returning === this.#returning) return;
    this.#returning = returning;
    this.#pool.looseHolders.returning += returning ? 1 : -1;
  }

  /**
   * Reads the catalogs, or looks whether that is needed, if either is due and somebody needs them: when a server has nothing else to do but to be held, or,
   * once that has not come about for a while, when it is its turn.
   */
  load(): void {
    if (this.#loading || this.#pool.clients === 0) return;
    const nowMs = this.#clock.now();
    if (nowMs < this.#notBeforeMs || !(this.#stale || this.#watch.due(nowMs))) return;
    this.#dueSinceMs ??= nowMs;
    const idle = hasIdle(this.#pool);
    // To look, nobody is asked to give a server back, and none is opened.
    const held = idle || !this.#stale ? undefined : this.#pool.looseHolders.serverAtRest;
    const needed = this.#stale ? this.#pool.size > 0 : this.#pool.queue.size > 0;
    const patient = needed && nowMs - this.#dueSinceMs >= idleWaitMs;
    if (!idle && held === undefined && !patient) return;
    this.#loading = true;
    const server = this.#pool.lease(this, held, held !== undefined);
    if (server !== undefined) this.onLeased(server);
  }

  onLeased(server: Server): void {
    this.#server = server;
    server.readsCatalogs = true;
    this.#looking = !this.#stale;
    this.#stale = false;
    this.#dueSinceMs = undefined;
    this.#failed = false;
    this.#rows = [];
    server.owner = this;
    this.#leasedAtMs = this.#clock.now();
    this.#setReturning(true);
    const { tracked } = server.parameters;
    const own = ParameterVector.of(server.connection.parameters);
    for (const query of tracked.equals(own) ? [] : settingsQueries(tracked, own)) this.#send(query);
    tracked.replaceUntracked(new Map(), server.connection.parameters);
    this.#changes = undefined;
    this.#watch.asking(this.#leasedAtMs);
    this.#send(encodeQuery(changesQuery), "dispensable");
    if (!this.#looking) this.#read(server);
  }

  #read(server: Server): void {
    this.#looking = false;
    this.#send(encodeQuery(customNamesQuery));
    this.#send(encodeQuery(hidingFunctionsQuery));
    this.#hiding = new Set();
    this.#send(encodeQuery(fingerprintRow(userOf(server))));
    this.#reading = new CatalogReading();
    this.#readOn();
  }

  /** Sends the next query of the reading. False: there is none. */
  #readOn(): boolean {
    const { query } = this.#reading;
    if (query !== undefined) this.#send(encodeQuery(query));
    return query !== undefined;
  }

  #send(query: Buffer, need?: "dispensable"): void {
    const server = this.#server;
    assert(server !== undefined, "a query needs a server");
    const onAnswered = (failed: boolean): void => {
      this.#failed ||= failed && need === undefined;
    };
    askUnseen(server, query, onAnswered, (bytes) => this.#rows.push(Buffer.from(bytes)));
  }

  onLeaseFailed(): void {
    this.#end(retryPauseMs);
  }

  onLongWait(): void {
    // Nobody is told.
  }

  onReplies(): boolean {
    return true;
  }

  onSettled(): void {
    const server = this.#server;
    assert(server !== undefined, "replies come from a server that is held");
    if (this.#failed) this.#stale = true;
    else if (this.#probesLeft > 0) {
      if (this.#probeOn()) return;
    }
    // Whatever has changed meanwhile: it is read again, when others have had the server.
    else if (!this.#stale) {
      const more = this.#takeRows();
      if (!this.#looking) {
        if (!more) this.#beginProbes();
        return;
      }
      if (this.#watch.tells(this.#changes, this.#clock.now())) {
        this.#read(server);
        return;
      }
    }
    this.#server = undefined;
    this.#setReturning(false);
    this.#end(this.#failed ? retryPauseMs : reloadPauseMs);
    server.owner = undefined;
    server.readsCatalogs = false;
    this.#pool.release(server, false);
    // Those who hold a server because nothing was known may give it back now.
    if (this.known && !this.#looking) this.#pool.looseHolders.askAll();
  }

  /** Returns whether there is more to ask. */
  #takeRows(): boolean {
    const rows: (string | null)[][] = [];
    for (const row of rowsOf(Buffer.concat(this.#rows))) {
      if (row[0] === customNameKind) this.#onCustomName(row[2] ?? "");
      else if (row[0] === hidingFunctionKind) this.#hiding.add(row[2] ?? "");
      else if (row[0] === fingerprintKind) this.#seeFingerprint(row[2] ?? null);
      else if (row[0] === changesKind) this.#changes = row[2] ?? undefined;
      else rows.push(row);
    }
    this.#rows = [];
    if (this.#looking) return false;
    this.#reading.take(rows);
    if (this.#readOn()) return true;
    const hiding = [...this.#hiding].sort();
    const digest = createHash("sha256")
      .update(JSON.stringify([rows, hiding]))
      .digest("base64");
    if (!this.known || digest !== this.#digest) {
      this.#catalog = this.#reading.catalog;
      this.hidingFunctions = this.#hiding;
      this.#list();
    }
    this.#digest = digest;
    this.#loadedAtMs = this.#clock.now();
    this.#watch.read(this.#changes, this.#loadedAtMs);
    return false;
  }

  /** What new sessions begin with may have been altered behind our back. */
  #seeFingerprint(fingerprint: string | null): void {
    const { defaults } = this.#pool;
    if (!defaults.see(fingerprint)) defaults.renew();
  }

  /** The server has nothing else to do: how long does it take to answer nothing? */
  #beginProbes(): void {
    this.#probesLeft = roundTripProbes;
    this.#shortestMs = Number.POSITIVE_INFINITY;
    this.#probe();
  }

  #probe(): void {
    this.#probeSentMs = this.#clock.now();
    this.#send(emptyQuery);
  }

  /** One is answered. Returns whether there is another. */
  #probeOn(): boolean {
    this.#shortestMs = Math.min(this.#shortestMs, this.#clock.now() - this.#probeSentMs);
    this.#probesLeft--;
    if (this.#probesLeft > 0) this.#probe();
    else this.#roundTrip.measure(this.#shortestMs, this.#clock.now());
    return this.#probesLeft > 0;
  }

  #end(pauseMs: number): void {
    this.#rows = [];
    this.#probesLeft = 0;
    this.#loading = false;
    this.#notBeforeMs = this.#clock.now() + pauseMs;
  }

  onParameter(): void {
    // Read from the server when it is given to a client.
  }

  onDropped(): void {
    // Nothing of ours is prepared.
  }

  onServerDrain(): void {
    // A few kilobytes.
  }

  onServerLost(): void {
    this.#server = undefined;
    this.#setReturning(false);
    this.#stale = true;
    this.#end(retryPauseMs);
  }
}

function hasIdle(pool: Pool): boolean {
  for (const server of pool.servers) if (server.state === "idle") return true;
  return false;
}
