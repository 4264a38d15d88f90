/** Whom discovery asks, how long it waits, and what remains when nobody answers. A small server speaks as Patroni does. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/base/clock.ts";
import type { Logger } from "../../../src/base/log.ts";
import type { ManagerWord } from "../../../src/cluster/index.ts";
import { checkConfig } from "../../../src/config/load.ts";
import { CertificateAuthority } from "../../../src/lab/index.ts";
import type { LookUp } from "../../../src/server/discovery/addresses.ts";
import { Discovery } from "../../../src/server/discovery/discovery.ts";
import { tempFolder } from "../../kit/temp-folder.ts";
import { waitUntil } from "../../kit/wait.ts";

const ended: (() => void)[] = [];
afterEach(() => {
  for (const end of ended.splice(0)) end();
});

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void;

async function listening(server: http.Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ended.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

/** The address of a server that answers so. */
async function api(answer: Answer): Promise<string> {
  return `http://127.0.0.1:${await listening(http.createServer(answer))}`;
}

function lists(...names: readonly string[]): Answer {
  const members = names.map((name, index) => ({
    ...{ name, role: index === 0 ? "leader" : "replica", state: "running" },
    ...{ host: "10.0.0.1", port: 5432 + index, timeline: 1 },
  }));
  return (_request, response) => response.end(JSON.stringify({ members }));
}

class Owner {
  readonly clock = systemClock;
  readonly lines: { readonly message: string; readonly fields: Record<string, unknown> }[] = [];
  readonly logger: Logger = ((): Logger => {
    const line = (fields: object, message: string): void => {
      this.lines.push({ message, fields: fields as Record<string, unknown> });
    };
    return { debug: line, info: line, warn: line, error: line };
  })();
  primaryName: string | undefined;
  changes = 0;
  readonly words: (ManagerWord | undefined)[] = [];
  readonly discovery: Discovery;

  constructor(settings: Record<string, unknown>, more: { nodes?: object; lookUp?: LookUp } = {}) {
    this.discovery = new Discovery(this, config(settings, more.nodes), more.lookUp);
    ended.push(() => this.discovery.close());
  }

  onMembers(): void {
    this.changes++;
  }

  onWord(word: ManagerWord | undefined): void {
    this.words.push(word);
  }

  get nodes(): string[] {
    return Object.keys(this.discovery.config.nodes);
  }

  reasons(): unknown[] {
    return this.lines
      .filter(({ message }) => message.includes("does not answer"))
      .map(({ fields }) => fields["reason"]);
  }
}

function config(settings: Record<string, unknown>, nodes: object = {}) {
  return checkConfig(
    { pgsluice: { health_check_user: "monitor", discovery_period: 0.05, ...settings }, nodes },
    process.cwd(),
  );
}

