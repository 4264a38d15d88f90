/** A client in auto mode, as the parts of its session know it. */

import type { SessionNames } from "../../cluster/index.ts";
import type { ParameterVector } from "../../pool/parameters.ts";
import type { Activity } from "../activity.ts";
import type { ListeningPeer } from "./listening/peer.ts";
import type { LoginDefaults } from "./login-defaults.ts";
import type { SignalTarget } from "./pids.ts";

export interface AutoClient {
  readonly id: number;
  /** As at its login. */
  readonly names: SessionNames;
  readonly peer: ListeningPeer;
  /** What it believes of the settings. */
  readonly parameters: ParameterVector;
  readonly defaults: LoginDefaults;
  readonly target: SignalTarget;
  readonly activity: Activity;
}
