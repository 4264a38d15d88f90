/**
 * Lets something of the pooler's own fail within a client's transaction, and that go on: behind each attempt the server goes back to a
 * savepoint. By the extended protocol and names of our own, because a Query would take the client's unnamed portal away.
 */
import { statementNamePrefix } from "../pool/prepared.ts";
import { Request } from "../pool/replies.ts";
import { encodeFrontend } from "../wire/encode-frontend.ts";
import { type OwnRequest, ownStatement } from "./own-requests.ts";

const name = `${statementNamePrefix}savepoint`;

/** In the write before the first attempt. */
export const savepointBegin: readonly OwnRequest[] = running(`savepoint ${name}`);
/** Behind the Sync or Query of each attempt; ends with a Sync. */
export const savepointBack: readonly OwnRequest[] = running(`rollback to savepoint ${name}`);
/** Behind the last one; ends with a Sync. */
export const savepointEnd: readonly OwnRequest[] = running(`release savepoint ${name}`);

function running(sql: string): readonly OwnRequest[] {
  return [...ownStatement(name, sql), [Request.sync, encodeFrontend({ kind: "Sync" })]];
}
