/**
 * Names and numbers of libpq's ConnStatusType (libpq-fe.h, PostgreSQL 18). All are here, because programs
 * compare with them; a machine of ours never reports SETENV, GSS_STARTUP, AUTHENTICATING, CHECK_TARGET,
 * CHECK_WRITABLE, CHECK_STANDBY or CONSUME as long as it has no GSSAPI, OAuth or session attributes to check.
 */

/** libpq's number of each status. */
export const connectionStatusNumber = {
  OK: 0,
  BAD: 1,
  STARTED: 2,
  MADE: 3,
  AWAITING_RESPONSE: 4,
  AUTH_OK: 5,
  SETENV: 6,
  SSL_STARTUP: 7,
  NEEDED: 8,
  CHECK_WRITABLE: 9,
  CONSUME: 10,
  GSS_STARTUP: 11,
  CHECK_TARGET: 12,
  CHECK_STANDBY: 13,
  ALLOCATED: 14,
  AUTHENTICATING: 15,
} as const;

/**
 * How far a connection has come: ALLOCATED a cancel not begun · NEEDED an address is looked for · STARTED
 * connecting · MADE connected, about to send · SSL_STARTUP TLS is agreed on or shaking hands ·
 * AWAITING_RESPONSE the startup packet or a proof is sent · AUTH_OK accepted, waiting for ReadyForQuery ·
 * OK and BAD the ends.
 */
export type ConnectionStatus = keyof typeof connectionStatusNumber;
