import { describe, expect, test } from "vitest";
import { PeerError } from "../../../src/base/errors.ts";
import { StatementRegistry } from "../../../src/pool/prepared.ts";
import { unnamedUnknown } from "../../../src/pool/server.ts";
import * as fakes from "../pool/fakes.ts";
import {
  bindComplete,
  closeComplete,
  complete,
  failure,
  fakeServer,
  parseComplete,
  ready,
} from "../pool/fakes.ts";
import { text, typed } from "../wire/bytes.ts";
import {
  bind,
  closePortal,
  closeStatement,
  describePortal,
  describeStatement,
  execute,
  parse,
  query,
  StatementsClient,
  sync,
  takeSent,
} from "./statements-client.ts";

const all = (...parts: Buffer[]): Buffer => Buffer.concat(parts);

/** A client that has prepared these names, and the server on which it did. */
function prepared(
  statements: Record<string, string>,
  options: { preparedMax?: number; registry?: StatementRegistry } = {},
): { client: StatementsClient; first: ReturnType<typeof fakeServer> } {
  const client = new StatementsClient(options.registry);
  const first = fakeServer(options.preparedMax === undefined ? {} : { preparedMax: options.preparedMax });
  for (const [name, sql] of Object.entries(statements)) {
    client.send(first.server, parse(name, sql), sync);
    if (first.server.replies.length > 1) first.server.onData(parseComplete);
    while (first.server.replies.length > 1) first.server.onData(closeComplete);
    first.server.onData(ready());
  }
  first.transport.takeWritten();
  client.takeReplies();
  return { client, first };
}

