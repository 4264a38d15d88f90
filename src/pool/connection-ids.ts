/** Clients and servers are numbered together, as in PgBouncer: an id names one connection of this process. */
let lastConnectionId = 0;
let connectionIdStep = 1;

export function nextConnectionId(): number {
  lastConnectionId += connectionIdStep;
  return lastConnectionId;
}

/** Of `count` processes, this one, counted from 0, gives its own ids from now on: no two give the same. */
export function shareConnectionIds(slot: number, count: number): void {
  lastConnectionId = slot + 1 - count;
  connectionIdStep = count;
}
