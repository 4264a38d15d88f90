/** The end of a command that is over and has said what there is to say. */

/** Thrown by a command to end with an exit code of its own. Nothing more is printed. */
export class Exit extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit code ${exitCode}`);
    this.name = "Exit";
    this.exitCode = exitCode;
  }
}
