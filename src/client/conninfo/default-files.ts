/**
 * What lies where libpq looks by itself: the folders of PostgreSQL's Unix sockets, the certificates in
 * `~/.postgresql` and the password file. Nothing here is ever an error for not being there.
 */
import { type Stats, statSync } from "node:fs";
import path from "node:path";
import { badOption, type ConnectOptions, defaultSocketFolder } from "./options.ts";
import type { Sources } from "./sources.ts";

/** The default of Debian's and Red Hat's builds of libpq; `/tmp` is that of PostgreSQL's own. */
const distributionSocketFolder = "/var/run/postgresql";

/**
 * The host of those who name none. libpq has one folder built in; which one depends on who built it, and so
 * does where the server of the same build listens. So the distributions' folder, which only the server's
 * account can write to, is taken if a socket for this port is in it, and `/tmp` otherwise.
 */
export function defaultHost(
  port: number,
  sources: Pick<Sources, "files">,
  folder: string = distributionSocketFolder,
): string {
  if (process.platform === "win32") return "localhost";
  const socket = path.join(folder, `.s.PGSQL.${port}`);
  return sources.files && statOf(socket) !== undefined ? folder : defaultSocketFolder;
}

/** By which names the password file may mean a host: the folders of default sockets are `localhost` there. */
export function passwordFileNames(host: string): string[] {
  const isDefault = host === defaultSocketFolder || host === distributionSocketFolder;
  return isDefault ? ["localhost", host] : [host];
}

/** `~/.pgpass`, on Windows `pgpass.conf`. */
export function defaultPasswordFile({ home }: Sources): string | undefined {
  return home === undefined
    ? undefined
    : path.join(home, process.platform === "win32" ? "pgpass.conf" : ".pgpass");
}

type TlsFiles = Pick<ConnectOptions, "sslrootcert" | "sslcert" | "sslkey" | "sslcrl">;

/**
 * Adds the files in `~/.postgresql` that stand in for what was not given (PostgreSQL's manual, "SSL
 * Support"). Throws OperationError `client.bad_option` (22023) if there is a certificate without a key, or
 * the key's file is open to others.
 */
export function withDefaultTlsFiles(
  given: TlsFiles & Pick<ConnectOptions, "sslcertmode" | "sslcrldir">,
  sources: Sources,
): TlsFiles {
  if (!sources.files) return given;
  const sslrootcert = given.sslrootcert ?? ownFile("root.crt", sources);
  // Revocation lists are looked for where the roots come from a file of the user's (initialize_SSL).
  const usesList = sslrootcert !== undefined && sslrootcert !== "system" && given.sslcrldir === undefined;
  const sslcrl = given.sslcrl ?? (usesList ? ownFile("root.crl", sources) : undefined);
  if (given.sslcertmode === "disable") return { sslrootcert, sslcrl };

  const sslcert = given.sslcert ?? ownFile("postgresql.crt", sources);
  if (sslcert === undefined) return { sslrootcert, sslcrl };
  const sslkey = given.sslkey ?? tlsPath("postgresql.key", sources);
  if (sslkey !== undefined && !sslkey.includes("-----BEGIN")) checkKeyFile(sslkey);
  return { sslrootcert, sslcrl, sslcert, sslkey };
}

/** Who may read a private key: its owner alone, or also the group if root owns it, so that services can share it. */
function checkKeyFile(file: string): void {
  const found = statOf(file);
  if (found === undefined) throw badOption(`certificate present, but not private key file "${file}"`);
  if (process.platform === "win32") return;
  if (!found.isFile()) throw badOption(`private key file "${file}" is not a regular file`);
  if ((found.mode & (found.uid === 0 ? 0o037 : 0o077)) !== 0) {
    throw badOption(
      `private key file "${file}" has group or world access; file must have permissions u=rw (0600) or less if owned by the current user, or permissions u=rw,g=r (0640) or less if owned by root`,
    );
  }
}

function tlsPath(name: string, { home }: Sources): string | undefined {
  if (home === undefined) return undefined;
  return process.platform === "win32" ? path.join(home, name) : path.join(home, ".postgresql", name);
}

function ownFile(name: string, sources: Sources): string | undefined {
  const file = tlsPath(name, sources);
  return file !== undefined && statOf(file) !== undefined ? file : undefined;
}

function statOf(file: string): Stats | undefined {
  try {
    return statSync(file);
  } catch {
    return undefined;
  }
}
