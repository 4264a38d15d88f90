/**
 * How V8 is to collect what a pooler leaves behind.
 *
 * V8 notes where objects are made that live long, and from then on makes all objects of those places in its old space ("allocation
 * site pretenuring"). A pooler's clients all come from the same places. Some stay for days, and others for a millisecond: once V8 has decided by the former, the
 * latter stay in memory as well until it collects everything, and with them what they refer to. With a connection for each transaction that was 5 kB for each,
 * copied twice, and a collection of everything every two seconds (bench/results, "Connections that leave nothing behind").
 */
import { setFlagsFromString } from "node:v8";

/** For a process that is a pooler. To be called at its start: what V8 has decided by then stays. */
export function adviseCollector(): void {
  setFlagsFromString("--no-allocation-site-pretenuring");
}
