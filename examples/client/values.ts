/** Default values, their alternatives, and a codec of one's own. */
import { connect, nonNull, type TypeCodec, TypeRegistry, types } from "pgsluice/client";

//#region extend
const registry = TypeRegistry.builtin.extend(
  types.int8AsNumber,
  types.timestamptzAsDate,
  types.numericAsNumber,
);
await using connection = await connect("", { types: registry });

const { rows } = await connection.query(
  "SELECT count(*) AS n, ARRAY[0.1, 0.2] AS list FROM generate_series(1, 3)",
);
console.log(rows); //=> [ { n: 3, list: [ 0.1, 0.2 ] } ]
//#endregion

//#region default
const exact = await connection.query(
  "SELECT 9007199254740993 AS int8, 0.10 AS numeric, '2026-01-31 12:00:00.123456Z'::timestamptz AS at",
  [],
  { types: TypeRegistry.builtin },
);
console.log(exact.rows[0]?.["int8"], exact.rows[0]?.["numeric"]); //=> 9007199254740993n 0.10
console.log(JSON.stringify(exact.rows[0]?.["at"])); //=> "2026-01-31T12:00:00.123456Z"
//#endregion

//#region codec
const point: TypeCodec<{ x: number; y: number }> = {
  ...types.point, // its name and object identifiers in pg_type
  decodeText: (buffer, start, end) => {
    const [x = 0, y = 0] = buffer
      .toString("latin1", start + 1, end - 1)
      .split(",")
      .map(Number);
    return { x, y };
  },
  decodeBinary: (buffer, start) => ({ x: buffer.readDoubleBE(start), y: buffer.readDoubleBE(start + 8) }),
  encode: (value) => {
    const { x, y } = value as { x: number; y: number };
    return `(${x},${y})`;
  },
};
const geometry = { types: TypeRegistry.builtin.extend(point) };
const moved = await connection.query(
  "SELECT $1::point + '(1,1)' AS to, point '(3,4)' AS here",
  [{ x: 1, y: 2 }],
  geometry,
);
console.log(moved.rows); //=> [ { to: { x: 2, y: 3 }, here: { x: 3, y: 4 } } ]
//#endregion

//#region enum
await connection.execute("CREATE TYPE pg_temp.mood AS ENUM ('sad', 'happy')");
const text = "SELECT ARRAY['sad', 'happy']::pg_temp.mood[] AS moods";
console.log((await connection.query(text)).rows); //=> [ { moods: '{sad,happy}' } ]

const found = await connection.query(
  "SELECT oid, typarray AS array FROM pg_type WHERE oid = 'pg_temp.mood'::regtype",
  [],
  { columns: { oid: nonNull(types.oid), array: nonNull(types.oid) } },
);
const moods = found.rows.map(({ oid, array }) => types.textual("mood", oid, array));
const felt = await connection.query(text, [], { types: TypeRegistry.builtin.extend(...moods) });
console.log(felt.rows); //=> [ { moods: [ 'sad', 'happy' ] } ]
//#endregion
