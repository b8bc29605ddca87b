import { metaKey } from '../../journal/keys.ts';
import type { Kv, KvWrite } from '../../platform/kv.ts';

const filledKey = metaKey('filled');

/**
 * How far the copy is. It is complete when everything that was there at the beginning is durable on the standby, except what has
 * a name of its own in the status: what is held, in doubt, left out, or lagging. A file that never rests keeps nobody from that.
 */
export class Fill {
  readonly #kv: Kv;
  #filled: boolean;
  /** Whether every root was compared with the index. */
  #scanned = false;
  /** The last change that belongs to it. */
  #head = 0;
  /** All up to the head is durable, or has a name; null before there is a head. */
  #reached = false;

  constructor(kv: Kv) {
    this.#kv = kv;
    this.#filled = kv.get(filledKey) !== undefined;
  }

  /** The first fill is complete. */
  get filled(): boolean {
    return this.#filled;
  }

  /** The same of what the last comparison of both nodes found: the standby may call its copy complete. */
  get complete(): boolean {
    return this.#filled && this.#reached;
  }

  /** A connection begins, or both nodes were compared: all that is open up to `head` belongs to the copy. */
  aim(head: number): void {
    this.#head = head;
    this.#reached = false;
  }

  /** Every root was compared with the index. */
  scanned(): void {
    this.#scanned = true;
  }

  /** The standby is another one, or an older state of the one that was filled. The index is compared with what it has. */
  anew(): void {
    this.#filled = false;
    this.#reached = false;
    this.#scanned = true;
    this.#kv.commit([[filledKey, null]]);
  }

  /** Looks whether it is complete now; `isOpen` tells whether anything without a name is open up to a change. */
  look(isOpen: (seq: number) => boolean): { ended: boolean; writes: KvWrite[] } {
    if (this.#reached || !(this.#filled || this.#scanned) || isOpen(this.#head)) return { ended: false, writes: [] };
    this.#reached = true;
    if (this.#filled) return { ended: false, writes: [] };
    this.#filled = true;
    return { ended: true, writes: [[filledKey, Buffer.from([1])]] };
  }
}
