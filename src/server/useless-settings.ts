/** Warns of what is set, and has no effect here. */
import type { HostBasedRules } from "../auth/hba/hba.ts";
import { currentDescriptors } from "../base/descriptors.ts";
import type { Logger } from "../base/log.ts";
import type { Settings } from "../config/schema.ts";
import { uselessRules } from "./hba.ts";

export function warnOfUseless(logger: Logger, given: HostBasedRules | undefined, settings: Settings): void {
  const rules = uselessRules(given, settings);
  if (rules.length > 0) logger.warn({ rules }, "hostssl rules fit nobody: client_tls_sslmode is disable");
  const options =
    currentDescriptors() === undefined ? byDescriptors.filter((name) => settings[name] > 0) : [];
  if (options.length === 0) return;
  const because = settings.epoll ? "epoll cannot be used here" : "epoll is off";
  logger.warn({ settings: options }, `TCP settings have no effect: ${because}, and Node cannot set them`);
}

const byDescriptors = ["tcp_keepintvl", "tcp_keepcnt", "tcp_user_timeout"] as const;
