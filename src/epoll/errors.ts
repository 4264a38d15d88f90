import { constants } from "node:os";

/** The kernel has nothing, or takes nothing, at this moment. */
export const againCode: number = constants.errno.EAGAIN;
/** A signal came first. */
export const interruptedCode: number = constants.errno.EINTR;
/** Who connected has gone before it was accepted. */
export const abortedCode: number = constants.errno.ECONNABORTED;
/** The process, or the system, has no descriptors left. */
export const noDescriptorsCodes: ReadonlySet<number> = new Set([
  constants.errno.EMFILE,
  constants.errno.ENFILE,
]);
