/**
 * Where the nodes come from if not from the file: Patroni or a name server is asked again and again, and the configuration
 * in force is the file's with the members of the last answer as its nodes. One question at a time, each with its deadline; while
 * nobody answers, the members stay those of the last answer.
 */
import type { DiscoveryView } from "../../admin/context.ts";
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import { leaderOf, type ManagerAnswer, type ManagerWord } from "../../cluster/index.ts";
import { reasonOf } from "../../config/errors.ts";
import { type Member, withMembers } from "../../config/members.ts";
import type { Config, Settings } from "../../config/schema.ts";
import { type LookUp, membersOfName, systemLookUp } from "./addresses.ts";
import { PatroniClient } from "./patroni.ts";

export interface DiscoveryOwner {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The node that is written to now. */
  readonly primaryName: string | undefined;
  /** {@link Discovery.config} has other nodes. */
  onMembers(): void;
  /** What a cluster manager has answered; undefined: there is none, or it is not reached. */
  onWord(word: ManagerWord | undefined): void;
}

interface Found {
  readonly members: readonly Member[];
  /** Undefined: whoever lists the members does not know who leads them. */
  readonly word: ManagerAnswer | undefined;
}

/** Errors of clients have it ask at once, but not more often than this. */
const hastenedMs = 200;

export class Discovery {
  readonly #owner: DiscoveryOwner;
  readonly #lookUp: LookUp;
  /** As the file has it. */
  #given: Config;
  #config: Config;
  #members: readonly Member[] = [];
  #patroni = new PatroniClient();
  #timer: NodeJS.Timeout | undefined;
  /** Of the question that is under way. */
  #asking: AbortController | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** Why the last question had no answer; undefined: it had one, or there was none yet. */
  #trouble: string | undefined;
  #answeredAt: number | undefined;
  #leader: string | undefined;
  /** The last question without an answer, also if there were answers since. */
  #failed: { readonly reason: string; readonly at: number } | undefined;
  #open = false;

  constructor(owner: DiscoveryOwner, given: Config, lookUp: LookUp = systemLookUp) {
    this.#owner = owner;
    this.#lookUp = lookUp;
    this.#given = given;
    this.#config = withMembers(given, []);
  }

  get given(): Config {
    return this.#given;
  }

  /** What is in force. */
  get config(): Config {
    return this.#config;
  }

  /** For people. */
  get view(): DiscoveryView {
    const { discovery: source, discovery_host: host } = this.#given.pgsluice;
    const now = this.#owner.clock.now();
    const failed = this.#failed;
    return {
      source,
      place: source === "patroni" ? this.#patroni.place(this.#given.pgsluice) : source === "dns" ? host : "",
      state: source === "static" ? "static" : this.#stateOfAnswers(),
      members: Object.entries(this.#config.nodes).map(
        ([name, node]) => `${name}=${node.hostaddr ?? node.host}:${node.port}`,
      ),
      leader: this.#leader,
      answerAgeMs: this.#answeredAt === undefined ? undefined : now - this.#answeredAt,
      error: failed?.reason,
      errorAgeMs: failed === undefined ? undefined : now - failed.at,
    };
  }

  #stateOfAnswers(): DiscoveryView["state"] {
    if (this.#trouble !== undefined) return "failing";
    return this.#answeredAt === undefined ? "asking" : "answering";
  }

