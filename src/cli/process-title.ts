/** What `ps` shows of a running pooler, as PostgreSQL's processes show what they do. */
import type { Pooler } from "../server/app.ts";
import type { PoolerCounts } from "../server/counts.ts";

const intervalMs = 1000;

type Titled = Pick<Pooler, "address"> & { readonly counts: PoolerCounts };

/** Keeps the title of this process true until the returned function is called. */
export function keepProcessTitle(pooler: Titled): () => void {
  const show = (): void => {
    process.title = titleOf(pooler);
  };
  show();
  const timer = setInterval(show, intervalMs);
  timer.unref();
  return () => clearInterval(timer);
}

/** `pgsluice: 6432, 12 clients, 1 waiting, 4 servers` */
function titleOf({ address, counts }: Titled): string {
  const waiting = counts.waiting > 0 ? `, ${counts.waiting} waiting` : "";
  return `pgsluice: ${address.port}, ${counts.sessions} clients${waiting}, ${counts.servers} servers`;
}
