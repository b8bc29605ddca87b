/** Who waits at the listening port and has not shown the pinned key yet. */
export interface Waiting {
  /** Names the connection: address and port of its other end. */
  key: string;
  /** Address of the other end. */
  address: string;
}

export const doorLimits = {
  /** Connections that have not shown the pinned key, of all addresses together. */
  waitingMax: 64,
  /** Of one address. */
  waitingOfAddressMax: 8,
  /** Of an address where the peer was met: others may be behind it. */
  waitingOfPeerMax: 32,
  /** From the first packet to the pinned key. A peer on a slow line and a busy host takes a second or two. */
  strangerMs: 5000,
} as const;

/**
 * Decides which connection has to give way to a new one, so that idle ones cannot keep the peer out: an address has a bound
 * of its own, all have one together, and an address where the peer was met loses no place to others. The oldest goes,
 * because the peer shows its key at once.
 */
export class Doorkeeper {
  /** Addresses by key, in the order in which they came. */
  readonly #waiting = new Map<string, string>();
  readonly #peers: () => ReadonlySet<string>;

  /** @param peers addresses where the peer was met, or is said to be. */
  constructor(peers: () => ReadonlySet<string>) {
    this.#peers = peers;
  }

  get count(): number {
    return this.#waiting.size;
  }

  /** A connection came. @returns the key of the one that must go for it, itself perhaps; null when there is room. */
  enter({ key, address }: Waiting): string | null {
    this.#waiting.set(key, address);
    const peers = this.#peers();
    const bound = peers.has(address) ? doorLimits.waitingOfPeerMax : doorLimits.waitingOfAddressMax;
    const own = this.#of(address);
    const goes = own.length > bound ? own[0] : this.#waiting.size > doorLimits.waitingMax ? this.#leastMissed(peers, key) : undefined;
    if (goes === undefined) return null;
    this.#waiting.delete(goes);
    return goes;
  }

  /** It has shown the pinned key, or is closed. */
  leave(key: string): void {
    this.#waiting.delete(key);
  }

  /** The oldest of the strange address that has the most; the newcomer when all are of the peer. */
  #leastMissed(peers: ReadonlySet<string>, newcomer: string): string {
    const counts = new Map<string, number>();
    for (const address of this.#waiting.values()) if (!peers.has(address)) counts.set(address, (counts.get(address) ?? 0) + 1);
    const most = Math.max(0, ...counts.values());
    const crowd = [...counts].find(([, count]) => count === most)?.[0];
    return (crowd === undefined ? undefined : this.#of(crowd)[0]) ?? newcomer;
  }

  #of(address: string): string[] {
    return [...this.#waiting].filter(([, of]) => of === address).map(([key]) => key);
  }
}
