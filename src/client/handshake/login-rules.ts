/**
 * What a server may send before its first ReadyForQuery, and how long each message may be. Anything else is
 * refused by its header alone, before a byte of it is kept. The bounds before the login are libpq's
 * (fe-connect.c, "Sanity-check the length").
 */
import { type PeerError, protocolViolation } from "../../base/errors.ts";
import { Backend, shortServerMessageBytesMax } from "../../wire/constants.ts";
import { FrameRules } from "../../wire/framer.ts";

/** Authentication and NegotiateProtocolVersion: 2,000 bytes, the length word included. */
const authenticationBytesMax = 2000 - 4;
/** What a server tells of itself after the login: a parameter or a notice may be long, but not boundless. */
export const reportBytesMax: number = 1024 * 1024;

/** Before AuthenticationOk. */
export const loginRules: FrameRules = new FrameRules(
  (type) => `expected authentication request from server, but received message type ${type}`,
  "server",
)
  .collect(Backend.authentication, authenticationBytesMax)
  .collect(Backend.negotiateProtocolVersion, authenticationBytesMax)
  .collect(Backend.errorResponse, shortServerMessageBytesMax);

/** From AuthenticationOk to ReadyForQuery. */
export const readyRules: FrameRules = new FrameRules(
  (type) => `unexpected message from server during startup: message type ${type}`,
  "server",
)
  .collect(Backend.parameterStatus, reportBytesMax)
  .collect(Backend.noticeResponse, reportBytesMax)
  .collect(Backend.errorResponse, reportBytesMax)
  .collect(Backend.backendKeyData, shortServerMessageBytesMax)
  .collect(Backend.readyForQuery, shortServerMessageBytesMax);

export function tooManyParameters(): PeerError {
  return protocolViolation("server reports too many parameters", { source: "server" });
}
