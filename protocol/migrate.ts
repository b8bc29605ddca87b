/** What `mailtwin migrate` shows of a move to new hardware, or of an upgrade of the nodes one after the other. */

export interface MigratePoint {
  id:
    | 'paired'
    | 'filled'
    | 'caught-up'
    | 'nics'
    | 'versions'
    | 'verified'
    | 'switched'
    // Of an upgrade alone.
    | 'upgraded'
    | 'configuration'
    | 'units'
    | 'way-back'
    | 'both-upgraded';
  title: string;
  /** `warn`: nothing can be done about it, and a person must know before going on. `later`: its turn comes after the others. */
  state: 'done' | 'open' | 'warn' | 'later' | 'not-known';
  /** What remains; empty when done. */
  remains: string;
  command: string;
}

/** The releases of the two nodes: system and mail server. */
export interface ReleasesCompared {
  is: 'same' | 'differ' | 'not-known';
  /** For people. */
  text: string;
  /** The node with the newer releases; null while they are not known to differ. */
  ahead: string | null;
}

export interface MigrateStatus {
  /** While they differ the points are those of an upgrade, otherwise those of a move. */
  releases: ReleasesCompared;
  points: MigratePoint[];
  /** The first that is open or not known; null when there is none. */
  next: MigratePoint | null;
  /** Seconds of the fill that remain; null = not known, or done. */
  fillSeconds: number | null;
  /** Seconds during which clients will wait at the switchover; null = not known. */
  downtimeSeconds: number | null;
}

/** The acceptance report after a move, made by the agent. */
export interface MigrateReport {
  text: string;
  /** Stands alone and loads nothing. */
  html: string;
  /** `wrong`: a client would download again, or meet another message under a UID that it knows. */
  counts: Record<'same' | 'grown' | 'changed' | 'wrong', number>;
}
