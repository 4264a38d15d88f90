/** Tables of who gets in how, and what becomes of one login in their words. */
import type { ConnectionOptions } from "node:tls";
import pg from "pg";
import { expect } from "vitest";
import { md5Response } from "../../src/auth/md5.ts";
import { CertificateAuthority } from "../../src/lab/index.ts";
import { encodePassword, encodeSaslInitialResponse } from "../../src/wire/index.ts";
import { type RawClient, rawClient } from "../kit/raw-client.ts";
import { errorOf } from "./login-pooler.ts";

/** Everybody's, and what the client `wrong` answers. */
export const password = "pass, word=1";
export const wrong = "another one";

export type Certificates = Readonly<Record<Over, ConnectionOptions>>;
type Client = "driver" | "scram" | "md5" | "password" | "none" | "wrong";
type Over = "plain" | "tls" | "verified" | "mailed" | "stranger";

export interface Row {
  readonly database: string;
  readonly user: string;
  readonly over: Over;
  readonly client: Client;
  readonly expected: string;
}

/** What becomes of one login, in the words of the table. */
export async function outcome(port: number, row: Row, certificates: Certificates): Promise<string> {
  const { client: kind, user, database } = row;
  if (kind === "driver") return await driverOutcome(port, row, certificates);
  if (kind === "wrong") return await ordinaryOutcome(port, row, wrong, certificates);
  using client = await connect(port, row, certificates);
  client.sendStartup({ user, database });
  const first = await client.next();
  switch (first.kind) {
    case "ErrorResponse":
      return errorOf(first).code;
    case "AuthenticationOk":
      await client.until("ReadyForQuery");
      return "ok";
    case "AuthenticationCleartextPassword":
      return await answered(client, row, "password");
    case "AuthenticationMD5Password":
      return await answered(client, row, "md5", first.salt);
    case "AuthenticationSASL":
      return await answered(client, row, kind === "none" ? "SASL" : "scram");
    default:
      return first.kind;
  }

  /** A client that knows only one method answers in its own way, whatever it was asked for. */
  async function answered(open: RawClient, of: Row, asked: string, salt?: Buffer): Promise<string> {
    if (kind === "none") return asked;
    if (kind === asked) return await ordinaryOutcome(port, of, password, certificates);
    if (kind === "scram") {
      open.send(encodeSaslInitialResponse("SCRAM-SHA-256", Buffer.from("n,,n=,r=abcdefghijklmnop")));
    } else {
      open.send(
        encodePassword(kind === "md5" ? md5Response(user, password, salt ?? Buffer.alloc(4)) : password),
      );
    }
    return errorOf((await open.rest()).at(-1)).code;
  }
}

/** A client that does what it is asked to. */
async function ordinaryOutcome(
  port: number,
  row: Row,
  tried: string,
  certificates: Certificates,
): Promise<string> {
  using client = await connect(port, row, certificates);
  try {
    await client.startup({ user: row.user, database: row.database, password: tried });
    return "ok";
  } catch (error) {
    return /ErrorResponse FATAL (\w+)/.exec(String(error))?.[1] ?? String(error);
  }
}

async function driverOutcome(
  port: number,
  { user, database, over }: Row,
  certificates: Certificates,
): Promise<string> {
  const tls = over === "plain" ? false : { rejectUnauthorized: false, ...certificates[over] };
  const client = new pg.Client({ host: "127.0.0.1", port, user, database, password, ssl: tls });
  client.on("error", () => undefined);
  try {
    await client.connect();
    const { rows: found } = await client.query<{ one: number }>("select 1 as one");
    expect(found).toEqual([{ one: 1 }]);
    return "ok";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function connect(port: number, { over }: Row, certificates: Certificates): Promise<RawClient> {
  const client = await rawClient(port);
  if (over !== "plain") await client.startTls(certificates[over]);
  return client;
}

/** Certificates that clients show: `mailed` stands for "plain@there". */
export function certificatesOf(authority: CertificateAuthority): Certificates {
  return {
    plain: {},
    tls: {},
    verified: shown(authority, "verified"),
    mailed: shown(authority, "plain@there"),
    stranger: shown(new CertificateAuthority(), "verified"),
  };
}

function shown(signer: CertificateAuthority, commonName: string): ConnectionOptions {
  const { certificate, key } = signer.issue({ commonName });
  return { cert: certificate, key };
}

/** The rows of a table as authentication-matrix.test.ts explains it. */
export function rowsOf(text: string): Row[] {
  const [head = "", ...lines] = text.trim().split("\n");
  const clients = (head.split("|")[1] ?? "").trim().split(/\s+/) as Client[];
  return lines.flatMap((line) => {
    const [left = "", right = ""] = line.split("|");
    const [database = "", user = "", overs = ""] = left.trim().split(/\s+/);
    const cells = right.trim().split(/\s+/);
    return (overs.split(",") as Over[]).flatMap((over) =>
      clients.map((client, index) => ({ database, user, over, client, expected: cells[index] ?? "" })),
    );
  });
}
