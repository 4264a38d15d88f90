/**
 * Whether a statement may end a transaction, and so commit it: asked of every Query and Parse, so that a client whose
 * server is lost before the answer can be told the truth. A look at the first letters is enough: COMMIT, END and
 * PREPARE TRANSACTION begin like nothing else but PREPARE. What begins with a comment, and what has a second statement
 * behind it, may hold anything. Saying yes too often costs a client a look at its data; saying no is a promise.
 */

/** `start`: of the text, which ends with a NUL before `end`. */
export function mayEndTransaction(buffer: Buffer, start: number, end: number): boolean {
  let at = start;
  while (at < end && isSpace(buffer[at] as number)) at++;
  if (end - at < 4) return false;
  const first = (buffer[at] as number) | 0x20;
  const second = (buffer[at + 1] as number) | 0x20;
  const third = (buffer[at + 2] as number) | 0x20;
  switch (first) {
    case 0x63: // c: COMMIT
      return second === 0x6f && third === 0x6d;
    case 0x65: // e: END
      return second === 0x6e && third === 0x64;
    case 0x70: // p: PREPARE TRANSACTION
      return second === 0x72 && third === 0x65;
    case 0x2f: // a comment
    case 0x2d:
      return true;
    default: {
      const semicolon = buffer.indexOf(0x3b, at);
      return semicolon >= 0 && semicolon < end - 2;
    }
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}
