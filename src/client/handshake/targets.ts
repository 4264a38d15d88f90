/**
 * Where to connect and how, one try after the other: the list of hosts, the addresses of the current host,
 * and the kinds of encryption that its address has not refused yet.
 *
 *     host ── address ── encryption        nextEncryption: same address, other encryption
 *      │         └─ …                      nextAddress:    next address of this host, else next host
 *      └─ …                                nextHost:       next host
 *
 * With load_balance_hosts=random the hosts are shuffled once and the addresses of each host when they are
 * known. With target_session_attrs=prefer-standby the list is gone through a second time, and then anything
 * goes. sans-IO: chance is handed in, names are resolved by whoever drives the handshake.
 */
import { assert } from "../../base/assert.ts";
import {
  type ConnectOptions,
  type Host,
  isNumericAddress,
  type TargetSessionAttrs,
} from "../conninfo/options.ts";
import type { CancelRequest } from "./demands.ts";

/** A server as it was reached. `address` is numeric, or the folder of a Unix socket. */
export interface ConnectedEndpoint {
  readonly host: string;
  readonly address: string;
  readonly port: number;
}

export type Encryption = "plain" | "tls";

/** Unix socket paths fit into sockaddr_un.sun_path (108 bytes on Linux, its NUL included). */
const unixPathBytesMax = 107;

/** What decides beside the options. */
export interface TargetsGiven {
  /** A cancel goes the way that its session went, and does not judge what it finds there. */
  readonly cancel?: CancelRequest | undefined;
  /** Indexes into the list of hosts, in the order in which they are tried; drawn or taken as they are if not given. */
  readonly order?: readonly number[] | undefined;
  readonly random: (bytes: number) => Buffer;
}

export class Targets {
  /** Indexes into the list of hosts, in the order in which they are tried. */
  readonly order: readonly number[];
  readonly #hosts: readonly Host[];
  readonly #plan: (host: Host) => Encryption[];
  readonly #shuffle: <T>(items: readonly T[]) => readonly T[];
  #sessionAttrs: TargetSessionAttrs;
  #hostIndex = 0;
  /** Addresses of the current host; undefined until they are known. */
  #addresses: readonly string[] | undefined;
  #addressIndex = 0;
  #encryptions: Encryption[];
  /** Nothing has been tried at the current address yet. */
  #fresh = true;

  constructor(options: ConnectOptions, given: TargetsGiven) {
    const encryption = sessionEncryption(given.cancel);
    this.#shuffle = (items) =>
      options.loadBalanceHosts === "random" ? shuffled(items, given.random) : items;
    this.order = given.order ?? this.#shuffle(options.hosts.map((_, index) => index));
    this.#hosts = this.order.map((index) => hostAt(options.hosts, index));
    assert(this.#hosts.length === options.hosts.length, "an order of hosts names each of them");
    this.#sessionAttrs = (given.cancel === undefined ? options.targetSessionAttrs : undefined) ?? "any";
    this.#plan = (host) =>
      encryption !== undefined
        ? [encryption]
        : isUnix(host.address ?? host.host)
          ? ["plain"]
          : encryptionOrder(options);
    this.#encryptions = this.#plan(this.host);
    this.#addresses = knownAddresses(this.host);
  }

  /** What a session must be like now. */
  get sessionAttrs(): TargetSessionAttrs {
    return this.#sessionAttrs;
  }

  get host(): Host {
    const host = this.#hosts[this.#hostIndex];
    assert(host !== undefined, "there is a current host");
    return host;
  }

  get addressKnown(): boolean {
    return this.#addresses !== undefined;
  }

  /** Whether the time for the current address starts now. */
  get fresh(): boolean {
    return this.#fresh;
  }

  get endpoint(): ConnectedEndpoint {
    const address = this.#addresses?.[this.#addressIndex];
    assert(address !== undefined, "the address is known");
    return { host: this.host.host, address, port: this.host.port };
  }

  get encryption(): Encryption {
    const encryption = this.#encryptions[0];
    assert(encryption !== undefined, "one kind of encryption is left");
    return encryption;
  }

  /** Whether any host may be reached by TLS. */
  get mayEncrypt(): boolean {
    return this.#hosts.some((host) => this.#plan(host).includes("tls"));
  }

  /** What makes the current host impossible before anything is sent, if something does. */
  get fault(): string | undefined {
    const { host, port } = this.host;
    if (port < 1 || port > 65535) return `invalid port number: "${port}"`;
    const path = `${host}/.s.PGSQL.${port}`;
    if (isUnix(this.host.address ?? host) && Buffer.byteLength(path) > unixPathBytesMax) {
      return `Unix-domain socket path "${path}" is too long (maximum ${unixPathBytesMax} bytes)`;
    }
    return undefined;
  }

  resolved(addresses: readonly string[]): void {
    assert(addresses.length > 0, "a host that resolves has an address");
    this.#addresses = this.#shuffle(addresses);
    this.#addressIndex = 0;
  }

  /** The current address is being tried. */
  begun(): void {
    this.#fresh = false;
  }

  nextEncryption(): boolean {
    if (this.#encryptions.length < 2) return false;
    this.#encryptions.shift();
    return true;
  }

  nextAddress(): boolean {
    if (this.#addresses === undefined || this.#addressIndex + 1 >= this.#addresses.length)
      return this.nextHost();
    this.#addressIndex++;
    this.#encryptions = this.#plan(this.host);
    this.#fresh = true;
    return true;
  }

  nextHost(): boolean {
    if (this.#hostIndex + 1 < this.#hosts.length) {
      this.#hostIndex++;
    } else if (this.#sessionAttrs === "prefer-standby") {
      this.#sessionAttrs = "any";
      this.#hostIndex = 0;
    } else {
      return false;
    }
    this.#addresses = knownAddresses(this.host);
    this.#addressIndex = 0;
    this.#encryptions = this.#plan(this.host);
    this.#fresh = true;
    return true;
  }
}

export function isUnix(host: string): boolean {
  return host.startsWith("/") || host.startsWith("@");
}

function sessionEncryption(cancel: CancelRequest | undefined): Encryption | undefined {
  if (cancel?.tls === undefined) return undefined;
  return cancel.tls ? "tls" : "plain";
}

function hostAt(hosts: readonly Host[], index: number): Host {
  const host = hosts[index];
  assert(host !== undefined, "an order of hosts names hosts that are there");
  return host;
}

/** Fisher and Yates, inside out. 48 bits for a choice among few: no need to draw again for evenness. */
function shuffled<T>(items: readonly T[], random: (bytes: number) => Buffer): T[] {
  const result: T[] = [];
  for (const [index, item] of items.entries()) {
    const place = index === 0 ? 0 : random(6).readUIntBE(0, 6) % (index + 1);
    const displaced = result[place];
    if (place < index && displaced !== undefined) result[index] = displaced;
    result[place] = item;
  }
  return result;
}

/** libpq's table of sslmode (PostgreSQL's manual, "SSL Mode Descriptions"). */
function encryptionOrder(options: ConnectOptions): Encryption[] {
  switch (options.sslmode) {
    case "disable":
      return ["plain"];
    case "allow":
      return ["plain", "tls"];
    case "prefer":
      return ["tls", "plain"];
    default:
      return ["tls"];
  }
}

function knownAddresses(host: Host): string[] | undefined {
  if (host.address !== undefined) return [host.address];
  return isUnix(host.host) || isNumericAddress(host.host) ? [host.host] : undefined;
}
