/** What `--upstream` names: libpq's connection strings, as far as a configuration can carry them. */
import { OperationError } from "../base/errors.ts";
import { connectOptionsFromConninfo, parseConninfo } from "../client/conninfo/conninfo.ts";
import type { Upstream } from "../config/load.ts";

/** The servers that one `--upstream` names; libpq's URLs may list several hosts. */
export function upstreamsOf(url: string): Upstream[] {
  const options = connectOptionsFromConninfo(url);
  const [further] = options.parameters;
  if (further !== undefined) {
    throw cannotCarry(further[0], "Clients give such parameters themselves when they connect.");
  }
  const given = parseConninfo(url);
  for (const [keyword, harmless] of withoutSetting) {
    const value = given.get(keyword) ?? "";
    if (value !== "" && value !== harmless) {
      throw cannotCarry(keyword, "The pooler has no such setting for its servers.");
    }
  }
  return options.hosts.map(({ host, port }) => ({
    host,
    port,
    user: options.user,
    password: options.password ?? process.env["PGPASSWORD"],
    sslmode: options.sslmode,
    sslrootcert: options.sslrootcert,
    sslcert: options.sslcert,
    sslkey: options.sslkey,
  }));
}

/** Parameters of libpq that nothing in our configuration stands for, with the value that asks for nothing. */
const withoutSetting = [
  ["fallback_application_name", ""],
  ["load_balance_hosts", "disable"],
  ["ssl_max_protocol_version", ""],
  ["ssl_min_protocol_version", "TLSv1.2"],
  ["sslcertmode", "allow"],
  ["sslcrl", ""],
  ["sslcrldir", ""],
  ["sslkeylogfile", ""],
  ["target_session_attrs", "any"],
] as const;

function cannotCarry(keyword: string, hint: string): OperationError {
  return new OperationError(`--upstream cannot carry "${keyword}"`, {
    code: "cli.upstream_parameter",
    sqlstate: "F0000",
    source: "internal",
    hint,
  });
}
