import type { ConnectionOptions, TlsOptions, TLSSocket } from 'node:tls';
import { limits } from '../../protocol/limits.ts';
import { linkProtocol, pairingProtocol } from '../../protocol/pairing.ts';
import { spkiOf, type Identity } from './identity.ts';

/**
 * TLS of the pair: 1.3 alone, both sides show a certificate, and neither asks an authority: the callers compare the
 * key with the pinned one before they read a byte (I13). That the other side holds the private key is proved by the
 * handshake itself. What a connection is for stands in the handshake too (ALPN, RFC 7301).
 */
const common = (identity: Identity) =>
  ({
    key: identity.keyPem,
    cert: identity.certPem,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    // 128 bits are enough, and a third faster than 256 in bulk.
    ciphers: 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384',
    rejectUnauthorized: false,
  }) as const;

export function serverTls(identity: Identity): TlsOptions {
  return {
    ...common(identity),
    requestCert: true,
    honorCipherOrder: true,
    ALPNProtocols: [linkProtocol, pairingProtocol],
    handshakeTimeout: limits.handshakeMs,
  };
}

export function clientTls(identity: Identity, purpose: 'link' | 'pairing', address: { host: string; port: number }): ConnectionOptions {
  return {
    ...common(identity),
    ...address,
    ALPNProtocols: [purpose === 'link' ? linkProtocol : pairingProtocol],
    // Names and addresses play no part in who the peer is.
    servername: '',
    checkServerIdentity: () => undefined,
  };
}

/** The public key that the other side proved to hold; null when it showed none. */
export function peerSpki(socket: TLSSocket): Buffer | null {
  const cert = socket.getPeerX509Certificate();
  return cert ? spkiOf(cert) : null;
}

/** "HOST:PORT" of the other end, for people. */
export function remoteAddress(socket: TLSSocket): string {
  const host = socket.remoteAddress ?? 'unknown';
  return host.includes(':') ? `[${host}]:${socket.remotePort ?? 0}` : `${host}:${socket.remotePort ?? 0}`;
}
