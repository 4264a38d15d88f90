/** Two clients' messages stand one behind the other on a server that they share, and what comes first may be skipped. */
import { describe, expect, test } from "vitest";
import { StatementRegistry } from "../../../src/pool/prepared.ts";
import { unnamedUnknown } from "../../../src/pool/server.ts";
import {
  bindComplete,
  closeComplete,
  complete,
  failure,
  fakeServer,
  parseComplete,
  ready,
} from "../pool/fakes.ts";
import {
  bind,
  describeStatement,
  execute,
  parse,
  StatementsClient,
  sync,
  takeSent,
} from "./statements-client.ts";

const all = (...parts: Buffer[]): Buffer => Buffer.concat(parts);

/** Two clients with statements of the same texts, and a server that has none of them. */
function scene(texts: Readonly<Record<string, string>>, preparedMax = 10) {
  const registry = new StatementRegistry();
  const clients = [new StatementsClient(registry), new StatementsClient(registry)] as const;
  const elsewhere = fakeServer();
  for (const client of clients) {
    for (const [name, sql] of Object.entries(texts)) {
      client.send(elsewhere.server, parse(name, sql), sync);
      if (!elsewhere.server.replies.settled)
        elsewhere.server.onData(elsewhere.server.replies.length > 1 ? all(parseComplete, ready()) : ready());
    }
  }
  return { clients, elsewhere, shared: fakeServer({ preparedMax }) };
}

describe("what another client has sent, and is not answered", () => {
  test("is no statement that one can rely on who has executed something, and does not run again", () => {
    const { clients, shared } = scene({ s: "select 1" });
    const { server, transport } = shared;
    const [first, second] = clients;
    first.send(server, describeStatement("nobody"), bind("s"), sync);
    second.send(server, execute, bind("s"), sync);
    expect(takeSent(transport).slice(-5)).toEqual([
      "Execute",
      "Close S pgsluice_1",
      "Parse pgsluice_1 select 1",
      "Bind pgsluice_1",
      "S",
    ]);
    const behind = all(complete("X"), closeComplete, parseComplete, bindComplete, ready());
    server.onData(all(failure("26000"), ready(), behind));
    expect([...server.prepared.keys()]).toEqual(["pgsluice_1"]);
    first.send(server, bind("s"), sync);
    expect(takeSent(transport)).toEqual(["Bind pgsluice_1", "S"]);
  });

  test("is not made again by all who need it", () => {
    const { clients, shared } = scene({ s: "select 1" });
    const { server, transport } = shared;
    const [first, second] = clients;
    first.send(server, bind("s"), sync);
    takeSent(transport);
    second.send(server, bind("s"), sync);
    expect(takeSent(transport)).toEqual(["Bind pgsluice_1", "S"]);
  });

  test("has driven out no statement that one can make without closing it", () => {
    const { clients, shared } = scene({ s: "select 1", t: "select 2" }, 1);
    const { server, transport } = shared;
    const [first, second] = clients;
    first.send(server, bind("s"), sync);
    server.onData(all(parseComplete, bindComplete, ready()));
    first.send(server, describeStatement("nobody"), bind("t"), sync);
    takeSent(transport);
    second.send(server, bind("s"), sync);
    expect(takeSent(transport)).toEqual([
      "Close S pgsluice_1",
      "Parse pgsluice_1 select 1",
      "Close S pgsluice_2",
      "Bind pgsluice_1",
      "S",
    ]);
    server.onData(all(failure("26000"), ready()));
    server.onData(all(closeComplete, parseComplete, closeComplete, bindComplete, ready()));
    expect([...server.prepared.keys()]).toEqual(["pgsluice_1"]);
    expect(server.closeReason).toBeUndefined();
  });

  test("is no unnamed statement that one can rely on", () => {
    const { clients, elsewhere, shared } = scene({});
    const { server, transport } = shared;
    const [first, second] = clients;
    second.send(elsewhere.server, parse("", "select 1"), sync);
    elsewhere.server.onData(all(parseComplete, ready()));
    first.send(server, describeStatement("nobody"), parse("", "select 1"), sync);
    takeSent(transport);
    second.send(server, bind(""), sync);
    expect(takeSent(transport)).toEqual(["Parse  select 1", "Bind", "S"]);
    server.onData(all(failure("26000"), ready(), parseComplete, bindComplete, ready()));
    second.send(server, bind(""), sync);
    expect(takeSent(transport)).toEqual(["Bind", "S"]);
  });
});

describe("a unit that is left before it is answered", () => {
  test("is nothing that the client's next messages wait for, nor rely on", () => {
    const { clients, shared } = scene({ s: "select 1" });
    const { server, transport } = shared;
    const other = fakeServer();
    const [client] = clients;
    server.unnamed = unnamedUnknown;
    client.send(server, bind("s"), bind(""), sync);
    expect([client.mustWait(bind("s")), client.mustWait(bind(""))]).toEqual([true, true]);
    client.statements.leaveUnit();
    expect([client.mustWait(bind("s")), client.mustWait(bind(""))]).toEqual([false, false]);
    client.send(other.server, bind("s"), sync);
    expect(takeSent(other.transport)).toEqual(["Parse pgsluice_1 select 1", "Bind pgsluice_1", "S"]);
    // Each server is told of for itself.
    server.onData(all(failure("57014"), ready()));
    other.server.onData(all(parseComplete, bindComplete, ready()));
    expect([...server.prepared.keys()]).toEqual([]);
    expect([...other.server.prepared.keys()]).toEqual(["pgsluice_1"]);
    takeSent(transport);
    client.send(server, bind("s"), sync);
    client.statements.leaveUnit();
    client.send(server, execute, bind("s"), sync);
    expect(takeSent(transport)).toEqual([
      "Parse pgsluice_1 select 1",
      "Bind pgsluice_1",
      "S",
      "Execute",
      "Close S pgsluice_1",
      "Parse pgsluice_1 select 1",
      "Bind pgsluice_1",
      "S",
    ]);
  });

  test("has not changed the unnamed statement, whatever the server says", () => {
    const { clients, elsewhere, shared } = scene({});
    const { server } = shared;
    const [client] = clients;
    client.send(elsewhere.server, parse("", "select 1"), sync);
    elsewhere.server.onData(all(parseComplete, ready()));
    client.send(server, parse("", "select 2"), bind(""), sync);
    client.statements.leaveUnit();
    takeSent(elsewhere.transport);
    client.send(elsewhere.server, bind(""), parse("", "select 2"), sync);
    expect(takeSent(elsewhere.transport)).toEqual(["Bind", "Parse  select 2", "S"]);
    elsewhere.server.onData(all(bindComplete, parseComplete, ready()));
    client.send(elsewhere.server, parse("", "select 3"), sync);
    elsewhere.server.onData(all(parseComplete, ready()));
    server.onData(all(parseComplete, bindComplete, ready()));
    // What the server has told last is not what is true.
    client.send(elsewhere.server, describeStatement("nobody"), parse("", "select 4"), sync);
    elsewhere.server.onData(all(failure("26000"), ready()));
    takeSent(elsewhere.transport);
    client.send(elsewhere.server, bind(""), sync);
    expect(takeSent(elsewhere.transport)).toEqual(["Parse  select 3", "Bind", "S"]);
  });
});
