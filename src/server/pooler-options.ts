/** What a pooler is told beside its configuration. */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Config } from "../config/schema.ts";
import type { LookUp } from "./discovery/addresses.ts";
import type { InheritedSocket } from "./inherited.ts";
import type { NodeEventListener } from "./node-events.ts";
import type { ReadRouteHook } from "./read-routing.ts";
import type { Seat } from "./workers/seat.ts";

export interface PoolerOptions {
  readonly logger?: Logger;
  readonly clock?: Clock;
  /** Called when all files have been read and nothing has been opened yet; what it throws ends the start. */
  readonly beforeListening?: () => void;
  /**
   * RELOAD of the console: reads the configuration again and calls `reload`; rejects if it cannot be used. Without
   * it the configuration in force is taken again, with the files that it names.
   */
  readonly onReload?: () => Promise<void>;
  /** Called when a configuration has been put in force, by a reload or by SET of the console. */
  readonly onConfigured?: (config: Config) => void;
  /** A shutdown has begun, whoever asked for it. */
  readonly onShutdown?: () => void;
  /** Sockets that whoever started this process listens on already; they take the place of those of the settings. */
  readonly sockets?: readonly InheritedSocket[];
  /** How `discovery = "dns"` finds the addresses of a name; by default the system does. */
  readonly lookUp?: LookUp;
  /** Called when the primary is lost or found and when a node changes its state; the next call waits for what it returns. */
  readonly onNodeEvent?: NodeEventListener;
  /** Says where reads go (`load_balance_mode`). Not asked in the processes of `workers`. */
  readonly routeRead?: ReadRouteHook;
  /** Of a process that is one of several workers. */
  readonly seat?: Seat;
}
