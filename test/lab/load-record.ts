/** One look at a message: what a client may rely on for ever (RFC 9051 2.3.1.1). */
export interface Sighting {
  user: string;
  /** The mailbox's name when it was seen. */
  mailbox: string;
  uidValidity: bigint;
  uid: number;
  messageId: string;
  /** Of the message as IMAP gives it; null when it was not fetched. */
  sha256: string | null;
}

/** The server has said that this message is stored. */
export interface Acknowledged {
  user: string;
  mailbox: string;
  messageId: string;
  via: 'lmtp' | 'append';
  /** `performance.now()` when the answer had come. */
  atMs: number;
}

/** Everything that the clients of a load saw and were told. */
export class LoadRecord {
  readonly acknowledged: Acknowledged[] = [];
  /** How often each kind of step was done. */
  readonly steps = new Map<string, number>();
  /** Refusals that are fair when several clients change the same mailboxes: how often each. */
  readonly races = new Map<string, number>();
  /** Two different messages under one UIDVALIDITY and UID (I5), as people read it. */
  readonly conflicts: string[] = [];
  readonly #sightings = new Map<string, Sighting>();
  readonly #doubtful = new Set<string>();

  get sightings(): Sighting[] {
    return [...this.#sightings.values()];
  }

  sight(seen: Sighting): void {
    const key = sightingKey(seen);
    const before = this.#sightings.get(key);
    const same =
      before === undefined || (before.messageId === seen.messageId && (before.sha256 ?? seen.sha256) === (seen.sha256 ?? before.sha256));
    if (!same) this.conflicts.push(`${key}: first ${before.messageId}, then ${seen.messageId}`);
    this.#sightings.set(key, { ...seen, sha256: seen.sha256 ?? before?.sha256 ?? null });
  }

  find(at: { user: string; mailbox: string; uidValidity: bigint; uid: number }): Sighting | undefined {
    return this.#sightings.get(sightingKey(at));
  }

  acknowledge(what: Acknowledged): void {
    this.acknowledged.push(what);
  }

  /** A client is about to expunge or move this message, or to delete its mailbox: it need not be there any more. */
  doubt(user: string, messageId: string): void {
    this.#doubtful.add(`${user} ${messageId}`);
  }

  /** Acknowledged messages that no client has touched since: they must be there. */
  get lasting(): Acknowledged[] {
    return this.acknowledged.filter((each) => !this.#doubtful.has(`${each.user} ${each.messageId}`));
  }

  count(kind: string): void {
    this.steps.set(kind, (this.steps.get(kind) ?? 0) + 1);
  }

  race(what: string): void {
    this.races.set(what, (this.races.get(what) ?? 0) + 1);
  }

  /** One line for the test's output. */
  summary(): string {
    const list = (counts: Map<string, number>) =>
      [...counts]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([kind, n]) => `${kind} ${n}`)
        .join(', ');
    return `steps: ${list(this.steps)}; races: ${list(this.races) || 'none'}; acknowledged ${this.acknowledged.length}, sightings ${this.#sightings.size}`;
  }
}

function sightingKey(at: { user: string; mailbox: string; uidValidity: bigint; uid: number }): string {
  return `${at.user} ${at.mailbox} ${at.uidValidity} ${at.uid}`;
}
