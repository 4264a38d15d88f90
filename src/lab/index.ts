/** The lab's public surface, sub-path `pgsluice/lab`: embedded PostgreSQL, certificates, faults on the way. */
export {
  type Certificate,
  CertificateAuthority,
  type CertificateRequest,
  type KeyType,
  type LabCertificates,
  makeCertificates,
} from "./certificates.ts";
export type { PostgresSettings } from "./data-folder.ts";
export { FaultProxy, type Faults, type FaultTarget } from "./fault-proxy.ts";
export { Lab, type LabOptions } from "./lab.ts";
export { LabNode, type NodeRole, type StopMode } from "./node.ts";
export { freePort } from "./ports.ts";
