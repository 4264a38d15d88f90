/** Constants of Linux (asm-generic; the same on all its processors that koffi knows, but for the layout of an event). */

/** epoll.h */
export const epollIn = 0x1;
export const epollOut = 0x4;
export const epollError = 0x8;
export const epollHangUp = 0x10;
export const epollAdd = 1;
export const epollDelete = 2;
export const epollModify = 3;
export const epollCloseOnExec = 0o2000000;

/** Bytes of a `struct epoll_event`, which is packed on x86-64 only (epoll.h), and where its data begins. */
const packed = process.arch === "x64";
export const eventBytes: number = packed ? 12 : 16;
export const eventDataOffset: number = packed ? 4 : 8;

/** fcntl.h, socket.h */
export const duplicateCloseOnExec = 1030;
export const unixDomain = 1;
export const ipv4Domain = 2;
export const ipv6Domain = 10;
export const streamSocket = 1;
export const nonBlocking = 0o4000;
export const closeOnExec = 0o2000000;
export const noSignal = 0x4000;
export const dontWait = 0x40;
export const shutdownWrite = 1;

/** Options: socket.h, tcp.h. */
export const socketLevel = 1;
export const keepAliveOption = 9;
export const tcpLevel = 6;
export const noDelayOption = 1;
export const keepIdleOption = 4;
export const keepIntervalOption = 5;
export const keepCountOption = 6;
export const userTimeoutOption = 18;
