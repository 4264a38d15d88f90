/** Statements of the pooler's own that are run by the extended protocol, where a Query would end the client's batch or take its unnamed portal away. */
import { Request } from "../pool/replies.ts";
import { encodeFrontend } from "../wire/encode-frontend.ts";
import type { FrontendMessage } from "../wire/messages.ts";

/** A message, and what it asks of the server. */
export type OwnRequest = readonly [Request, Buffer];

/** Runs `sql` by a statement and a portal of this name, and leaves neither behind unless it fails. Without a Sync. */
export function ownStatement(name: string, sql: string): readonly OwnRequest[] {
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
  ];
}

function request(kind: Request, message: FrontendMessage): OwnRequest {
  return [kind, encodeFrontend(message)];
}
