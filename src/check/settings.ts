/** Settings that are right by themselves, and yet do nothing or let nobody in. */
import type { Config, Settings } from "../config/schema.ts";
import type { Credentials } from "../server/credentials.ts";
import { type Report, warned } from "./finding.ts";

/** Methods by which a client shows a secret that must be stored here. */
const methodsWithSecrets: ReadonlySet<string> = new Set(["password", "md5", "scram-sha-256"]);

export function checkSettings(config: Config, credentials: Credentials, report: Report): void {
  const settings = config.pgsluice;
  const ineffective = (name: keyof Settings, condition: boolean, because: string, cure: string): void => {
    if (!condition || settings[name] === "") return;
    report(warned("settings.ineffective", `pgsluice.${name}`, `has no effect: ${because}`, cure));
  };
  const byRules = settings.auth_type === "hba";
  const type = `auth_type is "${settings.auth_type}"`;
  ineffective("auth_hba_file", !byRules, type, 'Set auth_type = "hba", or remove it.');
  ineffective("auth_ident_file", !byRules, type, 'Set auth_type = "hba", or remove it.');
  const noTls = settings.client_tls_sslmode === "disable";
  for (const name of ["client_tls_cert_file", "client_tls_key_file", "client_tls_ca_file"] as const)
    ineffective(name, noTls, "client_tls_sslmode is disable", "Set client_tls_sslmode, or remove it.");
  if (settings.auth_type === "trust") reportTrust(settings, report);
  reportUsers(config, credentials, report);
  for (const [name, node] of Object.entries(config.nodes)) {
    const used = Object.values(config.databases).some(({ node: own }) => own === name || own === "");
    if (used) continue;
    const problem =
      node.role === "standby" ? "statements are not routed to standbys yet" : "no database lives on it";
    report(
      warned(
        "settings.unused_node",
        `nodes.${name}`,
        problem,
        `Name it in a [databases.NAME], or leave it for later.`,
      ),
    );
  }
}

function reportTrust(settings: Settings, report: Report): void {
  const local = settings.listen_addr
    .split(",")
    .every(
      (address) => ["", "localhost", "::1"].includes(address.trim()) || address.trim().startsWith("127."),
    );
  if (local) return;
  const problem = `"trust" lets in whoever can reach ${settings.listen_addr}, under any name`;
  report(
    warned("settings.trust", "pgsluice.auth_type", problem, 'Use "scram-sha-256", or listen on 127.0.0.1.'),
  );
}

function reportUsers(config: Config, credentials: Credentials, report: Report): void {
  const { auth_type: type, admin_users: admins, stats_users: watchers } = config.pgsluice;
  if (!methodsWithSecrets.has(type)) return;
  if (looksUsersUp(config)) return;
  if (credentials.users.length === 0) {
    const cure = "Give auth_file, or a [users.NAME] with a password.";
    report(
      warned("settings.no_users", "pgsluice.auth_file", "no user has a secret: nobody can log in", cure),
    );
  }
  for (const [name, users] of [["admin_users", admins] as const, ["stats_users", watchers] as const]) {
    for (const user of users) {
      if (credentials.secretOf(user) !== undefined) continue;
      const problem = `${user} has no secret and cannot log in to the console`;
      report(
        warned("settings.no_secret", `pgsluice.${name}`, problem, `Add ${user} to auth_file or to [users].`),
      );
    }
  }
}

/** Users may be in PostgreSQL alone. */
function looksUsersUp({ pgsluice, databases }: Config): boolean {
  return (
    pgsluice.auth_user !== "" || Object.values(databases).some(({ auth_user: user }) => user !== undefined)
  );
}
