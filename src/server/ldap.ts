/**
 * Asks LDAP servers whether a password is a user's. What the options mean is said in auth/ldap.ts; here is the network.
 *
 * Servers are tried in order until one can be reached; what that one says counts. Each question has connections of its
 * own, because binding makes a connection somebody's, and a deadline over all of it. A password never goes over a connection
 * that was to be encrypted and is not: a connection that is lost is not made anew within one question.
 */
import { connect, type Socket } from "node:net";
import tls from "node:tls";
import { Client, ResultCodeError } from "ldapts";
import { boundName, type LdapOptions, searchFilter } from "../auth/ldap.ts";
import { OperationError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { Turns } from "./turns.ts";

/** PgBouncer's LDAP_OPT_NETWORK_TIMEOUT. */
const connectTimeoutMs = 3000;
/** For all that is asked of one server. A directory answers in milliseconds. */
const answerMs = 10_000;
/** Questions under way; those beyond it wait their turn, as long as `client_login_timeout` lets them. */
const questionsMax = 32;

export class LdapDirectory {
  readonly #logger: Logger;
  readonly #turns = new Turns(questionsMax);

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Whether the password is the user's. Never rejects; why it is not, or could not be found out, is logged. */
  async proves(
    options: LdapOptions,
    authorities: string | undefined,
    user: string,
    password: string,
  ): Promise<boolean> {
    // A bind without a password succeeds and proves nothing (RFC 4513, section 5.1.2).
    if (user === "" || password === "") return false;
    return await this.#turns.take(() => this.#ask(options, authorities, user, password));
  }

  async #ask(
    options: LdapOptions,
    authorities: string | undefined,
    user: string,
    password: string,
  ): Promise<boolean> {
    for (const server of options.servers) {
      const question = new Question(server, options, authorities);
      try {
        const refusal = await question.within(answerMs, () => question.ask(user, password));
        if (refusal !== undefined) this.#logger.warn({ user, server, reason: refusal }, "LDAP login failed");
        return refusal === undefined;
      } catch (error) {
        const reason = error instanceof Error ? error.message : "unknown";
        this.#logger.warn({ server, reason }, "LDAP server could not be asked");
      } finally {
        question.end();
      }
    }
    return false;
  }
}

/** One connection to one server. */
class Question {
  readonly #client: Client;
  readonly #options: LdapOptions;
  readonly #tlsOptions: tls.ConnectionOptions;
  readonly #sockets: Socket[] = [];

  constructor(server: string, options: LdapOptions, authorities: string | undefined) {
    const { hostname, protocol } = new URL(server);
    const host = hostname.replace(/^\[(.*)\]$/, "$1");
    this.#options = options;
    this.#tlsOptions = { host, ...(authorities === undefined ? {} : { ca: authorities }) };
    this.#client = new Client({
      url: server,
      connectTimeout: connectTimeoutMs,
      timeout: answerMs,
      strictDN: false,
      createConnection: ((port: number, name: string) =>
        this.#only(() => connect(port, name))) as typeof connect,
      createSecureConnection: (...args: unknown[]) =>
        args.length === 1
          ? this.#kept(tls.connect(args[0] as tls.ConnectionOptions))
          : this.#only(() =>
              tls.connect(args[0] as number, args[1] as string, args[2] as tls.ConnectionOptions),
            ),
      ...(protocol === "ldaps:" ? { tlsOptions: this.#tlsOptions } : {}),
    });
  }

  /** What the directory has against it; undefined: nothing. Throws if it cannot be asked. */
  async ask(user: string, password: string): Promise<string | undefined> {
    if (this.#options.startTls) await this.#client.startTLS({ ...this.#tlsOptions });
    const name = await this.#nameOf(user);
    if ("refusal" in name) return name.refusal;
    return await refusalOf(() => this.#client.bind(name.dn, password), `login as ${name.dn}`);
  }

  async within<T>(limitMs: number, work: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(failed("no answer in time")), limitMs);
    });
    try {
      return await Promise.race([work(), tooLate]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The directory takes the close for a goodbye. */
  end(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async #nameOf(user: string): Promise<{ readonly dn: string } | { readonly refusal: string }> {
    const { naming } = this.#options;
    if (naming.kind === "bind") {
      const dn = boundName(naming, user);
      return dn === undefined ? { refusal: "invalid character in user name" } : { dn };
    }
    const { bindDn, bindPassword, baseDn, scope } = naming;
    if (bindDn !== "") {
      const refusal = await refusalOf(
        () => this.#client.bind(bindDn, bindPassword),
        `could not perform initial LDAP bind for ldapbinddn "${bindDn}"`,
      );
      if (refusal !== undefined) return { refusal };
    }
    const filter = searchFilter(naming, user);
    let entries: readonly { readonly dn: string }[] = [];
    const refusal = await refusalOf(async () => {
      // Two are enough to see that one is not the only one; "1.1": no attributes (RFC 4511, section 4.5.1.8).
      const found = await this.#client.search(baseDn, { scope, filter, attributes: ["1.1"], sizeLimit: 2 });
      entries = found.searchEntries;
    }, `could not search LDAP for filter "${filter}"`);
    if (refusal !== undefined) return { refusal };
    const [entry, another] = entries;
    if (entry === undefined || entry.dn === "") return { refusal: `LDAP user "${user}" does not exist` };
    return another === undefined ? { dn: entry.dn } : { refusal: `LDAP user "${user}" is not unique` };
  }

  /** The library would connect again by itself, without TLS and as nobody. */
  #only<T extends Socket>(open: () => T): T {
    if (this.#sockets.length > 0) throw failed("the connection was lost");
    return this.#kept(open());
  }

  #kept<T extends Socket>(socket: T): T {
    this.#sockets.push(socket);
    return socket;
  }
}

/** What a server says no to; what keeps it from answering is thrown. */
async function refusalOf(work: () => Promise<void>, what: string): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof ResultCodeError) return `${what}: ${error.name}`;
    throw error;
  }
}

function failed(message: string): OperationError {
  return new OperationError(message, { code: "login.ldap", sqlstate: "08006", source: "server" });
}
