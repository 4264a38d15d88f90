/** What kind of character each byte is, for scanners: `others`, but for those named, and `high` above ASCII. */
export function byteTable(
  others: number,
  high: number,
  kinds: readonly (readonly [characters: string, kind: number])[],
): Uint8Array {
  const table = new Uint8Array(256).fill(others);
  for (const [characters, kind] of kinds) {
    for (const character of characters) table[character.charCodeAt(0)] = kind;
  }
  return table.fill(high, 128);
}
