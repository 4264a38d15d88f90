/**
 * Lets something of the pooler's own fail within a client's transaction, and that go on: behind each attempt the server goes back to a
 * savepoint. By the extended protocol and names of our own, because a Query would take the client's unnamed portal away.
 */
import { statementNamePrefix } from "../pool/prepared.ts";
import { Request } from "../pool/replies.ts";
import { encodeFrontend } from "../wire/encode-frontend.ts";
import type { FrontendMessage } from "../wire/messages.ts";

/** A message, and what it asks of the server. */
export type OwnRequest = readonly [Request, Buffer];

const name = `${statementNamePrefix}savepoint`;

/** In the write before the first attempt. */
export const savepointBegin: readonly OwnRequest[] = running(`savepoint ${name}`);
/** Behind the Sync or Query of each attempt; ends with a Sync. */
export const savepointBack: readonly OwnRequest[] = running(`rollback to savepoint ${name}`);
/** Behind the last one; ends with a Sync. */
export const savepointEnd: readonly OwnRequest[] = running(`release savepoint ${name}`);

function running(sql: string): readonly OwnRequest[] {
  const bind = {
    kind: "Bind",
    portal: name,
    statement: name,
    formats: [],
    values: [],
    resultFormats: [],
  } as const;
  return [
    request(Request.parse, { kind: "Parse", name, sql, types: [] }),
    request(Request.bind, bind),
    request(Request.execute, { kind: "Execute", portal: name, maxRows: 0 }),
    request(Request.close, { kind: "Close", target: "portal", name }),
    request(Request.close, { kind: "Close", target: "statement", name }),
    request(Request.sync, { kind: "Sync" }),
  ];
}

function request(kind: Request, message: FrontendMessage): OwnRequest {
  return [kind, encodeFrontend(message)];
}
