/** Free TCP ports on loopback addresses. */
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";

/** Below them are the ports of well-known programs. */
const firstPort = 10_000;
/** Where ports are handed out to outgoing connections, if the system does not say (RFC 6335 section 6). */
const usualEphemeralPort = 32_768;
const triesMax = 100;

/**
 * A port of `host` that nobody listens on at the moment. It is not reserved, but it lies below the ports that the
 * system hands out, to outgoing connections and to whoever asks for any port: only somebody who looks for one in
 * the same way can come upon it. Rejects with the system's error if `host` is none of this machine.
 */
export async function freePort(host: string = "127.0.0.1"): Promise<number> {
  const behindLast = firstHandedOut();
  for (let attempt = 1; ; attempt++) {
    const port = randomInt(firstPort, behindLast);
    const failure = await failureToListen(host, port);
    if (failure === undefined) return port;
    if (failure.code !== "EADDRINUSE" || attempt === triesMax) throw failure;
  }
}

async function failureToListen(host: string, port: number): Promise<NodeJS.ErrnoException | undefined> {
  const server = net.createServer();
  try {
    server.listen({ port, host, exclusive: true });
    await once(server, "listening");
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
  server.close();
  await once(server, "close");
  return undefined;
}

/** Linux says it (man 7 ip). A machine that hands out nearly all ports leaves us none but those. */
function firstHandedOut(): number {
  let text: string;
  try {
    text = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8");
  } catch {
    return usualEphemeralPort;
  }
  const first = Number.parseInt(text, 10);
  return first > firstPort + triesMax ? first : usualEphemeralPort;
}
