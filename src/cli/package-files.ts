/** Files of the package that its commands name. */

/** Where editors find the JSON Schema of pgsluice.toml: in the package that this program belongs to. */
export const schemaUrl: string = new URL("../../docs/pgsluice.schema.json", import.meta.url).href;
