/** What a statement came to. */
import { headerBytes } from "../../wire/constants.ts";
import { decodeText } from "../../wire/text.ts";
import type { Column } from "./rows.ts";

export interface Result<Row> {
  /** The command tag without its numbers: `SELECT`, `INSERT`, `CREATE TABLE`; empty for an empty statement. */
  readonly command: string;
  /** Rows returned or affected; null where the command counts none. */
  readonly rowCount: number | null;
  readonly rows: Row[];
  /** Empty for a statement that returns no rows. */
  readonly columns: readonly Column[];
}

/** The tag of a CommandComplete, `buffer[start, end)`, taken apart: "INSERT 0 5" has counted 5. */
export function parseTag(
  buffer: Buffer,
  start: number,
  end: number,
): { readonly command: string; readonly rowCount: number | null } {
  // The commonest tags are short and end in a number: their digits are read in place.
  let position = end - 2; // before the NUL
  let rowCount = 0;
  let scale = 1;
  while (position > start + headerBytes) {
    const digit = (buffer[position] as number) - 0x30;
    if (digit < 0 || digit > 9) break;
    rowCount += digit * scale;
    scale *= 10;
    position--;
  }
  if (scale === 1 || buffer[position] !== 0x20) {
    return {
      command: decodeText(buffer, start + headerBytes, Math.max(end - 1, start + headerBytes)),
      rowCount: null,
    };
  }
  let commandEnd = position;
  // "INSERT 0 5": the number in between is a relic (docs 54.7 CommandComplete).
  if (buffer[commandEnd - 1] === 0x30 && buffer[commandEnd - 2] === 0x20) commandEnd -= 2;
  return { command: commandName(buffer, start + headerBytes, commandEnd), rowCount };
}

const selectBytes = Buffer.from("SELECT");

function commandName(buffer: Buffer, start: number, end: number): string {
  const isSelect = end - start === 6 && buffer.compare(selectBytes, 0, 6, start, end) === 0;
  return isSelect ? "SELECT" : decodeText(buffer, start, end);
}
