import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { distinguishedName, subjectCommonName } from "../../../src/auth/certificate.ts";
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

// As node:crypto gives them for certificates of which `openssl x509 -nameopt RFC2253` says the other thing.
test.each([
  ["CN=alice", "CN=alice"],
  [
    'C=DE\nO=Example\\, \\"Inc.\\" \\<x\\> \\; y\nOU=first\nOU=\\#second\nCN=Zoë + UID=zo\\\\e\nemailAddress=zoe@example.com',
    'emailAddress=zoe@example.com,UID=zo\\\\e+CN=Zo\\C3\\AB,OU=\\#second,OU=first,O=Example\\, \\"Inc.\\" \\<x\\> \\; y,C=DE',
  ],
  ["OU=\\ lead\nCN=a=b\\+c", "CN=a=b\\+c,OU=\\ lead"],
  ["O=line\\0Atwo\nCN=x \\ ", "CN=x \\ ,O=line\\0Atwo"],
])("distinguished name of %j", (subject, name) => {
  expect(distinguishedName(subject)).toBe(name);
});

test("no subject has no distinguished name", () => {
  expect(distinguishedName("")).toBeUndefined();
  expect(distinguishedName(undefined)).toBeUndefined();
});
