/** Whoever sends a request hears how it ended. */

/** Hears how a Parse, Close or Query ended, so that nobody believes in a statement that was never made. */
export interface RequestOutcome {
  /** If the server answers with this SQLSTATE: what goes to the client in place of its ErrorResponse. */
  readonly errorReply:
    | { readonly sqlstate: string; readonly inPlaceOf: (error: Buffer) => Buffer }
    | undefined;
  /** Carried out; of a Query: answered, be it with an error. */
  onDone(): void;
  /** The server refused it (`refused`), or skipped it after an earlier error, or is gone. */
  onFailed(refused: boolean): void;
  /** Of a Query of our own: the bytes of its rows, whole messages or parts, valid until the call returns. */
  onRow?(bytes: Buffer): void;
  /** Of a request of our own: its ErrorResponse, which goes nowhere else then. */
  onError?(error: Buffer): void;
}

/** For a request of our own whose failure changes nothing, and is told to nobody. */
export const unheard: RequestOutcome = {
  errorReply: undefined,
  onDone: () => undefined,
  onFailed: () => undefined,
  onError: () => undefined,
};
