import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import type { LevelReading } from '../../protocol/control.ts';

/**
 * The proof that a node was off, signed by the node that saw it. It holds for one target, one pair and one epoch, and
 * not for long: who was off an hour ago may be on again.
 */
export interface FenceReceipt {
  /** Version of this form. */
  receipt: 1;
  id: string;
  target: string;
  /** The node that saw it. */
  by: string;
  pair: string;
  epoch: number;
  /** Which level proved it, from 1. */
  level: number;
  type: LevelReading['type'];
  name: string;
  evidence: string;
  /** ISO 8601, UTC. */
  provenAt: string;
  expiresAt: string;
  /** ECDSA P-256 with SHA-256 over the canonical JSON of all other fields, base64 (RFC 4754's r || s). */
  signature: string;
}

/** Signatures of the same key for other purposes begin with other words. */
const purpose = 'mailtwin fence receipt\n';
/** Clocks of two nodes differ by less than this, or `clock-skew` has said so long before. */
const skewMsMax = 5 * 60_000;

export function makeReceipt(
  facts: Omit<FenceReceipt, 'receipt' | 'provenAt' | 'expiresAt' | 'signature'>,
  { provenMs, expiresMs }: { provenMs: number; expiresMs: number },
  keyPem: string,
): FenceReceipt {
  const unsigned = {
    receipt: 1 as const,
    ...facts,
    provenAt: new Date(provenMs).toISOString(),
    expiresAt: new Date(expiresMs).toISOString(),
  };
  const signature = sign('sha256', signedBytes(unsigned), { key: createPrivateKey(keyPem), dsaEncoding: 'ieee-p1363' });
  return { ...unsigned, signature: signature.toString('base64') };
}

/**
 * Why a receipt proves nothing; null when it proves that `target` was off, for this pair and epoch, now.
 *
 * @param publicKey of the node that made it: SubjectPublicKeyInfo, DER, as `Identity.spki` and the pinned peer have it.
 */
export function verifyReceipt(
  receipt: FenceReceipt,
  publicKey: Buffer,
  wanted: { target: string; pair: string; epoch: number; wallMs: number },
): string | null {
  const { signature, ...unsigned } = receipt;
  if (receipt.receipt !== 1) return `it has the form ${String(receipt.receipt)}, which is not known here`;
  if (!isSigned(unsigned, signature, publicKey)) return 'its signature is not of the node that should have made it, or it was changed';
  if (receipt.target !== wanted.target) return `it is about ${receipt.target}, not ${wanted.target}`;
  if (receipt.pair !== wanted.pair) return 'it is of another pair';
  if (receipt.epoch !== wanted.epoch) return `it is for epoch ${receipt.epoch}, not ${wanted.epoch}`;
  const provenMs = Date.parse(receipt.provenAt);
  const expiresMs = Date.parse(receipt.expiresAt);
  if (!(provenMs <= wanted.wallMs + skewMsMax)) return `it was made at ${receipt.provenAt}, which has not come yet`;
  if (!(wanted.wallMs < expiresMs)) return `it expired at ${receipt.expiresAt}`;
  return null;
}

function isSigned(unsigned: object, signature: unknown, publicKey: Buffer): boolean {
  if (typeof signature !== 'string') return false;
  const key = createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
  const bytes = Buffer.from(signature, 'base64');
  // One form alone: a text that decodes to the same bytes is another text.
  return (
    bytes.length === 64 &&
    bytes.toString('base64') === signature &&
    verify('sha256', signedBytes(unsigned), { key, dsaEncoding: 'ieee-p1363' }, bytes)
  );
}

/** All fields in the order of their names: the same facts are the same bytes, wherever they were kept. */
function signedBytes(unsigned: object): Buffer {
  return Buffer.from(purpose + JSON.stringify(Object.fromEntries(Object.entries(unsigned).sort(([a], [b]) => (a < b ? -1 : 1)))));
}
