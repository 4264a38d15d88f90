/**
 * Diagnostics channels: who subscribes hears of every query and connect, and of its end. Nobody subscribed,
 * nothing is done. Names of channels: `tracing:pgsluice:query:start`, `:end`, `:asyncStart`, `:asyncEnd`,
 * `:error`, and the same with `connect` (node:diagnostics_channel, TracingChannel).
 *
 * The context's keys are OpenTelemetry's attributes for database clients. Parameters are never part of it.
 */
import { type TracingChannel, tracingChannel } from "node:diagnostics_channel";

export interface TraceContext {
  readonly "db.system.name": "postgresql";
  /** The database. */
  readonly "db.namespace": string;
  readonly "server.address": string;
  readonly "server.port": number;
  /** The statement's text, without its parameters; absent for a connect. */
  readonly "db.query.text"?: string;
  /** SQLSTATE, if it failed. */
  "db.response.status_code"?: string;
  "db.response.returned_rows"?: number;
  error?: unknown;
}

export const queryChannel: TracingChannel<string, TraceContext> = tracingChannel("pgsluice:query");
export const connectChannel: TracingChannel<string, TraceContext> = tracingChannel("pgsluice:connect");

/** Whether anybody listens. Node 20 has this for single channels only. */
export function isTraced(channel: TracingChannel<string, TraceContext>): boolean {
  return (
    channel.start.hasSubscribers ||
    channel.end.hasSubscribers ||
    channel.asyncStart.hasSubscribers ||
    channel.asyncEnd.hasSubscribers ||
    channel.error.hasSubscribers
  );
}

/** What is told of an operation; `text` of a query. */
export function traceContext(of: {
  readonly database: string;
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly text?: string;
}): TraceContext {
  return {
    "db.system.name": "postgresql",
    "db.namespace": of.database,
    "server.address": of.host ?? "",
    "server.port": of.port ?? 0,
    ...(of.text === undefined ? {} : { "db.query.text": of.text }),
  };
}

/** Announces an operation that was started; the function that is returned announces its end, once. */
export function traceStart(
  channel: TracingChannel<string, TraceContext>,
  context: TraceContext,
): (error: unknown, rows?: number | null) => void {
  channel.start.publish(context);
  channel.end.publish(context);
  return (error, rows) => {
    if (error !== undefined) {
      context.error = error;
      const sqlstate = error instanceof Error && "sqlstate" in error ? error.sqlstate : undefined;
      if (typeof sqlstate === "string") context["db.response.status_code"] = sqlstate;
      channel.error.publish(context);
    } else if (typeof rows === "number") {
      context["db.response.returned_rows"] = rows;
    }
    channel.asyncStart.publish(context);
    channel.asyncEnd.publish(context);
  };
}
