import { createSecureContext, type TlsOptions as ServerTlsOptions } from 'node:tls';
import { ChannelCredentials, type ChannelOptions } from '@grpc/grpc-js';
import { HedgeError, messageOf } from '../../common/errors.js';

/** Options of TLS, which encrypts links. The handshake with the group's secret runs inside of TLS. */
export interface TlsOptions {
  /** Certificates (PEM) of the authorities that signed the certificates of the members. */
  readonly ca: string | Buffer;
  /** This member's certificate chain (PEM). */
  readonly cert: string | Buffer;
  /** Its private key (PEM). */
  readonly key: string | Buffer;
  /**
   * The name in the certificate of every member. Default: the dialled host. Needed when members dial each other by IP
   * address and the certificates contain a name.
   */
  readonly serverName?: string;
  /** Mutual TLS: refuse callers without a certificate signed by `ca`. Default false. */
  readonly requireClientCertificate?: boolean;
}

export interface LinkCredentials {
  /** Undefined without TLS. */
  readonly server: ServerTlsOptions | undefined;
  readonly client: ChannelCredentials;
  readonly clientOptions: ChannelOptions;
}

/**
 * The credentials of links. Without TLS, links are neither encrypted nor protected against an attacker in the middle of
 * the network; the handshake only refuses strangers.
 *
 * @throws HedgeError INVALID_OPTIONS when the certificates cannot be used.
 */
export function linkCredentials(tls: TlsOptions | undefined): LinkCredentials {
  if (!tls) {
    return {
      server: undefined,
      client: ChannelCredentials.createInsecure(),
      clientOptions: {},
    };
  }
  try {
    createSecureContext({ ca: tls.ca, cert: tls.cert, key: tls.key });
  } catch (cause) {
    throw new HedgeError(
      'INVALID_OPTIONS',
      `Option \`tls\` cannot be used (${messageOf(cause)}). Give \`ca\`, \`cert\` and \`key\` as PEM text, with the key of that certificate`,
      { cause, details: { option: 'tls' } },
    );
  }
  const ca = Buffer.from(tls.ca);
  const cert = Buffer.from(tls.cert);
  const key = Buffer.from(tls.key);
  return {
    server: { ca, cert, key, requestCert: tls.requireClientCertificate ?? false, rejectUnauthorized: true },
    client: ChannelCredentials.createSsl(ca, key, cert),
    clientOptions: tls.serverName === undefined ? {} : { 'grpc.ssl_target_name_override': tls.serverName },
  };
}
