import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { subjectCommonName } from "../../../src/auth/certificate.ts";
import { certificates } from "./certificates.ts";

test("the common name of node:tls's own object", () => {
  const certificate = new X509Certificate(certificates["rsa-sha256"] ?? Buffer.alloc(0)).toLegacyObject();
  expect(subjectCommonName(certificate)).toBe("rsa-sha256");
});

test.each([
  ["no certificate", undefined],
  ["an empty object, as Node gives for none", {}],
  ["a subject without a name", { subject: {} }],
  ["an empty name", { subject: { CN: "" } }],
  ["several names", { subject: { CN: ["alice", "bob"] } }],
  ["a zero byte", { subject: { CN: "alice\0.example" } }],
])("%s has no name", (_name, certificate) => {
  expect(subjectCommonName(certificate)).toBeUndefined();
});

test("blanks and case are part of the name", () => {
  expect(subjectCommonName({ subject: { CN: " Alice " } })).toBe(" Alice ");
});
