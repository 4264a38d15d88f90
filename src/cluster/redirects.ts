/**
 * Redirects by database, user and application_name: whose reads go where, be it wholly or in part. The first that matches
 * decides, once per session. Writes are never redirected, and a redirect to a node that takes no reads is passed over.
 */
export interface Redirect {
  /** All that are given have to match. */
  readonly database: RegExp | undefined;
  readonly user: RegExp | undefined;
  readonly applicationName: RegExp | undefined;
  readonly to: RedirectTarget;
  /** Of the reads, from 0 to 1; the others are spread over the other nodes. */
  readonly share: number;
}

export type RedirectTarget =
  | { readonly kind: "node"; readonly name: string }
  | { readonly kind: "role"; readonly role: "primary" | "standby" };

export interface SessionNames {
  readonly database: string;
  readonly user: string;
  readonly applicationName: string;
}

export function redirectFor(redirects: readonly Redirect[], names: SessionNames): Redirect | undefined {
  return redirects.find(
    ({ database, user, applicationName }) =>
      matches(database, names.database) &&
      matches(user, names.user) &&
      matches(applicationName, names.applicationName),
  );
}

/** The whole name, as in pgpool-II's lists. */
function matches(pattern: RegExp | undefined, name: string): boolean {
  if (pattern === undefined) return true;
  pattern.lastIndex = 0;
  const [found] = pattern.exec(name) ?? [];
  return found === name;
}
