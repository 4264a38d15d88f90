/**
 * The statements in a client's messages: what each of them may do, and where its text is. It is found again in the
 * Bind of a statement that was prepared.
 */
import type { ParameterVector } from "../../pool/parameters.ts";
import type { SharedStatement } from "../../pool/prepared.ts";
import { type LexicalSettings, ShapeTrail } from "../../sql/index.ts";
import { indexOfNul } from "../../wire/c-string.ts";
import { Frontend, headerBytes } from "../../wire/constants.ts";
import type { ClientStatements } from "../statements.ts";
import type { AutoDatabase } from "./database.ts";
import { type Knowledge, unknownStatement } from "./knowledge.ts";
import { lexicalSettings } from "./settings.ts";

const nothing: Buffer = Buffer.alloc(0);

/** Made the unnamed statement: what that may do was seen. Sent a Flush. */
const Done = { madeUnnamed: 1, flushed: 2 } as const;

export class ClientTexts {
  readonly #parameters: ParameterVector;
  readonly #database: AutoDatabase;
  readonly #statements: ClientStatements;
  /** How the client's texts are read, and of which settings that is true. */
  #lexicalSettings: LexicalSettings | undefined;
  #lexicalVersion: object | undefined;
  /** Of the last statement with which there is something special: its text, as far as it is there. */
  #buffer = nothing;
  #start = 0;
  #end = 0;
  #whole = false;
  /** Where the name begins that it is given by a Parse; 0: the message is another one. */
  #name = 0;
  /** What the batch at hand has done so far. */
  #done = 0;
  /** The last COPY, as much of it as is told to operators. */
  copy = "";
  /** What was bound last; undefined: the unnamed statement. */
  #bound: SharedStatement | undefined;
  readonly #trail = new ShapeTrail();

  constructor(parameters: ParameterVector, database: AutoDatabase, statements: ClientStatements) {
    this.#parameters = parameters;
    this.#database = database;
    this.#statements = statements;
  }

  /** No more than `bytesMax` of the text of that statement. */
  text(bytesMax: number): string {
    return this.#buffer.toString("utf8", this.#start, Math.min(this.#end, this.#start + bytesMax));
  }

  /** The text of the statement that was bound last. */
  get bound(): string {
    const body = this.#bound?.body ?? Buffer.from(this.#statements.unnamed ?? "\0", "latin1");
    return body.toString("utf8", 0, body.indexOf(0));
  }

  /** All of it, if that is there and read in the usual way. */
  get whole(): Buffer | undefined {
    if (!this.#whole || this.#lexical() !== undefined) return undefined;
    return this.#buffer.subarray(this.#start, this.#end);
  }

  /** It is in a Parse of a name that is taken: it is refused, unless unseen code drops what has the name. */
  get parsesTaken(): boolean {
    return this.#name > 0 && this.#statements.findAt(this.#buffer, this.#name, this.#start - 1) !== undefined;
  }

  /** The bytes of the text are not held on to. */
  forget(): void {
    this.#buffer = nothing;
  }

  /** What the statement in a message may do; undefined: there is none. `whole`: the message is not only the first part. */
  read(type: number, buffer: Buffer, start: number, end: number, whole: boolean): Knowledge | undefined {
    this.#name = type === Frontend.parse ? start + headerBytes : 0;
    switch (type) {
      case Frontend.query:
        this.#done = 0;
        return this.#of(buffer, start + headerBytes, end - 1, whole);
      case Frontend.sync:
        this.#done = 0;
        return undefined;
      case Frontend.parse: {
        if (buffer[start + headerBytes] === 0) this.#done |= Done.madeUnnamed;
        const text = indexOfNul(buffer, start + headerBytes) + 1;
        const textEnd = buffer.indexOf(0, text);
        const complete = text > 0 && textEnd >= text && textEnd < end;
        return this.#of(buffer, text, complete ? textEnd : end, complete);
      }
      case Frontend.bind:
        return this.#ofBound(buffer, start, end);
      case Frontend.functionCall:
        return this.unknown();
      case Frontend.flush:
        this.#countFlush();
        return undefined;
      default:
        return undefined;
    }
  }

  #countFlush(): void {
    if ((this.#done & Done.flushed) === 0) this.#database.passed.portal++;
    this.#done |= Done.flushed;
  }

  /** Of a statement without a text. */
  unknown(): Knowledge {
    return this.#of(nothing, 0, 0, false);
  }

  #of(buffer: Buffer, start: number, end: number, known: boolean): Knowledge {
    const knowledge = known ? this.#ofText(buffer, start, end) : unknownStatement;
    if (knowledge.special) this.#keep(buffer, start, end, known);
    return knowledge;
  }

  #ofText(buffer: Buffer, start: number, end: number): Knowledge {
    const settings = this.#lexical();
    return settings === undefined
      ? this.#database.ofUsualText(buffer, start, end, this.#trail)
      : this.#database.ofText(buffer, start, end, settings);
  }

  #keep(buffer: Buffer, start: number, end: number, whole: boolean): void {
    this.#buffer = buffer;
    this.#start = start;
    this.#end = end;
    this.#whole = whole;
  }

  /** The statement that a Bind names. One that is being made in the same batch was seen at its Parse. */
  #ofBound(buffer: Buffer, start: number, end: number): Knowledge | undefined {
    const name = indexOfNul(buffer, start + headerBytes) + 1;
    const nameEnd = indexOfNul(buffer, name);
    if (name <= 0 || nameEnd < 0 || nameEnd >= end) return undefined;
    if (name === nameEnd) {
      this.#bound = undefined;
      if ((this.#done & Done.madeUnnamed) !== 0) return undefined;
      const text = Buffer.from(this.#statements.unnamed ?? "\0", "latin1");
      return this.#of(text, 0, text.indexOf(0), this.#statements.unnamed !== undefined);
    }
    const statement = this.#statements.findAt(buffer, name, nameEnd);
    // A name that is not ours may be one of SQL's PREPARE.
    if (statement === undefined) return this.#statements.preparedBySql() ? this.unknown() : undefined;
    this.#bound = statement;
    const { body } = statement;
    const knowledge = this.#database.ofStatement(statement, this.#lexical());
    if (knowledge.special) this.#keep(body, 0, body.indexOf(0), true);
    return knowledge;
  }

  #lexical(): LexicalSettings | undefined {
    const { version } = this.#parameters;
    if (version !== this.#lexicalVersion) {
      this.#lexicalVersion = version;
      this.#lexicalSettings = lexicalSettings(this.#parameters);
    }
    return this.#lexicalSettings;
  }
}