describe("discovery by Patroni", () => {
  const patroni = { discovery: "patroni" };

  test("patroni_urls are tried in turn, each for discovery_timeout, and the one that answered comes first", async () => {
    let asked = 0;
    const mute = await api(() => {
      asked++;
    });
    const broken = await api((_request, response) => response.writeHead(503).end("{}"));
    const good = await api(lists("a", "b"));
    const owner = new Owner({ ...patroni, patroni_urls: [mute, broken, good], discovery_timeout: 1 });
    expect(owner.nodes).toEqual([]);
    owner.discovery.open();
    await waitUntil(() => owner.words.length >= 3, "it has answered three times");
    expect(owner.nodes).toEqual(["a", "b"]);
    expect(owner.words.at(-1)?.members.map(({ leader }) => leader)).toEqual([true, false]);
    expect([asked, owner.changes, owner.reasons()]).toEqual([1, 1, []]);
    const { answerAgeMs, ...view } = owner.discovery.view;
    expect(view).toEqual({
      ...{
        source: "patroni",
        place: good,
        state: "answering",
        members: ["a=10.0.0.1:5432", "b=10.0.0.1:5433"],
      },
      ...{ leader: "a", error: undefined, errorAgeMs: undefined },
    });
    expect(answerAgeMs).toBeGreaterThanOrEqual(0);
  });

  test("nodes come and go with the members; of [nodes.NAME] their own settings count, but not where they are", async () => {
    let names = ["a", "b"];
    const url = await api((request, response) => lists(...names)(request, response));
    const nodes = { b: { host: "elsewhere", port: 1, role: "standby", weight: 5, zone: "east" }, z: {} };
    const owner = new Owner({ ...patroni, patroni_urls: [url] }, { nodes });
    owner.discovery.open();
    await waitUntil(() => owner.nodes.length === 2, "both are there");
    expect(owner.discovery.config.nodes["b"]).toEqual({
      ...{ host: "10.0.0.1", port: 5433, role: "auto", weight: 5, zone: "east" },
    });
    names = ["a", "c", "b"];
    await waitUntil(() => owner.nodes.length === 3, "the new one is there");
    names = ["c"];
    await waitUntil(() => owner.nodes.length === 1, "two are gone");
    expect(owner.nodes).toEqual(["c"]);
  });

  test("what answers badly or not at all leaves the nodes as they were, says so once, and names nobody", async () => {
    let answer: Answer = lists("a", "b");
    const url = await api((request, response) => answer(request, response));
    const owner = new Owner({ ...patroni, patroni_urls: [url], discovery_timeout: 1 });
    expect(owner.discovery.view).toMatchObject({
      state: "asking",
      place: url,
      answerAgeMs: undefined,
      members: [],
    });
    owner.discovery.open();
    await waitUntil(() => owner.nodes.length === 2, "both are there");
    const spoilt: readonly [Answer, string][] = [
      [(_request, response) => response.end('{"members": []}'), "the answer lists no member with an address"],
      [
        (_request, response) => response.end("x".repeat(1024 * 1024 + 1)),
        "the answer is longer than 1048576 bytes",
      ],
      [
        (_request, response) => response.writeHead(302, { location: "/" }).end(),
        "answered with HTTP status 302",
      ],
      [(request) => request.socket.destroy(), "ECONNRESET"],
    ];
    for (const [bad, reason] of spoilt) {
      answer = bad;
      const words = owner.words.length;
      await waitUntil(() => owner.words.length > words + 2, reason);
      expect(owner.words.at(-1)).toBeUndefined();
      expect(owner.reasons().filter((said) => said === `${url}: ${reason}`)).toHaveLength(1);
    }
    expect([owner.nodes, owner.changes]).toEqual([["a", "b"], 1]);
    const failing = owner.discovery.view;
    expect(failing).toMatchObject({ state: "failing", leader: "a", error: `${url}: ECONNRESET` });
    // The answer is older than the error.
    expect(failing.answerAgeMs).toBeGreaterThan(failing.errorAgeMs ?? Infinity);
    answer = lists("a", "b");
    await waitUntil(() => owner.words.at(-1) !== undefined, "it is heard again");
    expect(owner.lines.map(({ message }) => message)).toContain("discovery answers again");
    // What it was is still told.
    expect(owner.discovery.view).toMatchObject({ state: "answering", error: `${url}: ECONNRESET` });
  });

  test("a primary that is not listed any more stays for as long as nobody else leads", async () => {
    const replica = { role: "replica", state: "running", host: "10.0.0.2", port: 5432, timeline: 1 };
    let answer: Answer = lists("a", "b");
    const url = await api((request, response) => answer(request, response));
    const owner = new Owner({ ...patroni, patroni_urls: [url] });
    owner.discovery.open();
    await waitUntil(() => owner.nodes.length === 2, "both are there");
    owner.primaryName = "a";
    answer = (_request, response) => response.end(JSON.stringify({ members: [{ name: "c", ...replica }] }));
    await waitUntil(() => owner.nodes.includes("c"), "another one is there");
    expect(owner.nodes).toEqual(["c", "a"]);
    answer = lists("c");
    await waitUntil(() => owner.nodes.length === 1, "the old one is gone");
  });

  test("patroni_user and patroni_password are sent, patroni_tls_ca_file is who is believed, patroni_tls_cert_file and patroni_tls_key_file are shown", async () => {
    await using folder = await tempFolder();
    const file = (name: string, text: string): string => {
      writeFileSync(path.join(folder.path, name), text);
      return path.join(folder.path, name);
    };
    const authority = new CertificateAuthority();
    const own = authority.issue({ commonName: "127.0.0.1", hosts: ["127.0.0.1"] });
    const shown = authority.issue({ commonName: "pooler" });
    let authorization: string | undefined;
    const server = https.createServer(
      {
        cert: own.certificate,
        key: own.key,
        ca: authority.certificate,
        requestCert: true,
        rejectUnauthorized: true,
      },
      (request, response) => {
        ({ authorization } = request.headers);
        lists("a")(request, response);
      },
    );
    const url = `https://127.0.0.1:${await listening(server)}`;
    const believed = { patroni_tls_ca_file: file("ca.crt", authority.certificate) };
    const certificate = {
      patroni_tls_cert_file: file("own.crt", shown.certificate),
      patroni_tls_key_file: file("own.key", shown.key),
    };
    const settings = { ...patroni, patroni_urls: [url], patroni_user: "pooler", patroni_password: "s3" };
    const doubtful = new Owner({ ...settings, ...certificate });
    doubtful.discovery.open();
    await waitUntil(() => doubtful.reasons().length > 0, "nobody else is believed");
    expect(doubtful.nodes).toEqual([]);
    const owner = new Owner({ ...settings, ...believed, ...certificate });
    owner.discovery.open();
    await waitUntil(() => owner.nodes.length === 1, "it has answered");
    expect(authorization).toBe(`Basic ${Buffer.from("pooler:s3").toString("base64")}`);
  });

  test("discovery_period passes between two questions, unless something has happened", async () => {
    let asked = 0;
    const url = await api((request, response) => {
      asked++;
      lists("a")(request, response);
    });
    const owner = new Owner({ ...patroni, patroni_urls: [url], discovery_period: 1000 });
    owner.discovery.open();
    await waitUntil(() => owner.words.length === 1, "it has answered");
    owner.discovery.hasten();
    owner.discovery.hasten();
    await waitUntil(() => owner.words.length === 2, "it has answered again");
    expect(asked).toBe(2);
  });

  test("another configuration asks others, and begins without members", async () => {
    const [one, other] = [await api(lists("a")), await api(lists("b"))];
    const owner = new Owner({ ...patroni, patroni_urls: [one] });
    owner.discovery.open();
    await waitUntil(() => owner.nodes.length === 1, "it has answered");
    expect(
      owner.discovery.configure(config({ ...patroni, patroni_urls: [one], discovery_period: 0.1 })).nodes,
    ).toHaveProperty("a");
    expect(owner.discovery.configure(config({ ...patroni, patroni_urls: [other] })).nodes).toEqual({});
    await waitUntil(() => owner.nodes.includes("b"), "the other one has answered");
    const fixed = checkConfig({ nodes: { x: {} } }, process.cwd());
    expect(owner.discovery.configure(fixed)).toBe(fixed);
    expect(owner.words.at(-1)).toBeUndefined();
  });
});

