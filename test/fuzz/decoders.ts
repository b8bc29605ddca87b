import type { Decoder } from './decoder.ts';
import { fileDecoders } from './file-decoders.ts';
import { hostDecoders } from './host-decoders.ts';
import { peerDecoders } from './peer-decoders.ts';
import { socketDecoders } from './socket-decoders.ts';

/** Every decoder that is fuzzed. Servers and files that they need are made here: `close` each. */
export async function makeDecoders(): Promise<Decoder[]> {
  return [...peerDecoders, ...fileDecoders, ...hostDecoders(), ...(await socketDecoders())];
}
