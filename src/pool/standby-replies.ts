/**
 * What a standby's replies to a plain read say of whether another node has to answer it: as long as nothing has come but
 * announcements, an error may still follow that the primary would not have.
 */
import { Backend, headerBytes } from "../wire/constants.ts";
import { sqlstateOf } from "../wire/fields.ts";

/**
 * Classes of errors that a primary may not have: cancelled for recovery (40001), refused during recovery (25006, 0A000),
 * names that replication has not brought yet (42, 3F), no resources, a broken node.
 */
const standbysOwn = /^(?:40|25|0A|42|3F|53|58|XX)/;

/** What may come before it is known whether a statement fails, with types of messages that are small. */
const announcements: ReadonlySet<number> = new Set([
  Backend.parseComplete,
  Backend.bindComplete,
  Backend.parameterDescription,
  Backend.noData,
  Backend.rowDescription,
]);

/** Whether replies, from the beginning of a unit on, are whole messages that only announce what comes. */
export function onlyAnnounces(bytes: Buffer): boolean {
  let at = 0;
  while (at + headerBytes <= bytes.length && announcements.has(bytes[at] as number)) {
    at += 1 + bytes.readInt32BE(at + 1);
  }
  // What comes behind the part of a message is no message.
  return at === bytes.length;
}

/** Whether a whole message is an error that may be the standby's own. */
export function isStandbysOwnError(message: Buffer): boolean {
  return message[0] === Backend.errorResponse && standbysOwn.test(sqlstateOf(message, 0, message.length));
}
