/** For tests of failures: what is left of a connection attempt in this process has to be nothing. */
import { type ConnectError, type ConnectOptions, connectOptions } from "../../src/client/index.ts";
import { type Script, ScriptedServer } from "../kit/scripted-server.ts";
import { waitUntil } from "../kit/wait.ts";

export function optionsFor(port: number, given: Partial<ConnectOptions> = {}): ConnectOptions {
  return connectOptions({ user: "ada", sslmode: "disable", hosts: [{ host: "127.0.0.1", port }], ...given });
}

export async function failureOf(attempt: Promise<unknown>): Promise<ConnectError> {
  return await attempt.then(
    () => {
      throw new Error("it was expected to fail");
    },
    (error: ConnectError) => error,
  );
}

/** Sockets, look-ups and timers of this process; the runner has pipes and timers of its own. */
export function resources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of process.getActiveResourcesInfo()) {
    if (/^(TCP|TLS|Pipe|Timeout|Connect|GetAddrInfo)/.test(name))
      counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

/** Requires that no socket is open, and nothing else more than before. */
export async function nothingLeftSince(before: ReadonlyMap<string, number>): Promise<void> {
  const allowed = (name: string): number => (/^(TCP|TLS)/.test(name) ? 0 : (before.get(name) ?? 0));
  const more = (): boolean => [...resources()].some(([name, count]) => count > allowed(name));
  // The last turn of a socket's end is Node's own.
  await waitUntil(() => !more(), `nothing is left of ${[...resources().keys()].join(", ")}`, 2000);
}

/** Runs something with a scripted server, and requires that nothing of it is left. */
export async function withoutTrace(
  script: Script | readonly Script[],
  run: (port: number, server: ScriptedServer) => Promise<void>,
): Promise<void> {
  const before = resources();
  {
    await using server = await ScriptedServer.start(script);
    await run(server.port, server);
    // The client has let go by itself: the server is not what ends its sockets.
    await waitUntil(
      () => server.peers.every(({ stream }) => stream.isClosed),
      "the client closes its sockets",
      2000,
    );
  }
  await nothingLeftSince(before);
}
