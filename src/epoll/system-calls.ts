/**
 * The system calls that sockets are read and written by, called through koffi (docs/adr/0021), and the few functions of libuv that
 * say when Node has something to do itself. Undefined where they are not to be had: systems without epoll, threads that are not the main one,
 * runtimes without libuv, and where koffi's binary is missing or not allowed (Node's permission model).
 *
 * A pointer is given as a Buffer, or as a number where the buffer stays the same: its owner keeps it alive.
 */
import { createRequire } from "node:module";
import { isMainThread } from "node:worker_threads";
import type * as Koffi from "koffi";

type Pointer = number;

/** Named as in the manual (section 2); -1 is an error, see `errno`. */
export interface SystemCalls {
  epoll_create1(flags: number): number;
  epoll_ctl(epoll: number, operation: number, descriptor: number, event: Buffer | null): number;
  epoll_wait(epoll: number, events: Pointer, count: number, timeoutMs: number): number;
  accept4(listening: number, address: Buffer, length: Buffer, flags: number): number;
  recv(socket: number, buffer: Pointer, length: number, flags: number): number;
  send(socket: number, chunk: Buffer, length: number, flags: number): number;
  shutdown(socket: number, how: number): number;
  close(descriptor: number): number;
  sched_yield(this: void): number;
  fcntl(descriptor: number, command: number, type: "int", argument: number): number;
  socketpair(domain: number, type: number, protocol: number, pair: Buffer): number;
  setsockopt(socket: number, level: number, option: number, value: Buffer, length: number): number;
  getpeername(socket: number, address: Buffer, length: Buffer): number;
  getsockname(socket: number, address: Buffer, length: Buffer): number;
  if_indextoname(index: number, name: Buffer): string | null;
  /** What has no function of its own, by its number (syscall(2)). */
  syscall(number: number, ...six: [number, number, number, number, number, number]): number;
  /** Shared memory of a descriptor: where it lies. */
  mmap(
    address: number,
    length: number,
    protection: number,
    flags: number,
    descriptor: number,
    offset: number,
  ): Pointer;
  /** The memory at an address, for as long as the process lives. */
  memoryAt(address: Pointer, length: number): ArrayBuffer;
  /** Of the call before. */
  errno(): number;
  /** Where a buffer lies that V8 does not move: one that was made by `allocUnsafeSlow`. */
  addressOf(buffer: Buffer): Pointer;
  /** What libuv would wait on (uv_backend_fd). */
  backendDescriptor(): number;
  /** How long libuv would wait (uv_backend_timeout): milliseconds, 0 for not at all, -1 for ever. */
  backendTimeout(): number;
}

/** What is asked of Node to be had: everything, or nothing is done by descriptors. */
export function loadSystemCalls(): SystemCalls | undefined {
  const { versions, platform } = process;
  if (platform !== "linux" || !isMainThread || versions.uv === undefined || "bun" in versions)
    return undefined;
  try {
    return declare(createRequire(import.meta.url)("koffi") as typeof Koffi);
  } catch {
    return undefined;
  }
}

function declare(koffi: typeof Koffi): SystemCalls {
  const library = koffi.load(null);
  const call = (declaration: string) => library.func(declaration);
  const loop: unknown = call("void* uv_default_loop()")();
  const updateTime: (loop: unknown) => void = call("void uv_update_time(void* loop)");
  const timeout: (loop: unknown) => number = call("int uv_backend_timeout(void* loop)");
  const backend: (loop: unknown) => number = call("int uv_backend_fd(void* loop)");
  return {
    epoll_create1: call("int epoll_create1(int flags)"),
    epoll_ctl: call("int epoll_ctl(int epoll, int operation, int descriptor, void* event)"),
    epoll_wait: call("int epoll_wait(int epoll, uintptr_t events, int count, int timeout)"),
    accept4: call("int accept4(int listening, void* address, void* length, int flags)"),
    recv: call("int recv(int socket, uintptr_t buffer, size_t length, int flags)"),
    send: call("int send(int socket, void* chunk, size_t length, int flags)"),
    shutdown: call("int shutdown(int socket, int how)"),
    close: call("int close(int descriptor)"),
    sched_yield: call("int sched_yield()"),
    fcntl: call("int fcntl(int descriptor, int command, ...)"),
    socketpair: call("int socketpair(int domain, int type, int protocol, void* pair)"),
    setsockopt: call("int setsockopt(int socket, int level, int option, void* value, uint32_t length)"),
    getpeername: call("int getpeername(int socket, void* address, void* length)"),
    getsockname: call("int getsockname(int socket, void* address, void* length)"),
    if_indextoname: call("const char* if_indextoname(unsigned int index, void* name)"),
    syscall: call(
      "int64_t syscall(long number, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e, uintptr_t f)",
    ),
    mmap: call(
      "int64_t mmap(uintptr_t address, size_t length, int protection, int flags, int descriptor, int64_t offset)",
    ),
    memoryAt: (address, length) => koffi.view(BigInt(address), length),
    errno: () => koffi.errno(),
    addressOf: (buffer) => Number(koffi.address(buffer)),
    backendDescriptor: () => backend(loop),
    backendTimeout: () => {
      updateTime(loop);
      return timeout(loop);
    },
  };
}