describe("names on the server", () => {
  test("a named statement has our name there, everything else goes as it is", () => {
    const client = new StatementsClient();
    const { server, transport } = fakeServer();
    client.send(server, parse("mine", "select $1"), describeStatement("mine"), bind("mine"));
    client.send(server, describePortal("p"), execute, closePortal("p"), sync);
    expect(takeSent(transport)).toEqual([
      "Parse pgsluice_1 select $1",
      "Describe S pgsluice_1",
      "Bind pgsluice_1",
      "Describe P p",
      "Execute",
      "Close P p",
      "S",
    ]);
    const replies = all(
      parseComplete,
      fakes.parameterDescription,
      fakes.noData,
      bindComplete,
      fakes.noData,
      complete("SELECT 0"),
      closeComplete,
      ready(),
    );
    server.onData(replies);
    expect(client.takeReplies()).toEqual(replies);
    expect(client.statements.size).toBe(1);
  });

  test("two clients share a statement under names of their own", () => {
    const registry = new StatementRegistry();
    const { first } = prepared({ mine: "select 1" }, { registry });
    const other = new StatementsClient(registry);
    other.send(first.server, parse("yours", "select 1"), bind("yours"), sync);
    expect(takeSent(first.transport)).toEqual(["Bind pgsluice_1", "S"]);
    expect(other.takeReplies()).toEqual(parseComplete);
    first.server.onData(all(bindComplete, ready()));
    expect(other.takeReplies()).toEqual(all(bindComplete, ready()));
    expect(registry.size).toBe(1);
  });

  test("one name is another statement to another client", () => {
    const registry = new StatementRegistry();
    const { client, first } = prepared({ s: "select 1" }, { registry });
    const other = new StatementsClient(registry);
    other.send(first.server, parse("s", "select 2"), sync);
    first.server.onData(all(parseComplete, ready()));
    client.send(first.server, bind("s"), sync);
    expect(takeSent(first.transport)).toEqual(["Parse pgsluice_2 select 2", "S", "Bind pgsluice_1", "S"]);
  });

  test("a name that is not known goes as it is, so that the server says so", () => {
    const client = new StatementsClient();
    const { server, transport } = fakeServer();
    client.send(server, bind("nobody"), describeStatement("pgsluice_1"), sync);
    expect(takeSent(transport)).toEqual(["Bind nobody", 'Describe S "pgsluice_1"', "S"]);
  });

  test("names are bytes, whatever the encoding", () => {
    const client = new StatementsClient();
    const { server, transport } = fakeServer();
    const name = Buffer.from([0xe4, 0x80, 0]);
    client.send(
      server,
      typed("P", name, text("select 1"), 0, 0),
      typed("C", "S", Buffer.from([0xe4, 0x81, 0])),
    );
    client.send(server, typed("D", "S", name));
    expect(takeSent(transport)).toEqual(["Parse pgsluice_1 select 1", "Describe S pgsluice_1"]);
  });

  test.each([
    ["Parse", typed("P", "name")],
    ["Bind", typed("B", text("portal"), "name")],
    ["Bind, without its portal's end", typed("B", "portal")],
    ["Describe", typed("D", "S", "name")],
    ["Close", typed("C", "S", "name")],
    ["Parse without a body", typed("P")],
  ])("a name without an end is the client's mistake: %s", (_what, message) => {
    const { server } = fakeServer();
    let error: unknown;
    try {
      new StatementsClient().send(server, message);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(PeerError);
    expect(error).toMatchObject({ sqlstate: "08P01", message: "invalid string in message" });
  });
});

describe("on a server that lacks the statement", () => {
  test("the Parse is sent before the Bind, and its reply is swallowed", () => {
    const { client } = prepared({ mine: "select 1" });
    const { server, transport } = fakeServer();
    client.send(server, bind("mine"), execute, bind("mine"), execute, sync);
    expect(takeSent(transport)).toEqual([
      "Parse pgsluice_1 select 1",
      "Bind pgsluice_1",
      "Execute",
      "Bind pgsluice_1",
      "Execute",
      "S",
    ]);
    const replies = all(bindComplete, complete("SELECT 1"), bindComplete, complete("SELECT 1"), ready());
    server.onData(all(parseComplete, replies));
    expect(client.takeReplies()).toEqual(replies);
  });

  test("if that Parse fails, its error is the Bind's, and the server lacks it still", () => {
    const { client } = prepared({ mine: "select * from t" });
    const { server, transport } = fakeServer();
    client.send(server, bind("mine"), execute, sync);
    const error = failure("42P01", 'relation "t" does not exist');
    server.onData(all(error, ready()));
    expect(client.takeReplies()).toEqual(all(error, ready()));
    takeSent(transport);
    client.send(server, describeStatement("mine"), sync);
    expect(takeSent(transport)).toEqual(["Parse pgsluice_1 select * from t", "Describe S pgsluice_1", "S"]);
  });

  test("if it was skipped, too", () => {
    const { client } = prepared({ mine: "select 1" });
    const { server, transport } = fakeServer();
    client.send(server, bind("nobody"), bind("mine"), sync);
    server.onData(all(failure("26000"), ready()));
    takeSent(transport);
    client.send(server, bind("mine"), sync);
    expect(takeSent(transport)[0]).toBe("Parse pgsluice_1 select 1");
  });
});

describe("a server holds so many statements and no more", () => {
  test("the least recently used one goes, its Close swallowed", () => {
    const { client, first } = prepared({ a: "select 1", b: "select 2" }, { preparedMax: 2 });
    client.send(first.server, bind("a"), parse("c", "select 3"), bind("c"), sync);
    expect(takeSent(first.transport)).toEqual([
      "Bind pgsluice_1",
      "Parse pgsluice_3 select 3",
      "Close S pgsluice_2",
      "Bind pgsluice_3",
      "S",
    ]);
    first.server.onData(all(bindComplete, parseComplete, closeComplete, bindComplete, ready()));
    expect(client.takeReplies()).toEqual(all(bindComplete, parseComplete, bindComplete, ready()));
    client.send(first.server, bind("b"), sync);
    expect(takeSent(first.transport)).toEqual([
      "Parse pgsluice_2 select 2",
      "Close S pgsluice_1",
      "Bind pgsluice_2",
      "S",
    ]);
  });

  test("what was to go stays if the messages are skipped, and what was to come is not there", () => {
    const { client, first } = prepared({ a: "select 1", b: "select 2" }, { preparedMax: 2 });
    client.send(first.server, bind("nobody"), parse("c", "select 3"), sync);
    first.server.onData(all(failure("26000"), ready()));
    expect([...first.server.prepared.keys()].sort()).toEqual(["pgsluice_1", "pgsluice_2"]);
    expect(first.server.closeReason).toBeUndefined();
  });

  test("a Parse that fails drives nothing out", () => {
    const { client, first } = prepared({ a: "select 1" }, { preparedMax: 1 });
    client.send(first.server, parse("b", "selec"), sync);
    expect(takeSent(first.transport)).toEqual(["Parse pgsluice_2 selec", "Close S pgsluice_1", "S"]);
    first.server.onData(all(failure("42601"), ready()));
    expect([...first.server.prepared.keys()]).toEqual(["pgsluice_1"]);
  });

  test("a statement that goes and comes back in messages that are skipped is still there", () => {
    const { client, first } = prepared({ a: "select 1" }, { preparedMax: 1 });
    client.send(first.server, bind("nobody"), parse("b", "select 2"), bind("a"), sync);
    first.server.onData(all(failure("26000"), ready()));
    expect([...first.server.prepared.keys()]).toEqual(["pgsluice_1"]);
    expect(first.server.closeReason).toBeUndefined();
  });

  test("one that goes before it ever came is not", () => {
    const { client, first } = prepared({}, { preparedMax: 1 });
    client.send(first.server, parse("a", "selec"), parse("b", "select 2"), sync);
    first.server.onData(all(failure("42601"), ready()));
    expect([...first.server.prepared.keys()]).toEqual([]);
  });
});

describe("a change that was not carried out has not happened", () => {
  test("a Parse that fails leaves its name free", () => {
    const { client, first } = prepared({});
    client.send(first.server, parse("f", "selec"), bind("f"), execute, closeStatement("f"), sync);
    first.server.onData(all(failure("42601"), ready()));
    expect(client.statements.size).toBe(0);
    expect(client.registry.size).toBe(0);
    takeSent(first.transport);
    client.send(first.server, parse("f", "select 1"), bind("f"), sync);
    expect(takeSent(first.transport)).toEqual(["Parse pgsluice_2 select 1", "Bind pgsluice_2", "S"]);
  });

  test("a Close that is skipped leaves the name as it was", () => {
    const { client, first } = prepared({ kept: "select 1" });
    client.send(first.server, bind("nobody"), closeStatement("kept"), parse("kept", "select 2"), sync);
    first.server.onData(all(failure("26000"), ready()));
    expect(client.registry.size).toBe(1);
    takeSent(first.transport);
    client.send(first.server, bind("kept"), sync);
    expect(takeSent(first.transport)).toEqual(["Bind pgsluice_1", "S"]);
  });

  test("a Close that is done makes the name free, and Parse behind it takes it", () => {
    const { client, first } = prepared({ s: "select 1" });
    client.send(
      first.server,
      closeStatement("s"),
      parse("s", "select 2"),
      bind("s"),
      closeStatement("none"),
      sync,
    );
    expect(takeSent(first.transport)).toEqual(["Parse pgsluice_2 select 2", "Bind pgsluice_2", "S"]);
    expect(client.takeReplies()).toEqual(closeComplete);
    first.server.onData(all(parseComplete, bindComplete, ready()));
    expect(client.takeReplies()).toEqual(all(parseComplete, bindComplete, closeComplete, ready()));
    expect(client.statements.size).toBe(1);
    expect(client.registry.size).toBe(1);
  });

  test("the server is lost: what was pending is forgotten, what was there is not", () => {
    const { client, first } = prepared({ s: "select 1" });
    client.send(first.server, parse("t", "select 2"), closeStatement("s"), sync);
    first.server.onClose(undefined);
    expect(client.statements.size).toBe(1);
    expect(client.registry.size).toBe(1);
    const { server, transport } = fakeServer();
    client.send(server, bind("s"), bind("t"), sync);
    expect(takeSent(transport)).toEqual(["Parse pgsluice_1 select 1", "Bind pgsluice_1", "Bind t", "S"]);
  });
});

describe("a name that is taken", () => {
  const serverSays = failure("42P05", 'prepared statement "pgsluice_1" already exists');

  test("the server is asked for the same mistake, and its answer has the client's name", () => {
    const { client, first } = prepared({ mine: "select 1" });
    client.send(first.server, parse("mine", "select 2"), bind("mine"), sync);
    expect(takeSent(first.transport)).toEqual(["Parse pgsluice_1 select 2", "Bind pgsluice_1", "S"]);
    first.server.onData(all(serverSays, ready("E")));
    expect(client.takeReplies()).toEqual(
      all(failure("42P05", 'prepared statement "mine" already exists'), ready("E")),
    );
    expect(client.statements.size).toBe(1);
  });

  test("a server that lacks the statement has one made that can always be", () => {
    const { client } = prepared({ mine: "select 1" });
    const { server, transport } = fakeServer();
    client.send(server, parse("mine", "select 1"), sync);
    expect(takeSent(transport)).toEqual(["Parse pgsluice_2", "Parse pgsluice_2 select 1", "S"]);
    const renamed = failure("42P05", 'prepared statement "pgsluice_2" already exists');
    server.onData(all(parseComplete, renamed, ready()));
    expect(client.takeReplies()).toEqual(
      all(failure("42P05", 'prepared statement "mine" already exists'), ready()),
    );
  });

  test("another error of that Parse is told as it is", () => {
    const { client, first } = prepared({ mine: "select 1" });
    client.send(first.server, parse("mine", "selec"), sync);
    first.server.onData(all(failure("42601"), ready()));
    expect(client.takeReplies()).toEqual(all(failure("42601"), ready()));
  });

  test("a server that accepts it has lost the statement, and is not used again", () => {
    const { client, first } = prepared({ mine: "select 1" });
    client.send(first.server, parse("mine", "select 2"), sync);
    first.server.onData(all(parseComplete, ready()));
    expect(first.server.closeReason).toBe("prepared statement was lost");
  });
});

describe("words of the server", () => {
  const errorOf = (client: StatementsClient): string => client.takeReplies().toString("latin1");

  test("name a statement as the client does, in the pipeline too, and nothing else that is called so", () => {
    const { client, first } = prepared({ mine: "select $1", other: "select $1, 2" });
    client.send(first.server, bind("mine"), sync, bind("other"), sync);
    const words = (name: string): string => `prepared statement "${name}" requires 1`;
    first.server.onData(all(failure("08P01", words("pgsluice_1")), ready()));
    expect(errorOf(client)).toContain(words("mine"));
    first.server.onData(all(failure("42P01", 'relation "pgsluice_2" does not exist'), ready()));
    expect(errorOf(client)).toContain('relation "pgsluice_2" does not exist');
    client.send(first.server, bind("other"), sync);
    first.server.onData(all(failure("26000", words("pgsluice_22")), ready()));
    expect(errorOf(client)).toContain(words("pgsluice_22"));
  });

  test("name a client's own statement that is called like ours without the quotes that were put around", () => {
    const client = new StatementsClient();
    const { server, transport } = fakeServer();
    client.send(server, bind("pgsluice_x"), sync);
    expect(takeSent(transport)).toEqual(['Bind "pgsluice_x"', "S"]);
    server.onData(all(failure("26000", 'prepared statement ""pgsluice_x"" does not exist'), ready()));
    expect(errorOf(client)).toContain('prepared statement "pgsluice_x" does not exist');
  });
});

describe("the unnamed statement", () => {
  test("goes as it is, and follows the client to another server", () => {
    const client = new StatementsClient();
    const { server, transport } = fakeServer();
    client.send(server, parse("", "select $1"), bind(""), sync);
    expect(takeSent(transport)).toEqual(["Parse  select $1", "Bind", "S"]);
    server.onData(all(parseComplete, bindComplete, ready()));
    client.send(server, describeStatement(""), sync);
    expect(takeSent(transport)).toEqual(["Describe S", "S"]);
    const second = fakeServer();
    client.send(second.server, bind(""), sync);
    expect(takeSent(second.transport)).toEqual(["Parse  select $1", "Bind", "S"]);
    client.takeReplies();
    second.server.onData(all(parseComplete, bindComplete, ready()));
    expect(client.takeReplies()).toEqual(all(bindComplete, ready()));
  });

  test("of another client is never used", () => {
    const { server, transport } = fakeServer();
    new StatementsClient().send(server, parse("", "select 'secret'"), sync);
    server.onData(all(parseComplete, ready()));
    takeSent(transport);
    const other = new StatementsClient();
    other.send(server, bind(""), sync);
    expect(takeSent(transport)).toEqual(["Close S", "Bind", "S"]);
    server.onData(all(closeComplete, failure("26000"), ready()));
    expect(other.takeReplies()).toEqual(all(failure("26000"), ready()));
    other.send(server, parse("", "select 1"), sync);
    expect(takeSent(transport)).toEqual(["Parse  select 1", "S"]);
  });

  test("of another client is not used either if what replaced it was skipped", () => {
    for (const replacement of [parse("", "select 1"), query("select 1")]) {
      const { server, transport } = fakeServer();
      new StatementsClient().send(server, parse("", "select 'secret'"), sync);
      server.onData(all(parseComplete, ready()));
      const other = new StatementsClient();
      other.send(server, bind("nobody"), replacement, sync);
      server.onData(all(failure("26000"), ready()));
      expect(server.unnamed).toBe(unnamedUnknown);
      takeSent(transport);
      other.send(server, bind(""), sync);
      expect(takeSent(transport)).toEqual(["Close S", "Bind", "S"]);
    }
  });

  test("is unknown if our own Close of it was skipped", () => {
    const { server } = fakeServer();
    new StatementsClient().send(server, parse("", "select 'secret'"), sync);
    server.onData(all(parseComplete, ready()));
    new StatementsClient().send(server, bind("nobody"), bind(""), sync);
    server.onData(all(failure("26000"), ready()));
    expect(server.unnamed).toBe(unnamedUnknown);
  });

  test("is dropped by a simple Query, by Close, by a Parse that fails", () => {
    for (const [drop, reply] of [
      [query("select 1"), complete("SELECT 1")],
      [closeStatement(""), undefined],
      [parse("", "selec"), failure("42601")],
    ] as const) {
      const client = new StatementsClient();
      const { server, transport } = fakeServer();
      client.send(server, parse("", "select 1"), sync);
      server.onData(all(parseComplete, ready()));
      client.send(server, drop, ...(drop[0] === 0x51 ? [] : [sync]));
      server.onData(all(...(reply === undefined ? [] : [reply]), ready()));
      takeSent(transport);
      client.send(server, bind(""), sync);
      expect(takeSent(transport)).toEqual(["Close S", "Bind", "S"]);
    }
  });
});
