/** Commands of both consoles, and the states of clients and servers that they lead through, step by step. */
import type { Case } from "./side-by-side.ts";

export const commands: readonly Case[] = [
  {
    name: "PAUSE and RESUME, with clients idle, in a transaction, waiting",
    ini: { settings: ["pool_mode = transaction"] },
    script: async (run) => {
      const admin = await run.admin();
      const a = await run.connect("a");
      const b = await run.connect("b");
      await a.say("begin");
      await run.state("cl_active=2 sv_active=1");
      admin.send("pause");
      // Of what comes later, nothing is read before the command.
      await run.state("cl_active=2 sv_active=1");
      b.send("select 'b'");
      await run.state("cl_active=1 cl_waiting=1 sv_active=1");
      await a.say("commit");
      await admin.hear("pause");
      await run.state("cl_active=1 cl_waiting=1");
      await admin.say("pause");
      await admin.say("show state");
      await admin.say("resume");
      await b.hear("select 'b'");
      await run.state("cl_active=2 sv_idle=1");
      await admin.say("resume");
    },
    differences: [
      {
        theirs: ["admin: show state: ERROR 08P01 invalid command 'show state', use SHOW HELP;, ready I"],
        ours: [
          "admin: show state: columns key|value, row active|no, row paused|yes, row suspended|no, SHOW, ready I",
        ],
        reason: "newer ones have SHOW STATE",
      },
    ],
  },
  {
    name: "PAUSE and RESUME of one database in session mode",
    ini: { settings: ["client_login_timeout = 2"] },
    script: async (run) => {
      const admin = await run.admin();
      const a = await run.connect("a");
      await a.say("select 1");
      await run.state("cl_active=1 sv_active=1");
      admin.send("pause postgres");
      await run.state("cl_active=1 sv_active=1 paused");
      await a.say("select 2");
      await a.close();
      await admin.hear("pause postgres");
      await run.state("paused");
      // What is looked after from time to time has been, when one that says nothing is sent away.
      await (await run.raw()).closed;
      const b = await run.connect("b");
      b.send("select 'b'");
      await run.state("cl_waiting=1 paused");
      await admin.say("resume postgres");
      await b.hear("select 'b'");
      await run.state("cl_active=1 sv_active=1");
    },
  },
  {
    name: "DISABLE and ENABLE",
    ini: { settings: ["pool_mode = transaction"] },
    script: async (run) => {
      const admin = await run.admin();
      const a = await run.connect("a");
      await admin.say("disable postgres");
      await run.state("cl_active=1 sv_idle=1 disabled");
      await a.say("select 1");
      await run.login("disabled");
      await admin.say("enable postgres");
      await run.login("enabled");
      await run.state("cl_active=1 sv_idle=1");
    },
  },
  {
    name: "RECONNECT",
    ini: { settings: ["pool_mode = transaction"] },
    script: async (run) => {
      const admin = await run.admin();
      const a = await run.connect("a");
      const b = await run.connect("b");
      await a.say("begin");
      await b.say("select 1");
      await run.state("cl_active=2 sv_active=1 sv_idle=1");
      await admin.say("reconnect postgres");
      await run.state("cl_active=2 sv_active=1");
      await a.say("commit");
      await run.state("cl_active=2");
      await b.say("select 2");
      await run.state("cl_active=2 sv_idle=1");
    },
  },
  {
    name: "KILL",
    ini: { settings: ["pool_mode = transaction"] },
    script: async (run) => {
      const admin = await run.admin();
      const a = await run.connect("a");
      const b = await run.connect("b");
      await a.say("begin");
      await run.state("cl_active=2 sv_active=1");
      await admin.say("kill postgres");
      await a.hear("killed in a transaction");
      await b.hear("killed while idle");
      await run.state("paused");
      const login = run.connect("c");
      await admin.say("resume postgres");
      const c = await login;
      await c.say("select 'c'");
      await run.state("cl_active=1 sv_idle=1");
    },
    differences: [
      {
        theirs: [
          "a: killed in a transaction: FATAL 08P01 database removed, closed",
          "b: killed while idle: FATAL 08P01 database removed, closed",
        ],
        ours: [
          "a: killed in a transaction: FATAL 08P01 admin forced disconnect, closed",
          "b: killed while idle: FATAL 08P01 admin forced disconnect, closed",
        ],
        reason: "the words of newer ones",
      },
    ],
  },
  {
    name: "WAIT_CLOSE",
    ini: { settings: ["pool_mode = transaction"] },
    script: async (run) => {
      const admin = await run.admin();
      const a = await run.connect("a");
      await a.say("begin");
      await admin.say("reconnect");
      admin.send("wait_close");
      await run.state("cl_active=1 sv_active=1");
      await a.say("commit");
      await admin.hear("wait_close");
      await run.state("cl_active=1");
    },
  },
  {
    name: "RELOAD",
    ini: { settings: ["pool_mode = transaction"] },
    script: async (run) => {
      const admin = await run.admin();
      const a = await run.connect("a");
      await a.say("begin");
      await admin.say("reload");
      await run.state("cl_active=1 sv_active=1");
      await a.say("commit");
      await run.state("cl_active=1 sv_idle=1");
      await admin.say("set server_lifetime = 1200");
      await admin.say("set pool_mode = nothing");
      await admin.say("suspended");
    },
  },
  {
    name: "states of clients and servers",
    ini: { settings: ["pool_mode = transaction", "default_pool_size = 1"] },
    script: async (run) => {
      const admin = await run.admin();
      const a = await run.connect("a");
      const b = await run.connect("b");
      await run.connect("c");
      await a.say("begin");
      b.send("select 'b'");
      await run.state("cl_active=2 cl_waiting=1 sv_active=1");
      for (const what of ["clients", "servers", "sockets", "active_sockets"]) {
        const rows = await admin.table(`show ${what}`);
        const states = rows
          .filter(({ database }) => database === "postgres")
          .map(({ type, state, user, wait }) => `${type} ${state} ${user} ${wait === "0"}`);
        run.note(`${what}: ${states.sort().join(", ")}`);
      }
      await a.say("commit");
      await b.hear("select 'b'");
      const servers = await admin.table("show servers");
      run.note(servers.map(({ type, state, link }) => `${type} ${state} ${link === ""}`).join(", "));
    },
    differences: [
      {
        theirs: ["clients: C active app true, C active app true, C waiting app true"],
        ours: ["clients: C active app true, C idle app true, C waiting app true"],
        reason: "newer ones call a client idle that has no server",
      },
    ],
  },
  {
    name: "SHUTDOWN at once",
    ini: { settings: ["pool_mode = transaction"] },
    script: async (run) => {
      const admin = await run.admin();
      const a = await run.connect("a");
      await a.say("begin");
      await admin.say("shutdown");
      await a.hear("shutdown");
    },
    differences: [
      {
        theirs: ["admin: shutdown: closed"],
        ours: ["admin: shutdown: SHUTDOWN, ready I"],
        reason: "newer ones answer first",
      },
    ],
  },
];
