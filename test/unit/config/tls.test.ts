/** What the settings of TLS versions, ciphers and key exchange become, and what is said about those that mean nothing. */
import { constants } from "node:crypto";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../../src/config/errors.ts";
import { checkConfig } from "../../../src/config/load.ts";
import { defaultSettings } from "../../../src/config/schema.ts";
import { clientTlsLimits, serverTlsLimits } from "../../../src/config/tls.ts";

const defaults = defaultSettings();
const usual = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";

describe.each(["client", "server"] as const)("%s", (side) => {
  const limits = (settings: Readonly<Record<string, string>>): ReturnType<typeof serverTlsLimits> => {
    const named = Object.fromEntries(
      Object.entries(settings).map(([name, text]) => [`${side}_tls${name}`, text]),
    );
    return side === "client"
      ? clientTlsLimits({ ...defaults, ...named })
      : serverTlsLimits({ ...defaults, ...named });
  };

  test.each([
    ["secure", "TLSv1.2", "TLSv1.3"],
    ["default", "TLSv1.2", "TLSv1.3"],
    ["all", "TLSv1", "TLSv1.3"],
    ["legacy", "TLSv1", "TLSv1.3"],
    ["tlsv1.3", "TLSv1.3", "TLSv1.3"],
    ["tlsv1.2, TLSv1.3", "TLSv1.2", "TLSv1.3"],
    ["tlsv1.0:tlsv1.1", "TLSv1", "TLSv1.1"],
    ["secure,!tlsv1.2", "TLSv1.3", "TLSv1.3"],
    ["!tlsv1.0", "TLSv1.1", "TLSv1.3"],
  ])("protocols %s", (text, minVersion, maxVersion) => {
    expect(limits({ _protocols: text })).toMatchObject({ minVersion, maxVersion });
  });

  test.each(["default", "secure", "fast", "normal", "Default", ""])("ciphers %j are Node's", (word) => {
    expect(limits({ _ciphers: word }).ciphers).toBeUndefined();
  });

  test.each([
    ["all", "ALL:!aNULL:!eNULL"],
    ["legacy", "HIGH:+3DES:!aNULL"],
    ["HIGH:!aNULL", "HIGH:!aNULL"],
    ["ECDHE-RSA-AES128-GCM-SHA256, AES128-SHA", "ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA"],
  ])("ciphers %s leave TLS 1.3 alone", (text, list) => {
    expect(limits({ _ciphers: text }).ciphers).toBe(`${usual}:${list}`);
  });

  test("ciphers of TLS 1.3 leave the older versions alone", () => {
    const { ciphers = "" } = limits({ "13_ciphers": "TLS_AES_128_GCM_SHA256" });
    expect(ciphers.split(":").filter((name) => name.startsWith("TLS_"))).toEqual(["TLS_AES_128_GCM_SHA256"]);
    expect(ciphers).toContain(":ECDHE-RSA-AES128-GCM-SHA256:");
  });

  test.each([
    ["_protocols", "tlsv1.4", /"tlsv1.4" is no version of TLS; there are tlsv1.0, /],
    ["_protocols", "", /"" is no version of TLS/],
    ["_protocols", "secure,!secure", /leaves no version of TLS/],
    ["_ciphers", "nonsense", /OpenSSL finds no cipher in "nonsense"/],
    ["_ciphers", "TLS_AES_128_GCM_SHA256", new RegExp(`belongs in ${side}_tls13_ciphers`)],
    ["13_ciphers", "AES128-SHA", /"AES128-SHA" is no cipher of TLS 1.3; there are TLS_AES_256_GCM_SHA384/],
  ])("%s = %j is refused at load", (name, text, problem) => {
    expect(problemsOf({ [`${side}_tls${name}`]: text })).toMatch(problem);
  });
});

test.each([
  ["secure", 0],
  ["tlsv1.1,tlsv1.3", constants.SSL_OP_NO_TLSv1_2],
  ["all,!tlsv1.1,!tlsv1.2", constants.SSL_OP_NO_TLSv1_1 | constants.SSL_OP_NO_TLSv1_2],
])("client_tls_protocols %s may have gaps", (client_tls_protocols, secureOptions) => {
  expect(clientTlsLimits({ ...defaults, client_tls_protocols }).secureOptions).toBe(secureOptions);
});

test.each([
  ["server_tls_protocols", "all,!tlsv1.2", /has a gap/],
  ["client_tls_ecdhcurve", "nonsense", /OpenSSL knows no curve "nonsense"/],
  ["client_tls_ecdhcurve", "none", /"none" is not possible/],
  ["client_tls_dheparams", "legacy", /"legacy" is refused: keys exchanged over 1024 bits/],
  ["client_tls_dheparams", "4096", /must be one of "auto", "none"/],
])("%s = %j is refused at load", (name, text, problem) => {
  expect(problemsOf({ [name]: text })).toMatch(problem);
});

test("client_tls_ecdhcurve and client_tls_dheparams", () => {
  expect(clientTlsLimits(defaults)).toMatchObject({ ecdhCurve: "auto", dhparam: "auto" });
  const settings = {
    ...defaults,
    client_tls_ecdhcurve: "X25519:secp384r1",
    client_tls_dheparams: "none" as const,
  };
  expect(clientTlsLimits(settings)).toMatchObject({ ecdhCurve: "X25519:secp384r1", dhparam: undefined });
});

function problemsOf(settings: Readonly<Record<string, string>>): string {
  try {
    checkConfig({ pgsluice: { auth_type: "trust", ...settings }, nodes: { main: {} } }, "/");
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  return "";
}
