/** The addresses of a name are the nodes: who answers is asked of PostgreSQL itself. */
import { once } from "node:events";
import net from "node:net";
import { expect, test } from "vitest";
import type { LookUp } from "../../src/server/discovery/addresses.ts";
import { useLab } from "../kit/lab.ts";
import { waitUntil } from "../kit/wait.ts";
import { openConsole, table } from "./console-client.ts";
import { type Client, Pooled } from "./pooled.ts";

const place = useLab({ standbys: 1 });

/** Hands what comes to an address on to a port of 127.0.0.1; all addresses have the same port, as a name's have. */
async function forward(host: string, port: number, target: number): Promise<net.Server> {
  const server = net.createServer((client) => {
    const upstream = net.connect(target, "127.0.0.1");
    client.pipe(upstream).pipe(client);
    client.on("error", () => upstream.destroy());
    upstream.on("error", () => client.destroy());
  });
  server.listen(port, host);
  await once(server, "listening");
  return server;
}

async function nodes(console: Client): Promise<(string | null | undefined)[][]> {
  return (await table(console, "show nodes")).map(({ name, host, primary, state }) => [
    name,
    host,
    primary,
    state,
  ]);
}

test("discovery_host: its addresses come and go as nodes, and the primary among them is followed", async () => {
  const { lab } = place;
  const old = lab.primary;
  const [standby] = lab.standbys;
  if (standby === undefined) throw new Error("there is a standby");
  const first = await forward("127.0.0.2", 0, old.port);
  const { port } = first.address() as net.AddressInfo;
  const second = await forward("127.0.0.3", port, standby.port);
  let addresses = ["127.0.0.2"];
  const lookUp: LookUp = () => Promise.resolve(addresses.map((address) => ({ address, family: 4 })));
  const settings = {
    ...{ discovery: "dns", discovery_host: "db.test", discovery_port: port, discovery_period: 0.1 },
    ...{ health_check_user: "postgres", health_check_period: 0.2, admin_users: "postgres" },
  };
  try {
    await using pooled = await Pooled.start(lab, { onlyNodes: {}, settings }, { lookUp });
    using client = await pooled.connect();
    expect(await client.value("select inet_server_port()")).toBe(String(old.port));
    addresses = ["127.0.0.2", "127.0.0.3"];
    using console = await openConsole(pooled);
    await waitUntil(async () => (await nodes(console))[1]?.[3] === "up", "the standby is a node");
    expect(await nodes(console)).toEqual([
      ["127.0.0.2", "127.0.0.2", "1", "up"],
      ["127.0.0.3", "127.0.0.3", "0", "up"],
    ]);
    expect(await table(console, "show discovery")).toEqual([
      {
        ...{ source: "dns", place: "db.test", state: "answering", leader: null },
        members: `127.0.0.2=127.0.0.2:${port} 127.0.0.3=127.0.0.3:${port}`,
        ...{ answer_age_ms: expect.stringMatching(/^\d+$/), last_error: null, error_age_ms: null },
      },
    ]);
    // SET of the console puts the whole configuration in force anew: what was found stays.
    expect(await console.run("set health_check_period = 0.1")).toMatchObject({ error: undefined });
    expect(await nodes(console)).toHaveLength(2);
    await standby.promote();
    await old.stop("immediate");
    expect(await client.value("select inet_server_port()")).toBe(String(standby.port));
    addresses = ["127.0.0.3"];
    await waitUntil(async () => (await nodes(console)).length === 1, "the old primary is no node any more");
    expect(await client.value("select inet_server_port()")).toBe(String(standby.port));
  } finally {
    first.close();
    second.close();
  }
});
