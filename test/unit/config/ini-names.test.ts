/** The sections of PgBouncer's configuration file whose lines have names of their own. */
import { describe, expect, test } from "vitest";
import { loadIni } from "../../../src/config/ini/load.ts";
import { useIniFolder } from "./ini-folder.ts";

const { write, problemsOf } = useIniFolder();

describe("[databases], [users], [peers]", () => {
  const load = async (text: string): ReturnType<typeof loadIni> => loadIni(write(`${text}\n[pgbouncer]\n`));

  test("each host and port is a node; names, sizes and modes are ours", async () => {
    const { config, notices } = await load(
      "[databases]\na = host=db port=5433 dbname=x user=u password='p w' pool_size=5 min_pool_size=1 pool_mode=Statement\nb = host=db port=5433 pool_size=-1\n* = host=::1\nc =\n[users]\nbob = pool_mode=transaction pool_size=3\n[peers]\n1 = host=x port=7000 pool_size=4\n2 = host=/tmp/two pool_size=-1",
    );
    expect(config.nodes).toMatchObject({
      "db:5433": { host: "db", port: 5433, role: "primary" },
      "[::1]:5432": { host: "::1", port: 5432 },
      "/tmp:5432": { host: "/tmp" },
    });
    expect({ ...config.databases }).toEqual({
      a: {
        node: "db:5433",
        dbname: "x",
        user: "u",
        password: "p w",
        pool_size: 5,
        min_pool_size: 1,
        pool_mode: "statement",
      },
      b: { node: "db:5433" },
      "*": { node: "[::1]:5432" },
      c: { node: "/tmp:5432" },
    });
    expect({ ...config.users }).toEqual({ bob: { pool_mode: "transaction", pool_size: 3 } });
    expect({ ...config.peers }).toEqual({
      1: { host: "x", port: 7000, pool_size: 4 },
      2: { host: "/tmp/two", port: 6432 },
    });
    expect(notices).toEqual([]);
  });

  test.each([
    ["[peers]\n0 = host=x", "ids of peers are integers from 1 to 65535"],
    ["[peers]\n70000 = host=x", "ids of peers are integers from 1 to 65535"],
    ["[peers]\nnext = host=x", "ids of peers are integers from 1 to 65535"],
    ["[peers]\n2 = port=6432", "host: must be given"],
    ["[peers]\n2 = host=x port=0", "port: must be an integer from 1 to 65535"],
  ])("%j is refused", async (text, problem) => {
    await expect(load(text)).rejects.toThrow(problem);
    await expect(load(text)).rejects.toThrow(/pgbouncer\.ini:2/);
  });

  test("limits and times of a database and a user; a negative number is none", async () => {
    const { config, notices } = await load(
      "[databases]\na = host=db reserve_pool=2 max_db_connections=7 max_db_client_connections=8 server_lifetime=1.5 query_wait_timeout=3 connect_query='set role x' client_encoding=LATIN1 datestyle='ISO, MDY' timezone=UTC application_name=app\nb = host=db reserve_pool_size=-1 server_lifetime=-1\n[users]\nbob = reserve_pool_size=1 max_user_connections=4 max_user_client_connections=5 query_timeout=1.5 query_wait_timeout=2 idle_transaction_timeout=3 transaction_timeout=4 client_idle_timeout=5",
    );
    expect(config.databases["a"]).toEqual({
      node: "db:5432",
      reserve_pool_size: 2,
      max_db_connections: 7,
      max_db_client_connections: 8,
      server_lifetime: 1.5,
      query_wait_timeout: 3,
      connect_query: "set role x",
      client_encoding: "LATIN1",
      datestyle: "ISO, MDY",
      timezone: "UTC",
      application_name: "app",
    });
    expect(config.databases["b"]).toEqual({ node: "db:5432" });
    expect(config.users["bob"]).toEqual({
      reserve_pool_size: 1,
      max_user_connections: 4,
      max_user_client_connections: 5,
      query_timeout: 1.5,
      query_wait_timeout: 2,
      idle_transaction_timeout: 3,
      transaction_timeout: 4,
      client_idle_timeout: 5,
    });
    expect(notices).toEqual([]);
  });

  test("several hosts, and which of them is used", async () => {
    const { config } = await load("[databases]\na = host=x,::1,/tmp port=7 load_balance_hosts=Disable");
    expect(config.nodes).toEqual({ "x,::1,/tmp:7": { host: "x,::1,/tmp", port: 7, role: "primary" } });
    expect(config.databases["a"]).toEqual({ node: "x,::1,/tmp:7", load_balance_hosts: "disable" });
  });

  test("the last line of a name counts, and only that", async () => {
    const { config } = await load("[databases]\na = host=x pool_size=3\n[users]\n[databases]\na = host=y");
    expect({ ...config.databases }).toEqual({ a: { node: "y:5432" } });
  });

  test("names that mean something to JavaScript are names", async () => {
    const { config } = await load("[databases]\n__proto__ = host=x\nconstructor = host=y");
    expect(Object.keys(config.databases)).toEqual(["__proto__", "constructor"]);
  });

  test("a password without a user is ignored, as in PgBouncer, and named", async () => {
    const { config, notices } = await load("[databases]\na = host=x password=geheim");
    expect(config.databases["a"]).toEqual({ node: "x:5432" });
    expect(notices).toEqual(['password of database "a": It is used only together with user.']);
  });

  test("mistakes", async () => {
    expect(
      await problemsOf(
        "[databases]\na = hots=x\nb = host=x load_balance_hosts=random\nc = host=x port=0\npgsluice = host=x\nd = password=geheim wort\ne = host=x pool_mode=smart pool_size=viele\nf = host=x reserve_pool=x server_lifetime=1h\n[users]\nu = max_user_connections=1.5\n[pgbouncer]",
      ),
    ).toEqual([
      '2: "a": hots: unknown parameter; did you mean host?',
      '5: "pgsluice": this name is reserved for the console',
      '6: "d": syntax error: a word without = after password',
      '4: "c": port: must be an integer from 1 to 65535',
      expect.stringMatching(/^3: "b": load_balance_hosts: must be one of "round-robin", "disable"/) as string,
      expect.stringMatching(/^7: "e": pool_size: must be an integer/) as string,
      expect.stringMatching(/^7: "e": pool_mode: must be one of "auto", "session"/) as string,
      expect.stringMatching(/^8: "f": reserve_pool: must be an integer/) as string,
      expect.stringMatching(/^8: "f": server_lifetime: must be seconds/) as string,
      expect.stringMatching(/^10: "u": max_user_connections: must be an integer/) as string,
    ]);
    expect(
      await problemsOf("[databases]\na = dbname=x\n[pgbouncer]\nunix_socket_dir =\nlisten_addr = *"),
    ).toEqual(['2: "a": host: must be given, because unix_socket_dir is empty']);
  });
});