  /** Takes over what a reload has read, and returns what is in force from now on. */
  configure(given: Config): Config {
    const other = sourceOf(given) !== sourceOf(this.#given);
    this.#given = given;
    if (other) {
      this.#stop();
      this.#members = [];
      this.#trouble = undefined;
      this.#answeredAt = undefined;
      this.#leader = undefined;
      this.#failed = undefined;
      this.#patroni = new PatroniClient();
    }
    this.#config = withMembers(given, this.#members);
    if (other && this.#open) this.open();
    return this.#config;
  }

  /** Begins to ask. */
  open(): void {
    this.#open = true;
    if (this.#given.pgsluice.discovery === "static") this.#owner.onWord(undefined);
    else this.#askIn(0);
  }

  /** Something has happened that another answer may explain. */
  hasten(): void {
    if (this.#timer === undefined) return;
    const soonest = this.#askedAt + hastenedMs - this.#owner.clock.now();
    const { discovery_period: seconds } = this.#given.pgsluice;
    if (soonest < seconds * 1000) this.#askIn(Math.max(0, soonest));
  }

  close(): void {
    this.#open = false;
    this.#stop();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#asking?.abort();
    this.#asking = undefined;
  }

  #askIn(waitMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(), waitMs);
  }

  async #ask(): Promise<void> {
    this.#timer = undefined;
    const asking = new AbortController();
    this.#asking = asking;
    this.#askedAt = this.#owner.clock.now();
    try {
      const found = await find(this.#given.pgsluice, this.#patroni, this.#lookUp, asking.signal);
      if (!asking.signal.aborted) this.#take(found, this.#askedAt);
    } catch (error) {
      if (!asking.signal.aborted) this.#fail(reasonOf(error));
    }
    if (asking.signal.aborted) return;
    this.#asking = undefined;
    this.#askIn(this.#given.pgsluice.discovery_period * 1000);
  }

  #take({ members, word }: Found, askedAt: number): void {
    const { logger } = this.#owner;
    if (this.#trouble !== undefined) logger.info({}, "discovery answers again");
    this.#trouble = undefined;
    this.#answeredAt = this.#owner.clock.now();
    this.#leader = word === undefined ? undefined : leaderOf(word);
    const before = this.#members;
    this.#members = [...members.map(memberOf), ...this.#kept(members, word)];
    const changed = JSON.stringify(this.#members) !== JSON.stringify(before);
    if (changed) {
      const nodes = this.#members.map(
        ({ name, host, port, hostaddr }) => `${name}=${hostaddr ?? host}:${port}`,
      );
      logger.info({ discovery: this.#given.pgsluice.discovery, nodes }, "nodes found");
      this.#config = withMembers(this.#given, this.#members);
      this.#owner.onMembers();
    }
    this.#owner.onWord(word === undefined ? undefined : { ...word, askedAt });
  }

  /**
   * A primary that the manager lists no more and has no other one for: its agent is away, as during its own upgrade,
   * and what the node says of itself is enough, as without a manager.
   */
  #kept(members: readonly Member[], word: ManagerAnswer | undefined): readonly Member[] {
    if (word === undefined || leaderOf(word) !== undefined) return [];
    const { primaryName } = this.#owner;
    if (primaryName === undefined || members.some(({ name }) => name === primaryName)) return [];
    return this.#members.filter(({ name }) => name === primaryName);
  }

  #fail(reason: string): void {
    const { logger } = this.#owner;
    // Once for each kind of trouble.
    if (reason !== this.#trouble) {
      const nodes = this.#members.map(({ name }) => name);
      logger.warn({ reason, nodes }, "discovery does not answer: the nodes stay as they are");
    }
    this.#trouble = reason;
    this.#failed = { reason, at: this.#owner.clock.now() };
    this.#owner.onWord(undefined);
  }
}

/** The configuration with the nodes that there are now. Rejects with an Error that says why nobody has told. */
export async function findOnce(config: Config): Promise<Config> {
  const { pgsluice: settings } = config;
  if (settings.discovery === "static") return config;
  const found = await find(settings, new PatroniClient(), systemLookUp, new AbortController().signal);
  return withMembers(config, found.members.map(memberOf));
}

async function find(
  settings: Settings,
  patroni: PatroniClient,
  lookUp: LookUp,
  signal: AbortSignal,
): Promise<Found> {
  if (settings.discovery === "patroni") {
    const word = await patroni.ask(settings, signal);
    return { members: word.members, word };
  }
  const limit = AbortSignal.timeout(settings.discovery_timeout * 1000);
  const members = await membersOfName(settings, lookUp, AbortSignal.any([limit, signal]));
  return { members, word: undefined };
}

/** What the configuration knows of a member: no more, or each change of its state would be a reload. */
function memberOf({ name, host, port, hostaddr, noLoadBalance }: Member): Member {
  return {
    ...{ name, host, port },
    ...(hostaddr === undefined ? {} : { hostaddr }),
    ...(noLoadBalance === undefined ? {} : { noLoadBalance }),
  };
}

/** Whom a configuration asks for members; another one knows others. */
function sourceOf({ pgsluice: settings }: Config): string {
  const { discovery, discovery_host: host, discovery_port: port, patroni_urls: urls } = settings;
  if (discovery === "static") return discovery;
  return JSON.stringify(discovery === "dns" ? [discovery, host, port] : [discovery, ...urls]);
}
