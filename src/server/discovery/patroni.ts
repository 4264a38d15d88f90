/** Asks Patroni's REST API for its members: `GET /cluster`, one of several addresses after the other. */
import { readFile } from "node:fs/promises";
import http from "node:http";
import https from "node:https";
import { type ManagerAnswer, patroniAnswer } from "../../cluster/index.ts";
import { reasonOf } from "../../config/errors.ts";
import type { Settings } from "../../config/schema.ts";

/** Members take a few hundred bytes each. */
const bodyBytesMax = 1024 * 1024;

export class PatroniClient {
  /** The address that answered last is asked first. */
  #first = 0;

  /** The address that is asked first. */
  place({ patroni_urls: urls }: Settings): string {
    return urls[this.#first] ?? "";
  }

  /** Rejects with an Error that says of every address why it gave no answer. */
  async ask(settings: Settings, signal: AbortSignal): Promise<ManagerAnswer> {
    const { patroni_urls: urls, discovery_timeout: seconds } = settings;
    const problems: string[] = [];
    for (let i = 0; i < urls.length; i++) {
      const index = (this.#first + i) % urls.length;
      const url = urls[index] ?? "";
      const limit = AbortSignal.timeout(seconds * 1000);
      try {
        const body = await get(url, settings, AbortSignal.any([limit, signal]));
        const answer = patroniAnswer(body);
        if (typeof answer === "string") throw new Error(answer);
        this.#first = index;
        return answer;
      } catch (error) {
        signal.throwIfAborted();
        problems.push(`${url}: ${limit.aborted ? "no answer in time" : reasonOf(error)}`);
      }
    }
    throw new Error(problems.join("; "));
  }
}

/** The body of the answer. Rejects if it cannot be had, is too long, or is none that says 200. */
async function get(base: string, settings: Settings, signal: AbortSignal): Promise<string> {
  const url = new URL("cluster", base.endsWith("/") ? base : `${base}/`);
  const { patroni_user: user, patroni_password: password } = settings;
  const tls = url.protocol === "https:" ? await tlsOptions(settings) : {};
  const { request } = url.protocol === "https:" ? https : http;
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    const asked = request(url, {
      ...tls,
      signal,
      // A connection that is kept might be one to an address that has moved.
      agent: false,
      headers: { accept: "application/json" },
      ...(user === "" ? {} : { auth: `${user}:${password}` }),
    });
    asked.on("response", resolve);
    asked.on("error", reject);
    asked.end();
  });
  if (response.statusCode !== 200) {
    response.destroy();
    throw new Error(`answered with HTTP status ${response.statusCode}`);
  }
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > bodyBytesMax) throw new Error(`the answer is longer than ${bodyBytesMax} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

/** Read each time: certificates are renewed. */
async function tlsOptions(settings: Settings): Promise<https.RequestOptions> {
  const read = async (file: string): Promise<Buffer | undefined> =>
    file === "" ? undefined : await readFile(file);
  const [ca, cert, key] = await Promise.all([
    read(settings.patroni_tls_ca_file),
    read(settings.patroni_tls_cert_file),
    read(settings.patroni_tls_key_file),
  ]);
  return {
    minVersion: "TLSv1.2",
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  };
}
