/**
 * A pooler as a process of its own, so that its memory, its open files and its end can be judged from
 * outside. The configuration is the first argument; the parent asks for reports over the IPC channel. Plain
 * JavaScript, so that it needs no loader where there is a build to run.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { queryObjects } from "node:v8";

const built = process.env.PGSLUICE_BUILT === "1";

/** A module of the product: of its build, or of its sources (kit/program.ts). */
function load(name) {
  const file = built ? `../../dist/${name}.js` : `../../src/${name}.ts`;
  return import(new URL(file, import.meta.url).href);
}

const { Pooler } = await load("server/app");
const { checkConfig } = await load("config/load");
const { Transport } = await load("base/transport");
const { Pool } = await load("pool/pool");
const { SharedStatement } = await load("pool/prepared");
const { Server } = await load("pool/server");
const { Login } = await load("session/login");
const { Session } = await load("session/session");

const watched = { Login, Session, Pool, Server, Transport, SharedStatement };
/** They all inherit from its prototype in this process, so that one question finds them all. */
function Watched() {
  throw new Error("there are none");
}
for (const { prototype } of Object.values(watched)) Object.setPrototypeOf(prototype, Watched.prototype);

const errors = [];
const ignore = () => undefined;
const logger = {
  debug: ignore,
  info: ignore,
  warn: ignore,
  error: ({ err, reason }, message) => {
    if (errors.length < 100) errors.push(`${message}: ${err?.stack ?? reason ?? ""}`);
  },
};

const delays = monitorEventLoopDelay({ resolution: 5 });
delays.enable();

const pooler = await Pooler.start(checkConfig(JSON.parse(process.argv[2] ?? ""), process.cwd()), { logger });
process.on("message", (question) => process.send?.(answer(question)));
process.send?.({ listening: pooler.address });

/** To `counts`, `errors`, `delays` (since they were asked for last), or to `alive`, which costs garbage collections. */
function answer(question) {
  if (question === "counts") return { counts: pooler.counts };
  if (question === "errors") return { errors };
  if (question === "delays") {
    const found = {
      p50Ms: delays.percentile(50) / 1e6,
      p99Ms: delays.percentile(99) / 1e6,
      maxMs: delays.max / 1e6,
    };
    delays.reset();
    return { delays: found };
  }
  return { alive: countAlive() };
}

/** Counts all kinds in one walk through the heap, since each costs half a second of processor time. */
function countAlive() {
  const alive = Object.fromEntries(Object.keys(watched).map((name) => [name, 0]));
  for (const text of queryObjects(Watched, { format: "summary" })) {
    const name = /^\w+/.exec(text)?.[0];
    // The prototypes of the kinds are called "Watched".
    if (name in alive) alive[name]++;
  }
  return alive;
}
