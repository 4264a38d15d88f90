/** Where Unix sockets are: how a host names their folder, and what they are called in it. */

/** Where a transport connects to. `host` starting with `/` or `@` names the folder of a Unix socket. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** File name of PostgreSQL's Unix socket in a folder (pqcomm.h UNIXSOCK_PATH); `@` means Linux's abstract names. */
export function unixSocketPath(folder: string, port: number): string {
  const path = `${folder}/.s.PGSQL.${port}`;
  return path.startsWith("@") ? `\0${path.slice(1)}` : path;
}

/** Whether a host names the folder of a Unix socket. */
export function isUnixHost(host: string): boolean {
  return host.startsWith("/") || host.startsWith("@");
}
