import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode } from '../platform/files.ts';
import { makeSelfSigned } from './self-signed.ts';

/** This node's key pair. The certificate only carries the key: what counts is the pinned key, never a name or a date. */
export interface Identity {
  keyPem: string;
  certPem: string;
  /** SubjectPublicKeyInfo, DER (RFC 5280). */
  spki: Buffer;
  fingerprint: string;
}

const keyFile = 'node.key';
const certFile = 'node.crt';

/**
 * The fingerprint that people compare: SHA-256 of the public key (SPKI), hex digits in 16 groups of four.
 */
export function fingerprintOf(spki: Buffer): string {
  const hex = createHash('sha256').update(spki).digest('hex').toUpperCase();
  return hex.match(/.{4}/g)?.join(' ') ?? hex;
}

/** The first groups of a fingerprint, for log lines. */
export function shortFingerprint(fingerprint: string): string {
  return fingerprint.split(' ').slice(0, 4).join(' ');
}

/** Makes a key pair (ECDSA P-256) and a self-signed certificate for the node; writes nothing. */
export function makeIdentity(node: string): { files: Record<string, string>; fingerprint: string } {
  const { keyPem, certPem } = makeSelfSigned(node);
  return { files: { [keyFile]: keyPem, [certFile]: certPem }, fingerprint: identityFromPem(keyPem, certPem).fingerprint };
}

/** Builds an identity from its two PEM texts. Throws when they are not readable or do not belong together. */
export function identityFromPem(keyPem: string, certPem: string): Identity {
  const cert = new X509Certificate(certPem);
  if (!cert.checkPrivateKey(createPrivateKey(keyPem))) throw new Error('the certificate is of another key');
  const spki = spkiOf(cert);
  return { keyPem, certPem, spki, fingerprint: fingerprintOf(spki) };
}

/** A certificate's public key as SPKI, DER. */
export function spkiOf(cert: X509Certificate): Buffer {
  return cert.publicKey.export({ type: 'spki', format: 'der' });
}

/**
 * Reads this node's key pair from its state directory.
 *
 * @throws OperatorError `no-key` or `bad-key`.
 */
export function loadIdentity(stateDir: string): Identity {
  try {
    return identityFromPem(readFileSync(join(stateDir, keyFile), 'utf8'), readFileSync(join(stateDir, certFile), 'utf8'));
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    if (errnoCode(error) === 'ENOENT') {
      throw new OperatorError(
        'no-key',
        `this node has no key: ${what}`,
        'Run `mailtwin init` on a new node; on an old one put node.key and node.crt back from a backup, or make new ones and pair again.',
      );
    }
    throw new OperatorError(
      'bad-key',
      `this node's key in ${stateDir} cannot be used: ${what}`,
      'Run the agent as the user who owns the state directory; if the files are damaged, put them back from a backup, or make new ones and pair again.',
    );
  }
}
