/** Ports that are taken, said in a way that helps. */
import net from "node:net";
import { OperationError } from "../base/errors.ts";
import type { Settings } from "../config/schema.ts";

/** A clear error for a listener that could not be opened; any other error comes back as it is. */
export function explainListenError(
  error: unknown,
  settings: Pick<Settings, "listen_addr" | "listen_port">,
): unknown {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EADDRINUSE") return portInUse(settings, error);
    if (code === "EACCES" && settings.listen_port < 1024) return portForbidden(settings, error);
  }
  return error;
}

/**
 * Rejects if nobody could listen on `port` now, before other work is done in vain. Code `cli.port_in_use`.
 */
export async function requireFreePort(host: string, port: number): Promise<void> {
  const probe = net.createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      probe.once("error", reject);
      probe.listen({ host, port, exclusive: true }, resolve);
    });
  } catch (error) {
    throw explainListenError(error, { listen_addr: host, listen_port: port });
  } finally {
    await new Promise<void>((resolve) => {
      probe.close(() => resolve());
    });
  }
}

function portInUse(settings: Pick<Settings, "listen_addr" | "listen_port">, cause: unknown): OperationError {
  return new OperationError(
    `port ${settings.listen_port} on ${settings.listen_addr} is in use by another program`,
    {
      code: "cli.port_in_use",
      sqlstate: "58000",
      source: "internal",
      hint: `Choose another port with --port or listen_port, for example ${settings.listen_port + 1}.`,
      cause,
    },
  );
}

function portForbidden(
  settings: Pick<Settings, "listen_addr" | "listen_port">,
  cause: unknown,
): OperationError {
  return new OperationError(`no permission to listen on port ${settings.listen_port}`, {
    code: "cli.port_forbidden",
    sqlstate: "58000",
    source: "internal",
    hint: "Ports below 1024 need privileges; choose another with --port or listen_port.",
    cause,
  });
}
