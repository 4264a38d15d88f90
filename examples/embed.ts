/**
 * Starts a pooler inside a program, in front of the PostgreSQL that a connection string names:
 *
 *     node --import tsx examples/embed.ts postgres://user:password@host/database
 *
 * Prints the URL that clients connect to and serves until Ctrl-C. In a program of your own, install the
 * package and import it by its name, as here.
 */
import { configFromUpstream, type Logger, Pooler } from "pgsluice";
import { connectOptionsFromConninfo } from "pgsluice/client";

const upstream = connectOptionsFromConninfo(process.argv[2] ?? "postgres://127.0.0.1:5432/postgres");
const { user, password, database } = upstream;

// Settings are those of [pgsluice] in docs/config.md. Port 0 takes any free port.
const config = configFromUpstream(
  upstream.hosts.map(({ host, port }) => ({ host, port, user, password, sslmode: upstream.sslmode })),
  { listen_port: 0, default_pool_size: 5 },
);

// Any object with these four methods will do; pino's loggers have them. Without one, nothing is logged.
const logger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (fields, message) => console.warn(message, fields),
  error: (fields, message) => console.error(message, fields),
};

const pooler = await Pooler.start(config, { logger });
const { host, port } = pooler.address;
console.log(`postgres://${encodeURIComponent(user)}@${host}:${port}/${encodeURIComponent(database)}`);

process.once("SIGINT", () => {
  console.log("at the end:", pooler.counts);
  void pooler.shutdown("fast");
});
