/**
 * Prints messages as libpq's PQtrace does (fe-trace.c of PostgreSQL 18): per message one line of direction
 * (F from the frontend, B from the backend), length without the type byte, name, and the fields, each behind
 * a space, with tabs between the parts and the time in front if asked for.
 *
 *     F	4	Sync
 *     B	5	ReadyForQuery	 I
 *
 * Two differences, both meant: secrets (passwords, SASL data, cancel keys) are masked unless `secrets` is
 * set, with the words of regress mode; and a cancel key of protocol 3.2 is printed as bytes, of which libpq
 * 18 shows the first four and then complains about the length.
 */
import { PeerError } from "../base/errors.ts";
import {
  AuthenticationCode,
  Backend,
  cancelRequestCode,
  Frontend,
  gssencRequestCode,
  headerBytes,
  sslRequestCode,
} from "./constants.ts";
import { Line } from "./trace-line.ts";

export interface TraceOptions {
  /** The time of each message; none is printed without it (PQTRACE_SUPPRESS_TIMESTAMPS). */
  readonly now?: () => Date;
  /** Masks what differs between runs: OIDs, process ids, places in the server's source (PQTRACE_REGRESS_MODE). */
  readonly regress?: boolean;
  /** Prints passwords, SASL data and cancel keys as libpq does. Never in a log. */
  readonly secrets?: boolean;
}

/** Prints one connection. It remembers which authentication the server asked for, to name the answer. */
export class Tracer {
  readonly #options: TraceOptions;
  /** Code of the last Authentication message that waits for an answer. */
  #asked: number = AuthenticationCode.ok;

  constructor(options: TraceOptions = {}) {
    this.#options = options;
  }

  /** A whole message of the client, `buffer[start, end)`, header included. Returns its line with the newline. */
  frontend(buffer: Buffer, start = 0, end: number = buffer.length): string {
    return this.#typed("F", buffer, start, end);
  }

  /** A whole message of the server. */
  backend(buffer: Buffer, start = 0, end: number = buffer.length): string {
    return this.#typed("B", buffer, start, end);
  }

  /** A packet of the startup phase: StartupMessage, SSLRequest, GSSENCRequest, CancelRequest. */
  startup(buffer: Buffer, start = 0, end: number = buffer.length): string {
    const line = this.#line(buffer, start + 4, end);
    line.write(`F\t${buffer.readInt32BE(start)}\t`);
    return finish(line, () => printStartup(line, buffer, start, end));
  }

  /** The one byte that answers a request for encryption; `request` is `SSLResponse` or `GSSENCResponse`. */
  response(request: string, byte: number): string {
    return `${this.#time()}B\t1\t${request}\t ${String.fromCharCode(byte)}\n`;
  }

  #typed(direction: "F" | "B", buffer: Buffer, start: number, end: number): string {
    const type = buffer.readUInt8(start);
    const line = this.#line(buffer, start + headerBytes, end);
    const isError = direction === "B" && (type === Backend.errorResponse || type === Backend.noticeResponse);
    const length = isError && line.regress ? "NN" : String(end - start - 1);
    line.write(`${direction}\t${length}\t`);
    const print = direction === "F" ? printersFrontend.get(type) : printersBackend.get(type);
    return finish(line, () => {
      if (type === Frontend.password && direction === "F") this.#printAnswer(line);
      else if (type === Backend.authentication && direction === "B") this.#asked = printAuthentication(line);
      else if (print !== undefined) print(line);
      else line.write(`Unknown message: ${type.toString(16).padStart(2, "0")}`);
    });
  }

  /** PasswordMessage and its siblings share a letter; what the server asked for tells them apart. */
  #printAnswer(line: Line): void {
    const asked = this.#asked;
    this.#asked = AuthenticationCode.ok;
    switch (asked) {
      case AuthenticationCode.cleartextPassword:
      case AuthenticationCode.md5Password:
        line.name("PasswordMessage").string(line.hidesSecrets);
        return;
      case AuthenticationCode.sasl:
        line
          .name("SASLInitialResponse")
          .string(false)
          .sized(line.hidesSecrets || line.regress);
        return;
      case AuthenticationCode.saslContinue:
        line.name("SASLResponse").rest(line.hidesSecrets || line.regress);
        return;
      case AuthenticationCode.gss:
      case AuthenticationCode.gssContinue:
      case AuthenticationCode.sspi:
        line.name("GSSResponse").rest(line.hidesSecrets || line.regress);
        return;
      default:
        line.write("UnknownAuthenticationResponse");
    }
  }

  #line(buffer: Buffer, start: number, end: number): Line {
    const regress = this.#options.regress ?? false;
    const line = new Line(buffer, start, end, regress, !(this.#options.secrets ?? false));
    return line.write(this.#time());
  }

  #time(): string {
    const now = this.#options.now?.();
    return now === undefined ? "" : `${localTime(now)}\t`;
  }
}

