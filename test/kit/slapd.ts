/**
 * Debian's slapd with a folder, ports and a configuration of its own, as an ordinary child of the tests. Where it is not
 * installed, tests that need it say so and are skipped.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import path from "node:path";
import type { Certificate } from "../../src/lab/index.ts";
import { freePort } from "../../src/lab/ports.ts";
import { type TempFolder, tempFolder } from "./temp-folder.ts";
import { waitUntil } from "./wait.ts";

const program = ["/usr/sbin/slapd", "/usr/local/sbin/slapd"].find((file) => existsSync(file));
const found = program !== undefined && spawnSync("slapadd", ["-VV"]).error === undefined;

/** Whether there is one. Its absence is said aloud once for each file that asks. */
export function hasSlapd(): boolean {
  if (!found) process.stderr.write("slapd is not installed: nothing is tested against an LDAP server\n");
  return found;
}

export interface Slapd {
  readonly port: number;
  readonly tlsPort: number;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The base is `dc=test`, its administrator `cn=admin,dc=test` with the password `adminpw`; nobody else may search. */
export async function startSlapd(ldif: string, certificate: Certificate, authority: string): Promise<Slapd> {
  const folder = await tempFolder();
  const file = (name: string): string => path.join(folder.path, name);
  const [port, tlsPort] = [await freePort(), await freePort()];
  mkdirSync(file("data"));
  writeFileSync(file("ca.crt"), authority);
  writeFileSync(file("server.crt"), certificate.certificate);
  writeFileSync(file("server.key"), certificate.key);
  writeFileSync(file("data.ldif"), ldif);
  writeFileSync(file("slapd.conf"), configuration(file));
  execFileSync("slapadd", ["-f", file("slapd.conf"), "-l", file("data.ldif")]);
  const addresses = `ldap://127.0.0.1:${port} ldaps://127.0.0.1:${tlsPort}`;
  const child = spawn(program ?? "slapd", ["-d", "0", "-f", file("slapd.conf"), "-h", addresses], {
    stdio: "ignore",
  });
  await waitUntil(async () => (await accepts(port)) && (await accepts(tlsPort)), "slapd listens");
  return { port, tlsPort, [Symbol.asyncDispose]: () => end(child, folder) };
}

function configuration(file: (name: string) => string): string {
  return `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile ${file("slapd.pid")}
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCACertificateFile ${file("ca.crt")}
TLSCertificateFile ${file("server.crt")}
TLSCertificateKeyFile ${file("server.key")}
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=open,dc=test" by * read
access to * by dn.exact="cn=admin,dc=test" read by * none
database mdb
suffix "dc=test"
rootdn "cn=admin,dc=test"
rootpw adminpw
directory ${file("data")}
maxsize 10485760
`;
}

async function end(child: ChildProcess, folder: TempFolder): Promise<void> {
  const ended = new Promise((resolve) => child.once("exit", resolve));
  if (child.exitCode === null && child.kill("SIGTERM")) await ended;
  await folder[Symbol.asyncDispose]();
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
