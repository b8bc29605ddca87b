import { createHash } from 'node:crypto';

/** What a UID named, for ever. */
export interface Issued {
  uidValidity: number;
  uid: number;
  base: string;
  /** Its removal began: from now on its file may be there or not. */
  expunged: boolean;
}

export function digestOf(body: Buffer): string {
  return createHash('sha256').update(body).digest('hex');
}

/** Everything that a simulated mail server ever promised to a client; what I4 and I5 are checked against. */
export class MailHistory {
  readonly #byUid = new Map<string, Issued>();
  readonly #bodies = new Map<string, string>();
  /** The highest UID given under each. */
  readonly #uidValidities = new Map<number, number>();

  /** A message exists under this base name (the part before `:2,`), with or without a UID. */
  arrived(base: string, body: Buffer): void {
    this.#bodies.set(base, digestOf(body));
  }

  copied(from: string, to: string): void {
    this.#bodies.set(to, this.#bodies.get(from)!);
  }

  made(uidValidity: number): void {
    this.#uidValidities.set(uidValidity, 0);
  }

  issued(uidValidity: number, uid: number, base: string): void {
    const known = this.find(uidValidity, uid);
    if (known && known.base !== base) throw new Error(`the simulated server gave UID ${uid} of ${uidValidity} twice`);
    if (known) return;
    this.#byUid.set(`${uidValidity}:${uid}`, { uidValidity, uid, base, expunged: false });
    this.#uidValidities.set(uidValidity, Math.max(uid, this.lastUid(uidValidity)));
  }

  expunged(uidValidity: number, uid: number): void {
    const issued = this.find(uidValidity, uid);
    if (issued) issued.expunged = true;
  }

  find(uidValidity: number, uid: number): Issued | undefined {
    return this.#byUid.get(`${uidValidity}:${uid}`);
  }

  bodyOf(base: string): string | undefined {
    return this.#bodies.get(base);
  }

  lastUid(uidValidity: number): number {
    return this.#uidValidities.get(uidValidity) ?? 0;
  }

  knows(uidValidity: number): boolean {
    return this.#uidValidities.has(uidValidity);
  }

  get issuedCount(): number {
    return this.#byUid.size;
  }
}
