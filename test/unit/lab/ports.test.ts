/** Ports for programs that cannot be told to listen on any: nothing else may come upon them. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { expect, test } from "vitest";
import { freePort } from "../../../src/lab/ports.ts";
import { ownAddress } from "../../kit/own-address.ts";

test.runIf(process.platform === "linux")(
  "a free port is none that the system hands out to outgoing connections",
  async () => {
    const first = Number.parseInt(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8"), 10);
    for (let i = 0; i < 50; i++) expect(await freePort()).toBeLessThan(first);
  },
);

test("an address of one's own can be listened on", async () => {
  const { host, port } = await ownAddress();
  const server = net.createServer().listen(port, host);
  await once(server, "listening");
  server.close();
});

test("whoever has no such address is told so", async () => {
  await expect(freePort("192.0.2.1")).rejects.toThrow(/EADDRNOTAVAIL/);
});
