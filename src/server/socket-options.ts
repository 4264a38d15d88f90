/** What connections are told of TCP, by the settings. */
import type { KeepAlive } from "../base/descriptors.ts";
import type { Settings } from "../config/schema.ts";

export function keepAliveOf(settings: Settings): KeepAlive {
  return {
    enabled: settings.tcp_keepalive,
    idleSeconds: settings.tcp_keepidle,
    intervalSeconds: settings.tcp_keepintvl,
    count: settings.tcp_keepcnt,
    userTimeoutMs: settings.tcp_user_timeout,
  };
}
