import { describe, expect, test } from "vitest";
import { StatementRegistry } from "../../../src/pool/prepared.ts";
import { closeComplete, complete, failure, fakeServer, parseComplete, ready } from "../pool/fakes.ts";
import { text, typed } from "../wire/bytes.ts";
import {
  bind,
  closeStatement,
  execute,
  parse,
  query,
  StatementsClient,
  sync,
  takeSent,
} from "./statements-client.ts";

const all = (...parts: Buffer[]): Buffer => Buffer.concat(parts);

describe("DEALLOCATE ALL", () => {
  test("drops all names of the client, and all that the server holds, but not other clients' names", () => {
    const registry = new StatementRegistry();
    const [client, other] = [new StatementsClient(registry), new StatementsClient(registry)];
    const { server, transport } = fakeServer();
    client.send(server, parse("a", "select 1"), parse("b", "select 2"), sync);
    server.onData(all(parseComplete, parseComplete, ready()));
    other.send(server, parse("x", "select 1"), sync);
    server.onData(ready());
    client.send(server, query("deallocate all"));
    server.onData(all(complete("DEALLOCATE ALL"), ready()));
    expect(client.statements.size).toBe(0);
    expect(other.statements.size).toBe(1);
    expect(registry.size).toBe(1);
    takeSent(transport);
    other.send(server, bind("x"), sync);
    expect(takeSent(transport)).toEqual(["Parse pgsluice_1 select 1", "Bind pgsluice_1", "S"]);
  });

  test("what is sent behind it stays", () => {
    const client = new StatementsClient();
    const { server, transport } = fakeServer();
    client.send(server, parse("", "deallocate all"), bind(""), execute, parse("s", "select 1"), sync);
    server.onData(all(parseComplete, typed("2"), complete("DEALLOCATE ALL"), parseComplete, ready()));
    expect(client.statements.size).toBe(1);
    takeSent(transport);
    client.send(server, bind("s"), sync);
    expect(takeSent(transport)).toEqual(["Bind pgsluice_1", "S"]);
  });

  test("what is sent behind it is not made again when only the drop is answered", () => {
    const client = new StatementsClient();
    const { server, transport } = fakeServer();
    client.send(server, parse("", "deallocate all"), bind(""), execute, parse("s", "select 1"));
    server.onData(all(parseComplete, typed("2"), complete("DEALLOCATE ALL")));
    takeSent(transport);
    client.send(server, bind("s"), parse("t", "select 1"), sync);
    expect(takeSent(transport)).toEqual([
      "Bind pgsluice_1",
      "Close S pgsluice_1",
      "Parse pgsluice_1 select 1",
      "S",
    ]);
    server.onData(all(parseComplete, typed("2"), typed("3"), failure("42601"), ready()));
    expect([...server.prepared.keys()], "closed, and not made").toEqual([]);
  });

  test("an evicting Close that is skipped behind it brings nothing back", () => {
    const client = new StatementsClient();
    const { server } = fakeServer({ preparedMax: 1 });
    client.send(server, parse("a", "select 1"), sync);
    server.onData(all(parseComplete, ready()));
    client.send(
      server,
      parse("", "deallocate all"),
      bind(""),
      execute,
      bind("nobody"),
      parse("b", "select 2"),
      sync,
    );
    server.onData(all(parseComplete, typed("2"), complete("DEALLOCATE ALL"), failure("26000"), ready()));
    expect([...server.prepared.keys()]).toEqual([]);
  });
});

describe("a client that is gone", () => {
  test("holds nothing any more, and what is answered later changes nothing", () => {
    const client = new StatementsClient();
    const { server } = fakeServer();
    client.send(server, parse("a", "select 1"), parse("b", "select 2"), sync);
    server.onData(all(parseComplete, parseComplete, ready()));
    client.send(server, parse("c", "select 3"), closeStatement("a"), parse("d", "select 4"), sync);
    client.statements.end();
    expect(client.registry.size).toBe(2); // c and d are still on their way
    server.onData(parseComplete);
    server.onClose(undefined);
    expect(client.registry.size).toBe(0);
    expect(client.statements.size).toBe(0);
  });
});

describe("a message waits while it is not known what its name means", () => {
  test("behind a change of an earlier batch, and hears when it is known", () => {
    const client = new StatementsClient();
    const { server } = fakeServer();
    client.send(server, parse("s", "select 1"));
    expect(client.mustWait(bind("s")), "in the same batch nothing runs behind a failure").toBe(false);
    client.send(server, bind("s"), sync);
    for (const message of [
      parse("s", "select 2"),
      bind("s"),
      typed("D", "S", text("s")),
      closeStatement("s"),
    ]) {
      expect(client.mustWait(message)).toBe(true);
    }
    for (const message of [
      bind("t"),
      bind(""),
      parse("t", "x"),
      typed("D", "P", text("s")),
      sync,
      query("s"),
    ]) {
      expect(client.mustWait(message)).toBe(false);
    }
    expect(client.mustWait(bind("s"))).toBe(true);
    expect(client.certain).toBe(0);
    server.onData(parseComplete);
    expect(client.certain).toBe(1);
    expect(client.mustWait(bind("s"))).toBe(false);
  });

  test("and if it has failed", () => {
    const client = new StatementsClient();
    const { server } = fakeServer();
    client.send(server, parse("s", "selec"), closeStatement("s"), sync);
    expect(client.mustWait(parse("s", "select 1"))).toBe(true);
    server.onData(failure("42601"));
    expect(client.certain).toBe(1);
    expect(client.mustWait(parse("s", "select 1"))).toBe(false);
  });

  test("behind a Query or a FunctionCall that ends the batch", () => {
    for (const end of [query("select 1"), typed("F", 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)]) {
      const client = new StatementsClient();
      const { server } = fakeServer();
      client.send(server, parse("s", "select 1"), end);
      expect(client.mustWait(bind("s"))).toBe(true);
    }
  });

  test("behind a Query that may drop all statements, if there are any", () => {
    for (const sql of ["DEALLOCATE ALL", "select 1; discard all", "/* not this */ Deallocate x"]) {
      const client = new StatementsClient();
      const { server } = fakeServer();
      client.send(server, query(sql));
      expect(client.mustWait(bind("s"))).toBe(false);
      server.onData(all(complete("X"), ready()));
      client.send(server, parse("s", "select 1"), sync);
      server.onData(all(parseComplete, ready()));
      client.send(server, query(sql));
      expect(client.mustWait(bind("s"))).toBe(true);
      expect(client.mustWait(parse("t", "select 1"))).toBe(true);
      server.onData(complete("X"));
      expect(client.certain).toBe(0);
      server.onData(ready());
      expect(client.certain).toBe(1);
      expect(client.mustWait(bind("s"))).toBe(false);
    }
    const client = new StatementsClient();
    const { server } = fakeServer();
    client.send(server, parse("s", "select 1"), sync);
    server.onData(all(parseComplete, ready()));
    client.send(server, query("begin"));
    expect(client.mustWait(bind("s"))).toBe(false);
  });

  test("no longer if the server is lost", () => {
    const client = new StatementsClient();
    const { server } = fakeServer();
    client.send(server, closeStatement("s"), parse("s", "select 1"), sync);
    expect(client.takeReplies()).toEqual(closeComplete);
    expect(client.mustWait(bind("s"))).toBe(true);
    server.onClose(undefined);
    expect(client.certain).toBe(1);
  });
});
