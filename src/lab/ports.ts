/** Free TCP ports on the loopback address. */
import { once } from "node:events";
import net from "node:net";

/**
 * A port that nobody listens on at the moment. It is not reserved: somebody else may take it before it is
 * used, so whoever uses it must be ready to try another.
 */
export async function freePort(): Promise<number> {
  const server = net.createServer();
  server.listen({ port: 0, host: "127.0.0.1", exclusive: true });
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
