/**
 * A socket that this process has opened only to pass it to others, as a service manager does. A server of Node's own
 * would take the connections that are meant for them.
 */
import { unixSocketPath } from "../../src/base/unix-socket.ts";

/** As the parts of Node that its net module stands on call it. */
interface Handle {
  readonly fd: number;
  bind(address: string, port?: number): number;
  getsockname(result: { address?: string; port?: number }): number;
  close(): void;
}

interface Binding {
  readonly TCP: new (type: number) => Handle;
  readonly Pipe: new (type: number) => Handle;
  readonly constants: { readonly SERVER: number };
}

export class PassedSocket implements Disposable {
  readonly port: number;
  readonly #handle: Handle;

  private constructor(handle: Handle, port: number) {
    this.#handle = handle;
    this.port = port;
  }

  /** A free port of 127.0.0.1. */
  static tcp(): PassedSocket {
    const { TCP, constants } = binding("tcp_wrap");
    const handle = new TCP(constants.SERVER);
    const result: { port?: number } = {};
    const failure = handle.bind("127.0.0.1", 0) || handle.getsockname(result);
    if (failure !== 0 || result.port === undefined) throw new Error(`could not bind a port: ${failure}`);
    return new PassedSocket(handle, result.port);
  }

  /** PostgreSQL's Unix socket in a folder. */
  static unix(folder: string, port: number): PassedSocket {
    const { Pipe, constants } = binding("pipe_wrap");
    const handle = new Pipe(constants.SERVER);
    const failure = handle.bind(unixSocketPath(folder, port));
    if (failure !== 0) throw new Error(`could not bind a socket in ${folder}: ${failure}`);
    return new PassedSocket(handle, port);
  }

  get descriptor(): number {
    return this.#handle.fd;
  }

  [Symbol.dispose](): void {
    this.#handle.close();
  }
}

function binding(name: string): Binding {
  return (process as unknown as { binding(name: string): Binding }).binding(name);
}
