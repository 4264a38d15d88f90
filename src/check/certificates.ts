/**
 * Certificates and keys of both sides: whether they can be read, belong together, are in time, and form a chain.
 * Whether a server's own certificate holds is seen when it is connected to.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Failure } from "../base/errors.ts";
import type { Config } from "../config/schema.ts";
import { loadClientTls } from "../server/tls.ts";
import { failed, type Report, warned } from "./finding.ts";

const dayMs = 86_400_000;
/** Time enough to have a new certificate signed. */
const soonDays = 30;

/** One set of files, named as in the configuration. */
interface TlsFiles {
  readonly key: string;
  readonly side: "client" | "server";
  readonly certificate: string;
  readonly privateKey: string;
  readonly authorities: string;
}

export async function checkCertificates(config: Config, nowMs: number, report: Report): Promise<void> {
  let ofClients = 0;
  for (const files of tlsFilesOf(config)) {
    const told: Report = (finding) => {
      if (files.side === "client" && finding.severity === "error") ofClients++;
      report(finding);
    };
    const [own] = await readChain(files, nowMs, told);
    if (own !== undefined && files.privateKey !== "") await checkKey(files, own, told);
    if (files.authorities === "" || files.authorities === "system") continue;
    const place = `${files.key}_ca_file`;
    const authorities = await readCertificates(place, files.authorities, told);
    for (const authority of authorities) checkTime(place, files.authorities, authority, nowMs, told);
  }
  if (ofClients === 0) await checkStart(config, report);
}

/** What else would end a start: OpenSSL has rules of its own, on the strength of keys for example. */
async function checkStart(config: Config, report: Report): Promise<void> {
  try {
    await loadClientTls(config.pgsluice);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    report(
      failed(
        "tls.refused",
        "pgsluice.client_tls_cert_file",
        error.message,
        "Have a certificate made that holds.",
      ),
    );
  }
}

/** What is in force: files of a side that is off are not looked at, and what nodes share is looked at once. */
function tlsFilesOf({ pgsluice: settings, nodes }: Config): TlsFiles[] {
  const sets: TlsFiles[] = [];
  if (settings.client_tls_sslmode !== "disable") {
    sets.push({
      key: "pgsluice.client_tls",
      side: "client",
      certificate: settings.client_tls_cert_file,
      privateKey: settings.client_tls_key_file,
      authorities: settings.client_tls_ca_file,
    });
  }
  for (const [key, table] of [["pgsluice", settings] as const, ...nodeTables(nodes)]) {
    if (table.server_tls_sslmode === "disable") continue;
    sets.push({
      key: `${key}.server_tls`,
      side: "server",
      certificate: table.server_tls_cert_file ?? "",
      privateKey: table.server_tls_key_file ?? "",
      authorities: table.server_tls_ca_file ?? "",
    });
  }
  return sets;
}

function nodeTables(nodes: Config["nodes"]): (readonly [string, Config["nodes"][string]])[] {
  return Object.entries(nodes).map(([name, node]) => [`nodes.${name}`, node]);
}

async function readChain(files: TlsFiles, nowMs: number, report: Report): Promise<X509Certificate[]> {
  if (files.certificate === "") return [];
  const place = `${files.key}_cert_file`;
  const chain = await readCertificates(place, files.certificate, report);
  for (const [index, certificate] of chain.entries()) {
    checkTime(place, files.certificate, certificate, nowMs, report);
    const issuer = chain[index + 1];
    if (issuer === undefined || certificate.checkIssued(issuer)) continue;
    const problem = `certificate ${index + 2} of ${files.certificate} has not signed the one before it`;
    const cure = "Put the certificate first, then who signed it, and so on upwards.";
    report(failed("tls.chain", place, problem, cure));
  }
  return chain;
}

async function readCertificates(place: string, file: string, report: Report): Promise<X509Certificate[]> {
  const text = await readFile(file, "latin1");
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  const certificates: X509Certificate[] = [];
  for (const block of blocks) {
    try {
      certificates.push(new X509Certificate(block));
    } catch {
      report(
        failed("tls.unreadable", place, `${file} holds a certificate that cannot be read`, "Make it anew."),
      );
    }
  }
  if (blocks.length > 0) return certificates;
  report(failed("tls.unreadable", place, `${file} holds no certificate`, "Name a file in PEM form."));
  return [];
}

function checkTime(
  place: string,
  file: string,
  certificate: X509Certificate,
  nowMs: number,
  report: Report,
): void {
  const endMs = Date.parse(certificate.validTo);
  const subject = certificate.subject.replaceAll("\n", ", ");
  const cure = "Have a new one signed, put it in its place, and reload.";
  if (Date.parse(certificate.validFrom) > nowMs) {
    const problem = `${subject} in ${file} is not valid before ${certificate.validFrom}`;
    report(failed("tls.not_yet_valid", place, problem, "Set the clock right, or wait."));
  } else if (endMs <= nowMs) {
    report(failed("tls.expired", place, `${subject} in ${file} has expired on ${certificate.validTo}`, cure));
  } else if (endMs - nowMs < soonDays * dayMs) {
    const days = Math.floor((endMs - nowMs) / dayMs);
    const problem = `${subject} in ${file} expires in ${days} days, on ${certificate.validTo}`;
    report(warned("tls.expires_soon", place, problem, cure));
  }
}

async function checkKey(files: TlsFiles, certificate: X509Certificate, report: Report): Promise<void> {
  const place = `${files.key}_key_file`;
  const pem = await readFile(files.privateKey, "latin1");
  try {
    if (certificate.checkPrivateKey(createPrivateKey(pem))) return;
    const problem = `${files.privateKey} is not the key of ${files.certificate}`;
    report(failed("tls.key_mismatch", place, problem, "Name the key that the certificate was made for."));
  } catch {
    // OpenSSL's own words say less, and might quote the file.
    const encrypted = pem.includes("ENCRYPTED");
    const problem = encrypted
      ? `${files.privateKey} is encrypted, and there is nobody to give its passphrase`
      : `${files.privateKey} holds no private key that can be read`;
    const cure = encrypted ? `openssl pkey -in ${files.privateKey} -out KEYFILE` : "Name a key in PEM form.";
    report(failed("tls.unreadable", place, problem, cure));
  }
}