type Printer = (line: Line) => void;

const nameOnly =
  (name: string): Printer =>
  (line) => {
    line.write(name);
  };
const oneString =
  (name: string): Printer =>
  (line) => {
    line.name(name).string(false);
  };
const targetAndName =
  (name: string): Printer =>
  (line) => {
    line.name(name).byte();
    line.string(false);
  };
const copyFormats =
  (name: string): Printer =>
  (line) => {
    line.name(name).byte();
    line.counted(() => line.int16());
  };
const copyData: Printer = (line) => {
  line.name("CopyData").rest(line.regress);
};

const printersFrontend: ReadonlyMap<number, Printer> = new Map<number, Printer>([
  [Frontend.query, oneString("Query")],
  [Frontend.parse, printParse],
  [Frontend.bind, printBind],
  [Frontend.describe, targetAndName("Describe")],
  [
    Frontend.execute,
    (line): void => {
      line.name("Execute").string(false).int32(false);
    },
  ],
  [Frontend.close, targetAndName("Close")],
  [Frontend.flush, nameOnly("Flush")],
  [Frontend.sync, nameOnly("Sync")],
  [Frontend.functionCall, printFunctionCall],
  [Frontend.copyData, copyData],
  [Frontend.copyDone, nameOnly("CopyDone")],
  [Frontend.copyFail, oneString("CopyFail")],
  [Frontend.terminate, nameOnly("Terminate")],
]);

const printersBackend: ReadonlyMap<number, Printer> = new Map<number, Printer>([
  [Backend.parseComplete, nameOnly("ParseComplete")],
  [Backend.bindComplete, nameOnly("BindComplete")],
  [Backend.closeComplete, nameOnly("CloseComplete")],
  [
    Backend.notificationResponse,
    (line): void => {
      line.name("NotificationResponse").int32(line.regress).string(false).string(false);
    },
  ],
  [Backend.commandComplete, oneString("CommandComplete")],
  [
    Backend.dataRow,
    (line): void => {
      line.name("DataRow").counted(() => line.sized(false));
    },
  ],
  [Backend.errorResponse, printFields("ErrorResponse")],
  [Backend.noticeResponse, printFields("NoticeResponse")],
  [Backend.copyInResponse, copyFormats("CopyInResponse")],
  [Backend.copyOutResponse, copyFormats("CopyOutResponse")],
  [Backend.copyBothResponse, copyFormats("CopyBothResponse")],
  [Backend.emptyQueryResponse, nameOnly("EmptyQueryResponse")],
  [
    Backend.backendKeyData,
    (line): void => {
      line.name("BackendKeyData").int32(line.regress).key();
    },
  ],
  [
    Backend.parameterStatus,
    (line): void => {
      line.name("ParameterStatus").string(false).string(false);
    },
  ],
  [Backend.rowDescription, printRowDescription],
  [
    Backend.functionCallResponse,
    (line): void => {
      line.name("FunctionCallResponse").sized(false);
    },
  ],
  [
    Backend.readyForQuery,
    (line): void => {
      line.name("ReadyForQuery").byte();
    },
  ],
  [Backend.copyDone, nameOnly("CopyDone")],
  [Backend.copyData, copyData],
  [Backend.noData, nameOnly("NoData")],
  [Backend.portalSuspended, nameOnly("PortalSuspended")],
  [
    Backend.parameterDescription,
    (line): void => {
      line.name("ParameterDescription").counted(() => line.int32(line.regress));
    },
  ],
  [Backend.negotiateProtocolVersion, printNegotiateProtocolVersion],
]);

