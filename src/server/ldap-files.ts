/** What the settings say of the directory that is asked by LDAP, read and checked before anybody logs in. */
import { readFile } from "node:fs/promises";
import { LdapOptionError, type LdapOptions, parseLdapOptions } from "../auth/ldap.ts";
import { OperationError } from "../base/errors.ts";
import type { Settings } from "../config/schema.ts";

export interface Directory {
  /** auth_ldap_options; undefined if there are none. */
  readonly ldap: LdapOptions | undefined;
  /** ldap_tls_ca_file, as PEM; undefined: the authorities that Node brings. */
  readonly ldapAuthorities: string | undefined;
}

/** Throws OperationError F0000 for options that make no sense, and for a file that cannot be read. */
export async function loadDirectory(settings: Settings): Promise<Directory> {
  const { auth_ldap_options: text, ldap_tls_ca_file: file } = settings;
  return {
    ldap: text === "" ? undefined : optionsOf(text),
    ldapAuthorities: file === "" ? undefined : await authoritiesOf(file),
  };
}

function optionsOf(text: string): LdapOptions {
  try {
    return parseLdapOptions(text);
  } catch (error) {
    if (!(error instanceof LdapOptionError)) throw error;
    throw unusable(`auth_ldap_options: ${error.message}`);
  }
}

async function authoritiesOf(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw unusable(`ldap_tls_ca_file ${file}: ${error instanceof Error ? error.message : "cannot be read"}`);
  }
}

function unusable(message: string): OperationError {
  return new OperationError(message, { code: "config.ldap", sqlstate: "F0000", source: "internal" });
}
