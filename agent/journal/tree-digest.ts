import { createHash } from 'node:crypto';
import { entryDigest, type Entry } from './entry.ts';
import type { ReplicaIndex } from './replica-index.ts';

const kindNumbers = { file: 0, dir: 1, symlink: 2 } as const;
const entriesBetweenPauses = 512;

/** 0 file, 1 directory, 2 symbolic link. */
export function kindNumber(entry: Entry): 0 | 1 | 2 {
  return kindNumbers[entry.kind];
}

/**
 * Digests of whole directories for the comparison of two replicas: equal digests, equal trees. Computed once for all
 * directories below the one asked for, kept until `forget`.
 */
export class TreeDigests {
  readonly #index: ReplicaIndex;
  readonly #pause: () => Promise<void>;
  readonly #known = new Map<number, Buffer>();
  #count = 0;

  constructor(index: ReplicaIndex, pause: () => Promise<void>) {
    this.#index = index;
    this.#pause = pause;
  }

  forget(): void {
    this.#known.clear();
  }

  /** Digest (16 bytes) of what is below a directory. */
  async below(dir: number): Promise<Buffer> {
    const known = this.#known.get(dir);
    if (known) return known;
    const hash = createHash('sha256');
    for (const [name, entry] of this.#index.entries(dir)) {
      hash.update(`${name.length}\0${name}`, 'latin1').update(await this.of(entry));
      if (++this.#count % entriesBetweenPauses === 0) await this.#pause();
    }
    const digest = hash.digest().subarray(0, 16);
    this.#known.set(dir, digest);
    return digest;
  }

  /** Digest of an entry: 8 bytes of a file or link, 16 of a directory with all below it. */
  async of(entry: Entry): Promise<Buffer> {
    if (entry.kind !== 'dir') return entryDigest(entry);
    return createHash('sha256')
      .update(entryDigest(entry))
      .update(await this.below(entry.dir))
      .digest()
      .subarray(0, 16);
  }
}
