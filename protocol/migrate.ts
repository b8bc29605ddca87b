/** What `mailtwin migrate` shows of a move to new hardware. */

export interface MigratePoint {
  id: 'paired' | 'filled' | 'caught-up' | 'nics' | 'versions' | 'verified' | 'switched';
  title: string;
  state: 'done' | 'open' | 'not-known';
  /** What remains; empty when done. */
  remains: string;
  command: string;
}

export interface MigrateStatus {
  points: MigratePoint[];
  /** The first that is not done; null when all is. */
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
