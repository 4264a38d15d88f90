/**
 * Who waits for a caller's signal. Thousands of queries may share one, and an EventTarget looks through all of its
 * listeners for each that comes or goes: so a signal has one listener of ours, and that one has the list.
 */

interface Watch {
  readonly callbacks: Set<() => void>;
  readonly listener: () => void;
}

const watches = new WeakMap<AbortSignal, Watch>();

/** Calls `callback` once when the signal fires, in the order of the calls. Not if it has fired already. */
export function watchAbort(signal: AbortSignal, callback: () => void): void {
  let watch = watches.get(signal);
  if (watch === undefined) {
    const callbacks = new Set<() => void>();
    const listener = (): void => {
      watches.delete(signal);
      for (const fired of callbacks) fired();
    };
    watch = { callbacks, listener };
    watches.set(signal, watch);
    signal.addEventListener("abort", listener, { once: true });
  }
  watch.callbacks.add(callback);
}

/** Takes back what was asked of {@link watchAbort}; nothing of it is left on the signal. */
export function unwatchAbort(signal: AbortSignal, callback: () => void): void {
  const watch = watches.get(signal);
  if (watch?.callbacks.delete(callback) !== true || watch.callbacks.size > 0) return;
  watches.delete(signal);
  signal.removeEventListener("abort", watch.listener);
}
