import type { Message } from '../../protocol/messages.ts';
import type { SimRandom } from './sim-random.ts';

/** Flips one bit of the content that a message carries; null when it carries none. */
export function corruptContent(message: Message, random: SimRandom): Message | null {
  if (message.type === 'slice' && message.bytes.length > 0) return { ...message, bytes: flipped(message.bytes, random) };
  if (message.type !== 'ops') return null;
  const places = message.ops.flatMap((op, i) => ('bytes' in op && op.bytes.length > 0 ? [i] : []));
  if (places.length === 0) return null;
  const place = random.pick(places);
  const ops = message.ops.map((op, i) => (i === place && 'bytes' in op ? { ...op, bytes: flipped(op.bytes, random) } : op));
  return { ...message, ops };
}

function flipped(bytes: Buffer, random: SimRandom): Buffer {
  const copy = Buffer.from(bytes);
  const at = random.int(copy.length);
  copy[at] = (copy[at] ?? 0) ^ (1 << random.int(8));
  return copy;
}
