/** What a session is put together from; which parts there are is decided by the mode of its pool, once. */
import { assert } from "../base/assert.ts";
import type { ParameterVector } from "../pool/parameters.ts";
import type { Pool } from "../pool/pool.ts";
import { Activity } from "./activity.ts";
import { AutoSession } from "./auto/auto.ts";
import type { AutoClient } from "./auto/client.ts";
import { type ListeningClient, ListeningPeer } from "./auto/listening/peer.ts";
import { LoginDefaults } from "./auto/login-defaults.ts";
import type { SignalTarget } from "./auto/pids.ts";
import type { SessionContext, SessionIdentity } from "./context.ts";
import { Flow } from "./flow.ts";
import { Gathering } from "./gathering.ts";
import { Inbox } from "./inbox.ts";
import { Leasing, type LeasingClient } from "./leasing.ts";
import { Output } from "./output.ts";
import { Requests } from "./requests.ts";
import { ClientStatements } from "./statements.ts";
import { UnitSender } from "./unit-sender.ts";

export interface SessionParts {
  readonly activity: Activity;
  /** Where prepared statements are shared. */
  readonly statements: ClientStatements | undefined;
  /** In auto mode. */
  readonly auto: AutoSession | undefined;
  readonly inbox: Inbox;
  readonly output: Output;
  readonly flow: Flow;
  readonly gathering: Gathering;
  readonly sender: UnitSender;
  readonly leasing: Leasing;
}

export function sessionParts(
  client: LeasingClient & ListeningClient & SignalTarget,
  context: SessionContext,
  pool: Pool,
  identity: SessionIdentity,
  parameters: ParameterVector,
): SessionParts {
  const { transport } = client;
  const { clock } = context;
  const inbox = new Inbox(context.packetBytesMax());
  const output = new Output();
  const activity = new Activity(pool.statistics, context.tickMs());
  activity.settledAtMs = clock.now();
  const statements = sharedStatements(client, pool);
  const { user, database } = identity;
  const names = { user, database, applicationName: parameters.get("application_name") ?? "" };
  const defaults = new LoginDefaults(parameters);
  const peer = new ListeningPeer(client);
  const told = { id: identity.id, names, peer, parameters, defaults, target: client, activity };
  const auto = autoSession(told, context, pool, statements, output);
  const gathering = new Gathering(auto);
  const flow = new Flow(client, inbox.framer, auto !== undefined);
  const requests = new Requests(output, statements, auto);
  if (auto !== undefined && statements !== undefined) statements.made.parsesAgain = true;
  const sender = new UnitSender({ gathering, requests, output, framer: inbox.framer, auto, statements });
  const queryWaitTimeoutMs = context.clientLimits(identity.user).queryWaitMs;
  const shared = {
    auto,
    gathering,
    sender,
    requests,
    output,
    activity,
    transport,
    clock,
    queryWaitTimeoutMs,
  };
  const leasing = new Leasing(client, pool, context, shared);
  return { activity, statements, auto, inbox, output, flow, gathering, sender, leasing };
}

function sharedStatements(client: LeasingClient, pool: Pool): ClientStatements | undefined {
  const { mode, preparedMax } = pool.settings;
  if (mode === "session" || preparedMax === 0) return undefined;
  return new ClientStatements(pool.statements, client);
}

function autoSession(
  client: AutoClient,
  context: SessionContext,
  pool: Pool,
  statements: ClientStatements | undefined,
  output: Output,
): AutoSession | undefined {
  if (pool.settings.mode !== "auto") return undefined;
  assert(statements !== undefined, "in auto mode prepared statements are shared");
  return new AutoSession(client, context.autoDatabase(pool), statements, output);
}
