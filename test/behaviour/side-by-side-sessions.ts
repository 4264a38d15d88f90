/** Sessions through both poolers: sequences of answers in the pool modes, cancels, time limits, servers that are lost. */
import { closeStatement, execute, parse, sync } from "./pooled.ts";
import type { Case } from "./side-by-side.ts";

const lost = "FATAL 57P01 terminating connection due to administrator command";

export const sessions: readonly Case[] = [
  {
    name: "statement mode",
    ini: { settings: ["pool_mode = statement"] },
    script: async (run) => {
      const a = await run.connect("a");
      await a.say("select 1");
      await a.say("begin");
      const b = await run.connect("b");
      await b.say("select 1; select 2");
      await b.say(parse("", "begin"), ...execute(""), sync);
    },
  },
  {
    name: "transaction mode",
    ini: { settings: ["pool_mode = transaction"] },
    script: async (run) => {
      const a = await run.connect("a");
      for (const sql of [
        "",
        "select 1",
        "begin",
        "select 1/0",
        "select 1",
        "rollback",
        "create temp table t (a int)",
      ])
        await a.say(sql);
      await a.say("begin; copy t from stdin");
      await a.say({ kind: "CopyData", data: Buffer.from("1\n") }, { kind: "CopyDone" });
      await a.say("copy t to stdout", "commit");
      await a.hear("commit");
      await a.say(parse("", "select $1::int"), ...execute("", ["5"]), sync);
      await a.say(parse("", "select $1::int"), ...execute("", ["x"]), sync);
      await a.say(sync);
      await a.say("select 'a'", "select 'b'");
      await a.hear("second");
    },
  },
  {
    name: "a prepared statement that was not prepared",
    ini: { settings: ["pool_mode = transaction"] },
    script: async (run) => {
      const a = await run.connect("a");
      await a.say(...execute("nothing"), sync);
    },
  },
  {
    name: "named statements in session mode",
    script: async (run) => {
      const a = await run.connect("a");
      await a.say(parse("s", "select 1"), sync);
      await a.say(...execute("s"), sync);
      await a.say(parse("s", "select 2"), sync);
      await a.say(closeStatement("s"), sync);
      await a.say(...execute("s"), sync);
    },
  },
  {
    name: "an unknown message",
    ini: { settings: ["pool_mode = transaction"] },
    script: async (run) => {
      const a = await run.connect("a");
      a.raw.send(Buffer.from([0x7a, 0, 0, 0, 4]));
      await a.hear("z");
    },
    differences: [
      {
        theirs: ["a: z: FATAL 08P01 unknown pkt, closed"],
        ours: ["a: z: FATAL 08P01 invalid frontend message type 122, closed"],
        reason: "PostgreSQL's words",
      },
    ],
  },
  {
    name: "a running statement is cancelled",
    ini: { settings: ["pool_mode = transaction"] },
    script: async (run) => {
      const a = await run.connect("a");
      a.send(`select pg_sleep(20) as running_${run.side}`);
      await run.untilRunning(`running_${run.side}`);
      await a.cancel();
      await a.hear("cancelled");
      await a.say("select 1");
      await a.cancel();
      await a.say("select 2");
    },
  },
  {
    name: "a queued statement is cancelled",
    ini: { settings: ["pool_mode = transaction", "default_pool_size = 1"] },
    script: async (run) => {
      const a = await run.connect("a");
      const b = await run.connect("b");
      await a.say("begin");
      b.send("select 1");
      await run.state("cl_active=1 cl_waiting=1 sv_active=1");
      await b.cancel();
      await a.say("commit");
      await b.hear("cancelled while waiting");
    },
    differences: [
      {
        theirs: ["b: cancelled while waiting: columns ?column?, row 1, SELECT 1, ready I"],
        ours: ["b: cancelled while waiting: ERROR 57014 canceling statement due to user request, ready I"],
        reason: "PgBouncer cannot cancel what waits",
      },
    ],
  },
  {
    name: "query_wait_timeout",
    ini: { settings: ["pool_mode = transaction", "default_pool_size = 1", "query_wait_timeout = 1"] },
    script: async (run) => {
      const a = await run.connect("a");
      const b = await run.connect("b");
      await a.say("begin");
      await b.say("select 1");
      await a.say("commit");
    },
  },
  {
    name: "query_timeout",
    ini: { settings: ["query_timeout = 1"] },
    script: async (run) => {
      const a = await run.connect("a");
      await a.say("select pg_sleep(20)");
    },
  },
  {
    name: "client_idle_timeout",
    ini: { settings: ["client_idle_timeout = 1"] },
    script: async (run) => {
      const a = await run.connect("a");
      await a.hear("nothing");
    },
  },
  {
    name: "idle_transaction_timeout",
    ini: { settings: ["idle_transaction_timeout = 1"] },
    script: async (run) => {
      const a = await run.connect("a");
      await a.say("begin");
      await a.hear("nothing");
    },
  },
  ...(["session", "transaction"] as const).map(
    (mode): Case => ({
      name: `a server that is lost, in ${mode} mode`,
      ini: { settings: [`pool_mode = ${mode}`] },
      script: async (run) => {
        const a = await run.connect("a");
        const idle = await a.value("select pg_backend_pid()");
        await a.terminateBackend(idle);
        if (mode === "session") await a.hear("lost while idle");
        const b = await run.connect("b");
        await b.say("begin");
        await b.terminateBackend(await b.value("select pg_backend_pid()"));
        await b.hear("lost in a transaction");
        const c = await run.connect("c");
        await c.say("select 1");
      },
      differences: (mode === "session"
        ? ["a: lost while idle", "b: lost in a transaction"]
        : ["b: lost in a transaction"]
      ).map((when) => ({
        theirs: [`${when}: ${lost}, FATAL 08P01 server conn crashed?, closed`],
        ours: [`${when}: ${lost}, closed`],
        reason: "the server has said why already",
      })),
    }),
  ),
];
