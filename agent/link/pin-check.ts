import type { ChannelEnd } from './channel.ts';
import { fingerprintOf, shortFingerprint } from './identity.ts';
import type { PinnedPeer } from './pins.ts';

/**
 * Judges the key that the other side proved to hold against the pinned one; null when it is the peer (I13).
 *
 * @param where for people: the address, or what the other side is.
 */
export function judgeKey(pin: PinnedPeer | null, spki: Buffer | null, where: string): ChannelEnd | null {
  if (pin === null)
    return { code: 'unpaired', detail: `this node is not paired yet; ${where} is unknown; pair the two nodes with \`mailtwin pair\`` };
  if (spki === null) return { code: 'no-certificate', detail: `${where} showed no key; ${expected(pin)}` };
  if (!spki.equals(pin.spki)) {
    return {
      code: 'wrong-key',
      detail: `${where} showed key ${shortFingerprint(fingerprintOf(spki))}, but ${expected(pin)}; if that node was set up anew, pair the two again`,
    };
  }
  return null;
}

function expected(pin: PinnedPeer): string {
  return `key ${shortFingerprint(pin.fingerprint)} is pinned for ${pin.node}`;
}

/** What a node that refuses tells the other, so that both can say why. */
export function refusalBody(end: ChannelEnd): string {
  return JSON.stringify({ code: end.code, detail: end.detail });
}

/** Reads what `refusalBody` wrote. The other side is not trusted at this point: the text is only ever shown. */
export function readRefusal(body: string): ChannelEnd | null {
  try {
    const value = JSON.parse(body) as { code?: unknown; detail?: unknown } | null;
    if (typeof value?.code !== 'string' || typeof value.detail !== 'string' || !/^[a-z-]{1,40}$/.test(value.code)) return null;
    return { code: value.code, detail: value.detail.slice(0, 1000).replace(/\p{Cc}/gu, ' ') };
  } catch {
    return null;
  }
}
