/**
 * Names and numbers of libpq's ConnStatusType (libpq-fe.h, PostgreSQL 18). All are here, because programs
 * compare with them; the machine never reports SETENV, which libpq keeps for old times' sake, nor GSS_STARTUP
 * and AUTHENTICATING, since it has neither GSSAPI nor OAuth.
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
 * CHECK_TARGET the session is judged, by target_session_attrs · CHECK_WRITABLE and CHECK_STANDBY a query has
 * to tell · CONSUME it has told · OK and BAD the ends.
 */
export type ConnectionStatus = keyof typeof connectionStatusNumber;