describe("discovery by DNS", () => {
  test("the IPv4 addresses of discovery_host are the nodes, at discovery_port, and are looked up again", async () => {
    let addresses = ["10.0.0.2", "::1", "10.0.0.1", "10.0.0.2"];
    const lookUp: LookUp = (name) => {
      expect(name).toBe("db.test");
      return Promise.resolve(
        addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
      );
    };
    const settings = { discovery: "dns", discovery_host: "db.test", discovery_port: 5544 };
    const owner = new Owner(settings, { lookUp });
    owner.discovery.open();
    await waitUntil(() => owner.nodes.length > 0, "it has answered");
    expect(owner.nodes).toEqual(["10.0.0.1", "10.0.0.2"]);
    expect(owner.discovery.config.nodes["10.0.0.1"]).toMatchObject({
      ...{ host: "db.test", hostaddr: "10.0.0.1", port: 5544, role: "auto" },
    });
    addresses = ["::1"];
    await waitUntil(() => owner.nodes.length === 1, "it has answered otherwise");
    expect(owner.nodes).toEqual(["::1"]);
    addresses = [];
    await waitUntil(() => owner.reasons().length > 0, "it has no address any more");
    expect([owner.nodes, owner.reasons()]).toEqual([["::1"], ["db.test has no address"]]);
  });

  test("a name server that does not answer is waited for no longer than discovery_timeout", async () => {
    const lookUp: LookUp = () => new Promise(() => undefined);
    const owner = new Owner(
      { discovery: "dns", discovery_host: "db.test", discovery_timeout: 0.05 },
      { lookUp },
    );
    owner.discovery.open();
    await waitUntil(() => owner.words.length > 2, "it has been asked again");
    expect(owner.reasons()).toEqual(["no answer in time"]);
  });
});
