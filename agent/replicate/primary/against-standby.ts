import { Packr } from 'msgpackr';
import type { MessageOf } from '../../../protocol/messages.ts';
import { standbyMissingKey as missingKey } from '../../journal/turn-round.ts';
import type { Kv } from '../../platform/kv.ts';
import type { FileSystemHolds } from './file-system-holds.ts';

type Told = MessageOf<'heartbeat'>['fileSystems'];

export interface StandbyTrouble {
  code: string;
  detail: string;
  remedy: string;
}

const packr = new Packr({ useRecords: false });
const remedy = 'mend it on the standby; replication then goes on by itself. `mailtwin status` there says more';

/**
 * What the standby said against its having what it acknowledged: file systems that are not in their places. It outlives
 * connections and restarts: a standby that is not heard any more is no better than its last word, and `wait` must not confirm
 * over it.
 */
export class AgainstStandby {
  readonly #kv: Kv;
  readonly #holds: FileSystemHolds;
  #told = '';
  #root: StandbyTrouble | null = null;

  constructor(kv: Kv, holds: FileSystemHolds) {
    this.#kv = kv;
    this.#holds = holds;
    const kept = kv.get(missingKey);
    if (!kept) return;
    this.#told = kept.toString('latin1');
    this.#apply(packr.unpack(kept) as Told);
  }

  /** A root of the standby that is not in its place, as it told last. */
  get root(): StandbyTrouble | null {
    return this.#root;
  }

  /** The standby tells which of its file systems are not in their places: of what lies there nothing is sent until they are. */
  heard(fileSystems: Told): void {
    const packed = fileSystems.length === 0 ? null : Buffer.from(packr.pack(fileSystems));
    const told = packed?.toString('latin1') ?? '';
    if (told !== this.#told) {
      this.#told = told;
      this.#kv.commit([[missingKey, packed]]);
    }
    this.#apply(fileSystems);
  }

  #apply(fileSystems: Told): void {
    const onStandby = (detail: string) => `on the standby: ${detail}`;
    const root = fileSystems.find(([, path]) => path === '');
    this.#root = root ? { code: root[2].startsWith('root-') ? root[2] : 'root-missing', detail: onStandby(root[3]), remedy } : null;
    const below = fileSystems.filter(([, path]) => path !== '');
    this.#holds.missingThere(below.map(([name, path, , detail]) => ({ root: name, path, detail: onStandby(detail) })));
  }
}
