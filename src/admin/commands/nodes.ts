/**
 * What a person says of a node. `DRAIN`: it gets nothing new. `DETACH`: it counts as down. `QUARANTINE`: it answers and must not be
 * used, nor has it a say in who is the primary. `ATTACH` takes these back.
 * `FENCE`: nothing is sent to it any more, and only `UNFENCE` ends that; so it does for an old primary, once that has been made a
 * standby. `ACCEPT`: of primaries that contradict each other, this is the one. All of this lasts beyond a restart where
 * there is a `cluster_state_file`. `PROMOTE` makes a standby the primary.
 */
import type { NodeCommand } from "../../cluster/index.ts";
import { type Command, consoleError, type Words } from "../command.ts";

const needsOneProcess =
  "PROMOTE needs a pooler of one process: with several workers use PAUSE, promote the node by its own means, and RESUME";
const patroniDecides = "Patroni decides who is promoted: use patronictl switchover";

export const nodeCommands: readonly Command<string>[] = [
  nodeCommand("ATTACH", "attach"),
  nodeCommand("DETACH", "detach"),
  nodeCommand("DRAIN", "drain"),
  nodeCommand("QUARANTINE", "quarantine"),
  nodeCommand("FENCE", "fence"),
  nodeCommand("UNFENCE", "unfence"),
  nodeCommand("ACCEPT", "accept"),
  {
    name: "PROMOTE",
    administrators: true,
    parse: requiredNode,
    async execute(context, node, caller) {
      if (context.fleet !== undefined) throw consoleError(needsOneProcess, "0A000");
      if (context.config().pgsluice.discovery === "patroni") throw consoleError(patroniDecides);
      context.logger.info({ node }, "PROMOTE command issued");
      await context.promote(node, caller.signal);
      return { tag: "PROMOTE" };
    },
  },
];

function nodeCommand(name: string, command: NodeCommand): Command<string> {
  return {
    name,
    administrators: true,
    parse: requiredNode,
    execute(context, node) {
      context.logger.info({ node }, `${name} command issued`);
      const refused = context.commandNode(node, command);
      if (refused !== undefined) throw consoleError(refused);
      return { tag: name };
    },
  };
}

function requiredNode({ argument }: Words): string {
  if (argument === "") throw consoleError("a node is required", "42601");
  return argument;
}