function printParse(line: Line): void {
  line.name("Parse").string(false).string(false);
  line.counted(() => line.int32(line.regress));
}

function printBind(line: Line): void {
  line.name("Bind").string(false).string(false);
  line.counted(() => line.int16());
  line.counted(() => line.sized(false));
  line.counted(() => line.int16());
}

function printFunctionCall(line: Line): void {
  line.name("FunctionCall").int32(line.regress);
  line.counted(() => line.int16());
  line.counted(() => line.sized(false));
  line.int16();
}

function printRowDescription(line: Line): void {
  line.name("RowDescription").counted(() => {
    line.string(false).int32(line.regress).int16();
    line.int32(line.regress).int16();
    line.int32(false).int16();
  });
}

function printNegotiateProtocolVersion(line: Line): void {
  line.name("NegotiateProtocolVersion").int32(false);
  const count = line.peekInt32();
  line.int32(false);
  for (let index = 0; index < count; index += 1) line.string(false);
}

/** File, line and routine change with the server's source: masked in regress mode. */
function printFields(name: string): Printer {
  return (line) => {
    line.name(name);
    for (let letter = line.byte(); letter !== 0; letter = line.byte()) {
      const isPlace = letter === 0x46 || letter === 0x4c || letter === 0x52; // F, L, R
      line.string(line.regress && isPlace);
    }
  };
}

/** Prints an Authentication message and answers its code. */
function printAuthentication(line: Line): number {
  const code = line.readInt32();
  const masked = line.regress || line.hidesSecrets;
  switch (code) {
    case AuthenticationCode.ok:
      line.write("AuthenticationOk");
      break;
    case AuthenticationCode.cleartextPassword:
      line.write("AuthenticationCleartextPassword");
      break;
    case AuthenticationCode.md5Password:
      // The salt is not printed; libpq leaves its four bytes over and says so.
      line.write("AuthenticationMD5Password");
      break;
    case AuthenticationCode.gss:
      line.write("AuthenticationGSS");
      break;
    case AuthenticationCode.gssContinue:
      line.name("AuthenticationGSSContinue").rest(masked);
      break;
    case AuthenticationCode.sspi:
      line.write("AuthenticationSSPI");
      break;
    case AuthenticationCode.sasl:
      line.name("AuthenticationSASL");
      while (line.peekByte() !== 0) line.string(false);
      line.string(false);
      break;
    case AuthenticationCode.saslContinue:
      line.name("AuthenticationSASLContinue").rest(masked);
      break;
    case AuthenticationCode.saslFinal:
      line.name("AuthenticationSASLFinal").rest(masked);
      break;
    default:
      line.write(`Unknown authentication message ${code}`);
  }
  return code;
}

/** libpq does not compare lengths here; neither do we, and pass over what is left. */
function printStartup(line: Line, buffer: Buffer, start: number, end: number): void {
  const version = end - start < 8 ? undefined : buffer.readInt32BE(start + 4);
  if (version === undefined) {
    line.write("Unknown message");
  } else if (version === cancelRequestCode && end - start >= 16) {
    line.name("CancelRequest").int16().int16().int32(line.regress).key();
  } else if (version === sslRequestCode) {
    line.name("SSLRequest").int16().int16();
  } else if (version === gssencRequestCode) {
    line.name("GSSENCRequest").int16().int16();
  } else {
    line.name("StartupMessage").int16().int16();
    while (line.peekByte() !== 0) line.string(false).string(false);
  }
  line.skip();
}

/** Ends the line. What does not add up is said on a second one, as in libpq. */
function finish(line: Line, print: () => void): string {
  try {
    print();
  } catch (error) {
    if (!(error instanceof PeerError)) throw error;
    return `${line.text}\nmalformed message: ${error.message}\n`;
  }
  return `${line.text}\n${line.mismatch}`;
}

/** libpq prints local time with microseconds; a Date has milliseconds. */
function localTime(now: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const date = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  const time = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
  return `${date} ${time}.${String(now.getMilliseconds() * 1000).padStart(6, "0")}`;
}
