import { z } from 'zod';
import { limits } from './limits.ts';

/**
 * The conversation that introduces two nodes by a one-time code.
 *
 * A TLS 1.3 connection to the primary's port with ALPN `mailtwin-pair/1`; both sides show their certificates, nobody is
 * pinned yet. Then lines of JSON, each at most `pairingLineBytesMax`, strictly in turn (S = standby, P = primary):
 *
 *     S  begin    version, nonce
 *     P  offer    version, salt, nonce
 *     S  proof    node, role, roots, port, mac       S knows the code
 *     P  confirm  node, role, roots, port, mac       P knows it too
 *     S  accept   (after its operator agreed)
 *     P  grant    pair, secret
 *     S  pinned   (its pin is durable)
 *     P  done     (and so is the other one)
 *
 * Either side may answer with `refuse` and close. agent/link/pairing-proof.ts says what the macs cover and why.
 */

export const linkProtocol = 'mailtwin/1';
export const pairingProtocol = 'mailtwin-pair/1';
export const pairingVersion = 1;

/** RFC 5705 label of the channel binding. */
export const pairingExporterLabel = 'EXPORTER-mailtwin-pairing';

export const pairingLimits = {
  lineBytesMax: 16 * 1024,
  offerLifeMs: 10 * 60_000,
  triesMax: 5,
  /** Pairing connections under way at the same time. */
  connectionsMax: 4,
  /** Each step that needs no person. */
  stepMs: 10_000,
} as const;

const bytes = (length: number) =>
  z
    .string()
    .max(length * 2)
    .refine(
      (value) => /^[A-Za-z0-9+/]+={0,2}$/.test(value) && Buffer.from(value, 'base64').length === length,
      `not ${length} bytes in base64`,
    );
const text = z.string().max(limits.textBytesMax);

/** What a node says of itself. `roots` is `name:format`, sorted; `port` is where it listens. */
const self = {
  node: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/),
  role: z.enum(['primary', 'standby']),
  roots: z.array(text).max(limits.rootsMax),
  port: z.number().int().min(0).max(65535),
};
const mac = bytes(32);

export const pairingMessage = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('begin'), version: z.number().int(), nonce: bytes(32) }),
  z.strictObject({ type: z.literal('offer'), version: z.number().int(), salt: bytes(16), nonce: bytes(32) }),
  z.strictObject({ type: z.literal('proof'), ...self, mac }),
  z.strictObject({ type: z.literal('confirm'), ...self, mac }),
  z.strictObject({ type: z.literal('accept') }),
  z.strictObject({ type: z.literal('grant'), pair: text, secret: bytes(32) }),
  z.strictObject({ type: z.literal('pinned') }),
  z.strictObject({ type: z.literal('done') }),
  z.strictObject({ type: z.literal('refuse'), code: text, detail: text }),
]);
export type PairingMessage = z.infer<typeof pairingMessage>;
export type PairingMessageOf<T extends PairingMessage['type']> = Extract<PairingMessage, { type: T }>;

/** Crockford's base 32: no I, L, O, U, so that a code can be read aloud. */
const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const codeLength = 16;

/** A one-time code of 80 random bits: XXXX-XXXX-XXXX-XXXX. */
export function makePairingCode(random: (bytes: number) => Buffer): string {
  const symbols = [...random(codeLength)].map((byte) => alphabet[byte % 32] ?? '0').join('');
  return symbols.match(/.{4}/g)?.join('-') ?? symbols;
}

/** The 16 symbols of a code as somebody typed it; null when it cannot be one. */
export function normalizePairingCode(typed: string): string | null {
  const symbols = typed.toUpperCase().replace(/[\s-]/g, '').replaceAll('O', '0').replace(/[IL]/g, '1');
  return symbols.length === codeLength && /^[0-9A-HJKMNP-TV-Z]*$/.test(symbols) ? symbols : null;
}
