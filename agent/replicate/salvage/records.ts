import { metaKey } from '../../journal/keys.ts';
import type { BytePath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';

/** What became of one thing that was brought back. */
export interface SalvageRecord {
  /** `staged`: durable under its temporary name, about to be renamed. `placed`: done, whatever becomes of it later. */
  state: 'staged' | 'placed';
  /** Absolute. */
  staged: BytePath;
  /** Absolute. */
  target: BytePath;
}

/** Records by salvage id, so that nothing is brought back twice, whatever is killed when. */
export class SalvageRecords {
  readonly #kv: Kv;

  constructor(kv: Kv) {
    this.#kv = kv;
  }

  get(id: Buffer): SalvageRecord | null {
    const stored = this.#kv.get(keyOf(id));
    return stored ? (JSON.parse(stored.toString('latin1')) as SalvageRecord) : null;
  }

  /** Resolves when it is durable. */
  async put(id: Buffer, record: SalvageRecord): Promise<void> {
    this.#kv.commit([[keyOf(id), Buffer.from(JSON.stringify(record), 'latin1')]]);
    await this.#kv.flushed();
  }

  async drop(id: Buffer): Promise<void> {
    this.#kv.commit([[keyOf(id), null]]);
    await this.#kv.flushed();
  }
}

function keyOf(id: Buffer): Buffer {
  return metaKey(`salvage:${id.toString('hex')}`);
}
