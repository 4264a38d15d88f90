/** pgsluice as a library: start a pooler from code. */
export { Failure, OperationError, PeerError } from "./base/errors.ts";
export type { Logger } from "./base/log.ts";
export { configFromUpstream, loadConfig, parseConfig } from "./config/load.ts";
export type { Config } from "./config/schema.ts";
export { Pooler, type PoolerOptions, type ShutdownMode } from "./server/app.ts";
export type { NodeEvent, NodeEventListener, NodePlace } from "./server/node-events.ts";
export type { ReadRouteHook, RoutedRead, RouteHint, TopologyNode } from "./server/read-routing.ts";
