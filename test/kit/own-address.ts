/** Addresses for programs that a test starts and that cannot be told to listen on any port. */
import { freePort } from "../../src/lab/ports.ts";

export interface OwnAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * An address where nothing of another test can ever be: on Linux a loopback address that belongs to this process
 * alone, made of its number, and everywhere a port that the system hands out to nobody. It may be used again and again.
 */
export async function ownAddress(): Promise<OwnAddress> {
  const host = process.platform === "linux" ? ownHost() : "127.0.0.1";
  return { host, port: await freePort(host) };
}

/** In 127.64.0.0/10: process numbers have 22 bits (man 5 proc, pid_max). */
function ownHost(): string {
  const { pid } = process;
  return `127.${64 + ((pid >> 16) & 0x3f)}.${(pid >> 8) & 0xff}.${pid & 0xff}`;
}
