/** Every command of the console. */
import { type Command, invalidCommand } from "./command.ts";
import { disable } from "./commands/disable.ts";
import { enable } from "./commands/enable.ts";
import { kill } from "./commands/kill.ts";
import { killClient } from "./commands/kill-client.ts";
import { nodeCommands } from "./commands/nodes.ts";
import { pause } from "./commands/pause.ts";
import { reconnect } from "./commands/reconnect.ts";
import { reload } from "./commands/reload.ts";
import { resume } from "./commands/resume.ts";
import { set } from "./commands/set.ts";
import { showActiveSockets } from "./commands/show-active-sockets.ts";
import { showClassifier } from "./commands/show-classifier.ts";
import { showClients } from "./commands/show-clients.ts";
import { showConfig } from "./commands/show-config.ts";
import { showDatabases } from "./commands/show-databases.ts";
import { showDiscovery } from "./commands/show-discovery.ts";
import { showDnsHosts } from "./commands/show-dns-hosts.ts";
import { showDnsZones } from "./commands/show-dns-zones.ts";
import { showHelp } from "./commands/show-help.ts";
import { showListeners } from "./commands/show-listeners.ts";
import { showLists } from "./commands/show-lists.ts";
import { showLoginLatency } from "./commands/show-login-latency.ts";
import { showMem } from "./commands/show-mem.ts";
import { showMultiplex } from "./commands/show-multiplex.ts";
import { showNodes } from "./commands/show-nodes.ts";
import { showParameters } from "./commands/show-parameter.ts";
import { showPeerPools } from "./commands/show-peer-pools.ts";
import { showPeers } from "./commands/show-peers.ts";
import { showPoolNodes } from "./commands/show-pool-nodes.ts";
import { showPoolPools } from "./commands/show-pool-pools.ts";
import { showPoolProcesses } from "./commands/show-pool-processes.ts";
import { showPoolVersion } from "./commands/show-pool-version.ts";
import { showPools } from "./commands/show-pools.ts";
import { showReservationStats } from "./commands/show-reservation-stats.ts";
import { showReservations } from "./commands/show-reservations.ts";
import { showServers } from "./commands/show-servers.ts";
import { showSockets } from "./commands/show-sockets.ts";
import { showState } from "./commands/show-state.ts";
import { showStats } from "./commands/show-stats.ts";
import { showStatsAverages } from "./commands/show-stats-averages.ts";
import { showStatsTotals } from "./commands/show-stats-totals.ts";
import { showTotals } from "./commands/show-totals.ts";
import { showUsers } from "./commands/show-users.ts";
import { showVersion } from "./commands/show-version.ts";
import { showWorkers } from "./commands/show-workers.ts";
import { shutdown } from "./commands/shutdown.ts";
import { waitClose } from "./commands/wait-close.ts";
import { type Statement, shows } from "./grammar.ts";

const commands = new Map<string, Command>();
for (const command of [
  ...[disable, enable, kill, killClient, pause, reconnect, reload, resume, set, shutdown, waitClose],
  ...[
    showActiveSockets,
    showClassifier,
    showClients,
    showConfig,
    showDatabases,
    showDiscovery,
    showDnsHosts,
    showDnsZones,
    showHelp,
  ],
  ...[
    showListeners,
    showLists,
    showLoginLatency,
    showMem,
    showMultiplex,
    showNodes,
    showPeerPools,
    showPeers,
    showPools,
    showReservationStats,
    showReservations,
    showServers,
    showSockets,
    showState,
  ],
  ...[showStats, showStatsAverages, showStatsTotals, showTotals, showUsers, showVersion, showWorkers],
  ...[showPoolNodes, showPoolPools, showPoolProcesses, showPoolVersion],
  ...nodeCommands,
  ...showParameters,
]) {
  commands.set(command.name, command);
}

/** Of every command. */
export function commandNames(): readonly string[] {
  return [...commands.keys()];
}

/** The command that a statement names. Throws OperationError `console.refused` 42601 if there is none. */
export function commandFor(statement: Statement): Command {
  const { verb, argument, value, text } = statement;
  if (verb === "set" && value === undefined) throw invalidCommand(text);
  const name = (shows(statement) ? `show ${argument}` : verb).toUpperCase();
  const command = commands.get(name);
  if (command === undefined) throw invalidCommand(text);
  return command;
}
