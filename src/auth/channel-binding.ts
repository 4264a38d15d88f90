/**
 * tls-server-end-point of RFC 5929: the hash of the server's certificate, by the hash function of the
 * certificate's own signature. Node does not tell a certificate's signature algorithm, so it is read from the
 * DER encoding here:
 *
 *     Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { OID, parameters }, BIT STRING }
 */
import { createHash } from "node:crypto";

const sequenceTag = 0x30;
const objectIdentifierTag = 0x06;
/** [0] of RSASSA-PSS-params: the hash function; absent means SHA-1 (RFC 4055 3.1). */
const hashAlgorithmTag = 0xa0;

/** RSASSA-PSS keeps its hash function in the parameters. */
const rsassaPss = "1.2.840.113549.1.1.10";

/** Signature algorithms and their hash functions; MD5 and SHA-1 give way to SHA-256 (RFC 5929 4.1). */
const hashOfSignature: ReadonlyMap<string, string> = new Map([
  ["1.2.840.113549.1.1.4", "sha256"], // md5WithRSAEncryption
  ["1.2.840.113549.1.1.5", "sha256"], // sha1WithRSAEncryption
  ["1.2.840.113549.1.1.11", "sha256"],
  ["1.2.840.113549.1.1.12", "sha384"],
  ["1.2.840.113549.1.1.13", "sha512"],
  ["1.2.840.113549.1.1.14", "sha224"],
  ["1.2.840.113549.1.1.15", "sha512-224"],
  ["1.2.840.113549.1.1.16", "sha512-256"],
  ["1.2.840.10045.4.1", "sha256"], // ecdsa-with-SHA1
  ["1.2.840.10045.4.3.1", "sha224"],
  ["1.2.840.10045.4.3.2", "sha256"],
  ["1.2.840.10045.4.3.3", "sha384"],
  ["1.2.840.10045.4.3.4", "sha512"],
  ["1.2.840.10040.4.3", "sha256"], // dsa-with-sha1
  ["2.16.840.1.101.3.4.3.1", "sha224"], // dsa-with-sha224
  ["2.16.840.1.101.3.4.3.2", "sha256"],
  ["2.16.840.1.101.3.4.3.3", "sha384"],
  ["2.16.840.1.101.3.4.3.4", "sha512"],
  ["2.16.840.1.101.3.4.3.9", "sha3-224"], // ecdsa-with-SHA3-224
  ["2.16.840.1.101.3.4.3.10", "sha3-256"],
  ["2.16.840.1.101.3.4.3.11", "sha3-384"],
  ["2.16.840.1.101.3.4.3.12", "sha3-512"],
  ["2.16.840.1.101.3.4.3.13", "sha3-224"], // rsassa-pkcs1-v1_5-with-sha3-224
  ["2.16.840.1.101.3.4.3.14", "sha3-256"],
  ["2.16.840.1.101.3.4.3.15", "sha3-384"],
  ["2.16.840.1.101.3.4.3.16", "sha3-512"],
]);

/** Hash functions as RSASSA-PSS names them. */
const hashOfDigest: ReadonlyMap<string, string> = new Map([
  ["1.3.14.3.2.26", "sha256"], // SHA-1
  ["2.16.840.1.101.3.4.2.1", "sha256"],
  ["2.16.840.1.101.3.4.2.2", "sha384"],
  ["2.16.840.1.101.3.4.2.3", "sha512"],
  ["2.16.840.1.101.3.4.2.4", "sha224"],
]);

/**
 * The data to bind a SCRAM exchange to, from a server's certificate in DER. Undefined if the certificate's
 * signature has no hash function of its own (Ed25519, Ed448), one we do not know, or if it cannot be read:
 * the exchange then goes on unbound, unless binding is required.
 */
export function tlsServerEndPoint(certificateDer: Buffer): Buffer | undefined {
  const hash = signatureHash(certificateDer);
  return hash === undefined ? undefined : createHash(hash).update(certificateDer).digest();
}

function signatureHash(der: Buffer): string | undefined {
  const certificate = readElement(der, sequenceTag);
  const toBeSigned = certificate && readElement(certificate.body, sequenceTag);
  const signature = toBeSigned && readElement(toBeSigned.rest, sequenceTag);
  const algorithm = signature && readObjectIdentifier(signature.body);
  if (algorithm === undefined) return undefined;
  return algorithm.name === rsassaPss ? pssHash(algorithm.rest) : hashOfSignature.get(algorithm.name);
}

function pssHash(parameters: Buffer): string | undefined {
  const fields = readElement(parameters, sequenceTag);
  if (fields === undefined) return undefined;
  if (fields.body.at(0) !== hashAlgorithmTag) return "sha256";
  const wrapper = readElement(fields.body, hashAlgorithmTag);
  const algorithm = wrapper && readElement(wrapper.body, sequenceTag);
  const digest = algorithm && readObjectIdentifier(algorithm.body);
  return digest && hashOfDigest.get(digest.name);
}

interface Element {
  readonly body: Buffer;
  /** What follows the element. */
  readonly rest: Buffer;
}

/** The first DER element of `data` if it has this tag; lengths of more than four bytes are not read. */
function readElement(data: Buffer, tag: number): Element | undefined {
  if (data.length < 2 || data.readUInt8(0) !== tag) return undefined;
  const short = data.readUInt8(1);
  let start = 2;
  let length = short;
  if (short >= 0x80) {
    const lengthBytes = short - 0x80;
    start += lengthBytes;
    if (lengthBytes < 1 || lengthBytes > 4 || data.length < start) return undefined;
    length = data.readUIntBE(2, lengthBytes);
  }
  const end = start + length;
  return end > data.length ? undefined : { body: data.subarray(start, end), rest: data.subarray(end) };
}

/** An OBJECT IDENTIFIER in dotted form: base 128, the first two numbers packed as 40 × first + second. */
function readObjectIdentifier(data: Buffer): { name: string; rest: Buffer } | undefined {
  const element = readElement(data, objectIdentifierTag);
  if (element === undefined || element.body.length === 0) return undefined;
  const numbers: number[] = [];
  let number = 0;
  for (const byte of element.body) {
    number = number * 128 + (byte & 0x7f);
    if (byte >= 0x80) continue;
    numbers.push(number);
    number = 0;
  }
  const [packed = 0, ...others] = numbers;
  const first = Math.min(Math.floor(packed / 40), 2);
  return { name: [first, packed - 40 * first, ...others].join("."), rest: element.rest };
}
