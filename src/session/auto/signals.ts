/**
 * pg_cancel_backend() and pg_terminate_backend() with the process id that a client of ours was told: they act on that
 * client, wherever it is, and on nobody who happens to be on the server of that number.
 *
 * That is done where it can be done without a doubt: for a statement that is one such call, with the number in it or as its
 * first parameter. The number becomes that of the server that the client has. One that has none is stood in for
 * by an idle server, on which nobody is disturbed, so that PostgreSQL says who may do what; if that is ended, so is the
 * client, in its words. Servers are kept from others until the call is answered.
 */

import type { Pool } from "../../pool/pool.ts";
import { Handling, Request } from "../../pool/replies.ts";
import type { Server, ServerOwner } from "../../pool/server.ts";
import { unseenOwner } from "../../pool/unseen.ts";
import { encodeBackend } from "../../wire/encode-backend.ts";
import { encodeQuery } from "../../wire/encode-frontend.ts";
import { administratorShutdown } from "../replies.ts";
import type { ClientStatements } from "../statements.ts";
import { onSameNode, type Pids, type ToldClient } from "./pids.ts";
import { type SignalCall, signalCall } from "./signal-call.ts";

/** No process of a server has this id (see pool/cancel-registry.ts), and no client is told it. */
const nobodysPid = 0x7fff_ffff;
/** Answered by whoever has not been ended. */
const probe = encodeQuery("");

/** What is done here instead of by PostgreSQL, unless something has failed by then: the call may have been refused or skipped. */
interface Deed {
  /** Errors of the server before. */
  readonly errorsBefore: number;
  readonly act: () => void;
}

/** A server that is kept for the client that a call is about. */
interface Kept {
  readonly server: Server;
  readonly pool: Pool;
  readonly target: ToldClient;
  /** It stands in for one that has no server; else it is the one that the client has, or had. */
  readonly standsIn: boolean;
  readonly terminates: boolean;
}

export class Signals {
  readonly #self: ToldClient;
  readonly #pool: Pool;
  readonly #pids: Pids;
  readonly #statements: ClientStatements;
  /** A statement on its way may be such a call. */
  due = false;
  #kept: Kept[] = [];
  #deeds: Deed[] = [];

  constructor(self: ToldClient, pool: Pool, pids: Pids, statements: ClientStatements) {
    this.#self = self;
    this.#pool = pool;
    this.#pids = pids;
    this.#statements = statements;
  }

  /** The message that is to be sent in place of this one; undefined: this one. */
  redirect(server: Server, type: number, buffer: Buffer, start: number, end: number): Buffer | undefined {
    const call = signalCall(type, buffer, start, end, this.#statements);
    const target = call && this.#pids.find(call.pid, server, this.#pool);
    if (call === undefined || target === undefined) return undefined;
    if (target === this.#self) return call.withPid(server.backendPid);
    const { ownServer, pool } = target;
    if (ownServer !== undefined && pool !== undefined) {
      ownServer.cancelsInFlight++;
      this.#keep(call, target, { server: ownServer, pool, standsIn: false });
      return call.withPid(ownServer.backendPid);
    }
    const standIn = this.#standIn(target, server);
    const permitted = pool === this.#pool || server.parameters.reported("is_superuser") === "on";
    if (standIn === undefined && !(permitted && call.asTrue !== undefined)) return call.withPid(nobodysPid);
    const { errorCount: errorsBefore } = server.replies;
    // One that waits for a server, or shares one, is reached from here alone, and one of another worker from there.
    if (!call.terminates) this.#deeds.push({ errorsBefore, act: () => void target.cancel() });
    if (standIn !== undefined && pool !== undefined) {
      this.#keep(call, target, { server: standIn, pool, standsIn: true });
      return call.withPid(standIn.backendPid);
    }
    if (call.terminates) this.#deeds.push({ errorsBefore, act: () => target.fail(administratorShutdown()) });
    return call.asTrue?.();
  }

  /** An idle server of the pool of `target`, taken: its home, if that is idle. */
  #standIn(target: ToldClient, server: Server): Server | undefined {
    const { server: home, pool } = target;
    if (pool === undefined) return undefined;
    if (home !== undefined && pool.take(home)) return home;
    for (const other of pool.servers) if (onSameNode(other, server) && pool.take(other)) return other;
    return undefined;
  }

  #keep(
    { terminates }: SignalCall,
    target: ToldClient,
    how: Pick<Kept, "server" | "pool" | "standsIn">,
  ): void {
    const kept = { ...how, target, terminates };
    const { server, standsIn } = how;
    this.#kept.push(kept);
    if (standsIn) server.owner = watcher(kept, () => undefined);
  }

  /** Everything that was sent is answered, by this server, or the client is gone. */
  settle(server?: Server): void {
    if (!this.due) return;
    this.due = false;
    for (const kept of this.#kept.splice(0)) letGo(kept);
    for (const { errorsBefore, act } of this.#deeds.splice(0)) {
      if (server !== undefined && server.replies.errorCount === errorsBefore) act();
    }
  }
}

/** The signal was sent, if it was permitted: what a server reads from now on comes behind it. */
function letGo(kept: Kept): void {
  const { server, pool, standsIn, terminates } = kept;
  const release = (): void => {
    if (standsIn) pool.release(server, false);
    else {
      server.cancelsInFlight--;
      pool.signalled(server);
    }
  };
  // The client was there when the call was made, and has left the server meanwhile.
  const left = !standsIn && server.state === "being_canceled";
  if (server.closed) {
    if (terminates && !standsIn) endBy(kept);
  } else if (terminates && (standsIn || left)) {
    server.owner = watcher(kept, release);
    server.replies.push(Request.query, Handling.swallow);
    server.unnamed = undefined;
    server.transport.write(probe);
  } else {
    if (standsIn) server.owner = undefined;
    release();
  }
}

/** Ends the client when its server, or the one that stands in for it, is ended. */
function watcher(kept: Kept, onAnswered: () => void): ServerOwner {
  const onSettled = (): void => {
    kept.server.owner = undefined;
    onAnswered();
  };
  return unseenOwner(onSettled, () => endBy(kept));
}

function endBy({ server: { lastWords }, target, terminates }: Kept): void {
  if (!terminates || lastWords?.code !== administratorShutdown().sqlstate) return;
  target.fail(administratorShutdown(), encodeBackend({ kind: "ErrorResponse", fields: lastWords }));
}
