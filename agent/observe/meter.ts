/** How a change travelled. `tail` is a patch that only appends; the others are the ops of the protocol. */
export type SentKind = 'whole' | 'patch' | 'tail' | 'copy' | 'link' | 'move' | 'meta' | 'remove' | 'dir' | 'symlink';

/** What replication counts. Handed in; metrics.ts turns it into Prometheus metrics. */
export interface Meter {
  /** Primary: changes of one kind given to the link; `savedBytes` is file size less what was sent. */
  sent(kind: SentKind, changes: number, bytes: number, savedBytes: number): void;
  /** Standby: a batch was applied. */
  applied(ops: number, bytes: number): void;
  /** Primary: from closing a batch to its acknowledgement. */
  batchSeconds(seconds: number): void;
  /** Standby: one syncfs, or one flush of the index. */
  syncSeconds(what: 'files' | 'index', seconds: number): void;
  /** A batch was rejected by the standby. */
  rejected(code: string): void;
  /** Hints from the watcher. */
  hints(count: number): void;
  /** Hints were lost, or a directory had to be rescanned for another reason. */
  rescanned(reason: string): void;
  /** Service addresses or routes that others removed from the active node were set again. */
  setAgain(what: 'address' | 'route', count: number): void;
  /** A connection at the pair's port was ended before it was the peer's. */
  turnedAway(reason: 'late' | 'crowded' | 'key' | 'tls'): void;
}

export const silentMeter: Meter = {
  sent() {},
  applied() {},
  batchSeconds() {},
  syncSeconds() {},
  rejected() {},
  hints() {},
  rescanned() {},
  setAgain() {},
  turnedAway() {},
};
