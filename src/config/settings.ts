/**
 * The settings of the table [pgsluice], each written down once, in the file of its group in settings/. Names,
 * meanings and defaults are PgBouncer's unless the text says otherwise; times are seconds.
 *
 * Plain data: what is derived from it is listed in declare.ts.
 */
import type { DeclarationTable } from "./declare.ts";
import { authentication } from "./settings/authentication.ts";
import { clients } from "./settings/clients.ts";
import { discovery } from "./settings/discovery.ts";
import { encryption } from "./settings/encryption.ts";
import { listening } from "./settings/listening.ts";
import { logging } from "./settings/logging.ts";
import { nodes } from "./settings/nodes.ts";
import { pooling } from "./settings/pooling.ts";
import { processes } from "./settings/processes.ts";
import { servers } from "./settings/servers.ts";

/** Everything in [pgsluice], in the order of docs/config.md. */
export const settings: typeof listening &
  typeof pooling &
  typeof servers &
  typeof nodes &
  typeof discovery &
  typeof clients &
  typeof authentication &
  typeof encryption &
  typeof processes &
  typeof logging = {
  ...listening,
  ...pooling,
  ...servers,
  ...nodes,
  ...discovery,
  ...clients,
  ...authentication,
  ...encryption,
  ...processes,
  ...logging,
};

/** The headings of docs/config.md, with the settings under each. */
export const settingGroups: readonly { readonly title: string; readonly table: DeclarationTable }[] = [
  { title: "Where clients connect", table: listening },
  { title: "Pools", table: pooling },
  { title: "Connections to PostgreSQL", table: servers },
  { title: "Several nodes", table: nodes },
  { title: "Nodes that are found", table: discovery },
  { title: "Time limits of clients", table: clients },
  { title: "Logging in", table: authentication },
  { title: "TLS", table: encryption },
  { title: "The process", table: processes },
  { title: "Logging", table: logging },
];
