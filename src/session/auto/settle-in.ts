/** A server that was just given to a client in auto mode gets what the client has, and loses what others have left. */
import { type ParameterVector, settingsQueries } from "../../pool/parameters.ts";
import { Handling, Request } from "../../pool/replies.ts";
import { type RequestOutcome, unheard } from "../../pool/request-outcome.ts";
import type { Server } from "../../pool/server.ts";
import { encodeQuery } from "../../wire/encode-frontend.ts";
import type { Output } from "../output.ts";
import type { ClientStatements } from "../statements.ts";
import type { AutoClient } from "./client.ts";
import type { AutoDatabase } from "./database.ts";
import { afterResetAll, queriesBehindUnseenCode, untrackedOf } from "./settings.ts";

const deallocateAll = encodeQuery("DEALLOCATE ALL");

/** In the write before the client's statement. Returns whether settings are sent. */
export function settleIn(
  server: Server,
  output: Output,
  client: AutoClient,
  database: AutoDatabase,
  statements: ClientStatements,
): boolean {
  const { id } = client;
  const parameters = client.defaults.on(server);
  const { tracked } = server.parameters;
  let from: ParameterVector = tracked;
  let sends = false;
  if (server.foreignNames !== undefined && !statements.left(server.foreignNames)) {
    server.foreignNames = undefined;
    server.prepared.clear();
    sendOwn(server, output, deallocateAll);
  }
  if (server.taintedBy !== undefined && server.taintedBy !== id) {
    for (const query of queriesBehindUnseenCode) sendOwn(server, output, query);
    from = afterResetAll(server);
    server.taintedBy = undefined;
    sends = true;
  }
  if (parameters !== client.parameters) nameDifference(server, client, database);
  if (from !== tracked || !tracked.equals(parameters)) {
    for (const query of settingsQueries(from, parameters)) {
      sendOwn(server, output, query);
      sends = true;
    }
    tracked.replaceUntracked(untrackedOf(parameters, server), server.connection.parameters);
  }
  return sends;
}

/** Whether a server has what the client has, and nothing that others have left. */
export function isSettledIn(server: Server, client: AutoClient, statements: ClientStatements): boolean {
  const { foreignNames, taintedBy, parameters } = server;
  if (foreignNames !== undefined && foreignNames.owner !== statements) return false;
  if (taintedBy !== undefined && taintedBy !== client.id) return false;
  return parameters.tracked.equals(client.defaults.on(server));
}

/** The client gets no reply to it. */
export function sendOwn(server: Server, output: Output, query: Buffer, outcome?: RequestOutcome): void {
  server.replies.push(Request.query, Handling.swallow, outcome);
  server.unnamed = undefined;
  output.append(query, 0, query.length, server.transport);
}

/** Follows a Query or Sync whose ReadyForQuery is to be that of `query`. */
export function sendBehind(server: Server, output: Output, query: Buffer): void {
  server.replies.push(Request.query, Handling.swallow, unheard, true);
  server.unnamed = undefined;
  output.append(query, 0, query.length, server.transport);
}

/** The ledger has to find what is set there although nobody has said so. */
function nameDifference(server: Server, { defaults }: AutoClient, { ledgerQueries }: AutoDatabase): void {
  for (const name of defaults.differenceOn(server).keys()) ledgerQueries.addName(name);
}
