import xxhash from 'xxhash-wasm';

/** 64-bit content hash, seeded with the pair's secret: fast, and not to be foreseen by whoever writes the mail. */
export interface Hash64 {
  readonly seed: bigint;
  of(data: Uint8Array): bigint;
  /** For content that arrives in parts. */
  stream(): { update(data: Uint8Array): void; digest(): bigint };
}

/**
 * Loads XXH64 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md) with a 64-bit seed.
 *
 * It finds what is the same; it never proves it (I8).
 */
export async function loadHash64(seed: bigint): Promise<Hash64> {
  const api = await xxhash();
  return {
    seed,
    of: (data) => api.h64Raw(data, seed),
    stream() {
      const state = api.create64(seed);
      return { update: (data) => void state.update(data), digest: () => state.digest() };
    },
  };
}
