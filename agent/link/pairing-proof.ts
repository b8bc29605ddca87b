import { createHmac, scrypt, timingSafeEqual } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { pairingExporterLabel, pairingVersion, type PairingMessageOf } from '../../protocol/pairing.ts';
import type { ChannelEnd } from './channel.ts';

/**
 * How both nodes prove that they know the one-time code.
 *
 * Each side sends HMAC-SHA-256, keyed by scrypt(code, salt), over everything that both have seen: both public keys, both
 * nonces, what both say of themselves, and the channel binding of the TLS connection (RFC 5705 exporter, as RFC 9266).
 *
 * - A listener sees nothing: the macs travel inside TLS.
 * - A man in the middle has two TLS connections with two bindings and shows each side a key of his own. A mac that he
 *   relays covers the other connection's binding and keys, so it is wrong; that counts as a try.
 * - Somebody who plays the primary gets one mac out of a standby and can guess codes against it at leisure. That is
 *   what a PAKE is for where codes are short. This code has 80 random bits: 2^79 guesses on the average, each of them one
 *   scrypt, for a code that lives ten minutes and is worth nothing afterwards. So no PAKE is needed, and everything here
 *   is in Node's own crypto.
 * - Somebody who plays the standby guesses online, five times.
 *
 * The standby proves first; the primary shows its own proof, and what it says of itself, only to one who knows the code.
 */
export interface Party {
  role: 'primary' | 'standby';
  node: string;
  roots: string[];
  port: number;
}

/** What both sides know before either has proved anything. */
export interface Scene {
  binding: Buffer;
  primaryKey: Buffer;
  standbyKey: Buffer;
  primaryNonce: Buffer;
  standbyNonce: Buffer;
}

/** Stretches a code (normalized). About 40 ms. */
export function pairingKey(code: string, salt: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) =>
    scrypt(code, salt, 32, { N: 16_384, r: 8, p: 1 }, (error, key) => (error ? reject(error) : resolve(key))),
  );
}

/** The same bytes on both ends of one TLS connection, and on no other. */
export function channelBinding(socket: TLSSocket): Buffer {
  return socket.exportKeyingMaterial(32, pairingExporterLabel, Buffer.alloc(0));
}

export function standbyProof(key: Buffer, scene: Scene, standby: Party): Buffer {
  return mac(key, 'standby', scene, [standby]);
}

export function primaryProof(key: Buffer, scene: Scene, standby: Party, primary: Party): Buffer {
  return mac(key, 'primary', scene, [standby, primary]);
}

export function sameProof(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Every field goes in with its length, so that no two scenes give the same bytes. */
function mac(key: Buffer, who: string, scene: Scene, parties: readonly Party[]): Buffer {
  const hmac = createHmac('sha256', key);
  const add = (bytes: Buffer) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hmac.update(length).update(bytes);
  };
  add(Buffer.from(`mailtwin pairing ${pairingVersion} ${who}`));
  for (const bytes of [scene.binding, scene.primaryKey, scene.standbyKey, scene.primaryNonce, scene.standbyNonce]) add(bytes);
  for (const { role, node, roots, port } of parties) add(Buffer.from(JSON.stringify([role, node, roots, port])));
  return hmac.digest();
}

export function partyOf({ role, node, roots, port }: PairingMessageOf<'proof'> | PairingMessageOf<'confirm'>): Party {
  return { role, node, roots, port };
}

/** Whether two nodes fit together; null when they do, otherwise why not, with both values. Pure and symmetric. */
export function judgeParties(mine: Party, theirs: Party): ChannelEnd | null {
  const both = (a: string, b: string) => `this node (${mine.node}) has ${a}, the other (${theirs.node}) has ${b}`;
  if (mine.node === theirs.node) return { code: 'same-node', detail: `both nodes are called ${mine.node}; each needs a name of its own` };
  if (mine.role === theirs.role)
    return { code: 'same-role', detail: `${both(`role ${mine.role}`, `role ${theirs.role}`)}; one must be the standby` };
  const a = mine.roots.join(', ');
  const b = theirs.roots.join(', ');
  return a === b
    ? null
    : { code: 'roots', detail: `the roots differ: ${both(`roots ${a}`, `roots ${b}`)}; both need the same names and formats` };
}
