import { chownSync, existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LabAgent } from '../../lab/agents.ts';

/** A letter that a `wait` confirmed: from then on it is on the standby, or gone from the primary. */
export interface Confirmed {
  user: string;
  base: string;
}

const mailOwner = 5000;
/** Longer than a file is hot, so that a `wait` ends well when nothing is held. */
const waitSeconds = 25;

/** The stores of both nodes, and whether the disk of a user stands on the standby. */
export interface Stores {
  primary: string;
  standby: string;
  isMounted: (user: string) => boolean;
}

const looks = 3;

/** Also when nobody can tell, because the disk is away or the primary's server has taken the letter away meanwhile. */
function isThere({ primary, standby, isMounted }: Stores, user: string, base: string): boolean {
  // A letter that gets its new name just now may be missed by one look.
  for (let i = 0; i < looks; i++) {
    if (!isMounted(user) || basesOf(standby, user).has(`${user}/${base}`) || !isMounted(user)) return true;
    if (!basesOf(primary, user).has(`${user}/${base}`)) return true;
  }
  return false;
}

/**
 * Delivers letters as a mail server does and asks for each whether all is durable. What was confirmed is looked for
 * later, on the mounted store: `wait` must never have lied (I1, I19).
 */
export class Letters {
  readonly confirmed: Confirmed[] = [];
  waits = 0;
  /** Why waits confirmed nothing, by code. */
  readonly refused: Record<string, number> = {};
  #next = 0;

  /** Null when it could not be delivered: the disk is away or full. */
  deliver(store: string, user: string): string | null {
    const base = `${1_795_000_000 + this.#next}.M${this.#next++}P7.world`;
    const box = join(store, user);
    const tmp = join(box, 'tmp', base);
    try {
      if (!existsSync(join(box, 'new'))) return null;
      mkdirSync(join(box, 'tmp'), { recursive: true });
      writeFileSync(tmp, `Message-ID: <${base}>\nSubject: letter ${this.#next}\n\n${'x'.repeat(this.#next % 500)}\n`);
      chownSync(tmp, mailOwner, mailOwner);
      renameSync(tmp, join(box, 'new', base));
      return base;
    } catch (error) {
      if (['ENOENT', 'ENOSPC', 'EDQUOT', 'EROFS', 'EIO'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
      throw error;
    }
  }

  /**
   * Delivers one letter and asks `wait`; a wait that answers well confirms it. The letter is looked for at once, before anything
   * else could bring it: a sentence when it is not on the standby's store although that is mounted.
   */
  async probe(primary: LabAgent, stores: Stores, user: string): Promise<string | null> {
    const base = this.deliver(stores.primary, user);
    if (base === null || !primary.isRunning) return null;
    this.waits++;
    try {
      for await (const line of primary.control.stream('POST /wait', { timeoutSeconds: waitSeconds })) {
        if (line.kind === 'error') this.refused[line.code] = (this.refused[line.code] ?? 0) + 1;
        if (line.kind !== 'done' || line.exitCode !== 0) continue;
        this.confirmed.push({ user, base });
        return isThere(stores, user, base) ? null : `wait confirmed ${user}/${base}, and it is not on the standby's mounted store`;
      }
    } catch (error) {
      // The agent was killed meanwhile: nothing was confirmed.
      const why = (error as { code?: string }).code ?? String(error).slice(0, 100);
      this.refused[why] = (this.refused[why] ?? 0) + 1;
    }
    return null;
  }

  /** Confirmed letters that the primary still has and the standby has not. Both stores must be mounted and at rest. */
  missing(primaryStore: string, standbyStore: string): string[] {
    const [here, there] = [basesBelow(primaryStore), basesBelow(standbyStore)];
    return this.confirmed
      .filter(({ user, base }) => here.has(`${user}/${base}`) && !there.has(`${user}/${base}`))
      .map(({ user, base }) => `${user}/${base}`);
  }
}

/** `user/base` of every message below a store of Maildir++ mailboxes. */
export function basesBelow(store: string): Set<string> {
  return new Set(listed(store).flatMap((user) => [...basesOf(store, user)]));
}

function basesOf(store: string, user: string): Set<string> {
  const found = new Set<string>();
  for (const folder of ['.', ...listed(join(store, user)).filter((name) => /^\.[^.]/.test(name))]) {
    for (const sub of ['cur', 'new']) for (const name of listed(join(store, user, folder, sub))) found.add(`${user}/${name.split(':')[0]}`);
  }
  return found;
}

function listed(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}
