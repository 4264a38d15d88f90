/** What a client is asked to prove, and against what: put together from its connection and the configuration. */
import { randomBytes } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { subjectCommonName } from "../auth/certificate.ts";
import { LoginMachine } from "../auth/login.ts";
import type { ClientTls, LoginContext } from "./context.ts";

/** `socket` and `tls`: of an encrypted connection, and what its handshake was done with. */
export function loginMachine(
  context: LoginContext,
  user: string,
  socket: TLSSocket | undefined,
  tls: ClientTls | undefined,
): LoginMachine {
  const unknownUserKind = context.unknownUserKind();
  const certificate = socket?.authorized === true ? socket.getPeerCertificate() : undefined;
  return new LoginMachine({
    method: context.authMethod(),
    user,
    secret: context.secretOf(user),
    tls: {
      secure: socket !== undefined,
      endPoint: tls?.endPoint,
      clientCertificateName: subjectCommonName(certificate),
    },
    random: randomBytes,
    mockKey: context.mockKey,
    scramIterations: context.scramIterations(),
    ...(unknownUserKind === undefined ? {} : { unknownUserKind }),
  });
}
