/** A connection that refuses to be made any other way than encrypted, to the right server, by SCRAM. */
import { connect } from "pgsluice/client";

//#region strict
await using connection = await connect({
  sslmode: "verify-full", // PGSSLROOTCERT names the certificate to trust
  require_auth: "scram-sha-256",
  channel_binding: "require",
  max_protocol_version: "latest",
});
console.log(connection.tls, connection.protocolVersion); //=> true 30002
//#endregion
