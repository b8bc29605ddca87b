import { metaKey } from '../journal/keys.ts';
import type { Kv } from '../platform/kv.ts';

interface Address {
  host: string;
  port: number;
}

const key = metaKey('met-peers');
const addressesMax = 4;

/** Where the peer called from and listens, newest first, kept over restarts: a takeover turns round who calls whom. */
export function metPeers(kv: Kv): { addresses(): readonly Address[]; remember(address: Address): void } {
  const stored = kv.get(key);
  let known = stored ? (JSON.parse(stored.toString()) as Address[]) : [];
  return {
    addresses: () => known,
    remember(address) {
      const [first] = known;
      if (first?.host === address.host && first.port === address.port) return;
      const others = known.filter((other) => other.host !== address.host || other.port !== address.port);
      known = [address, ...others].slice(0, addressesMax);
      kv.commit([[key, Buffer.from(JSON.stringify(known))]]);
    },
  };
}
