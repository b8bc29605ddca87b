import { sleep } from '../../agent/platform/clock.ts';
import type { HostClock } from './sim-clock.ts';
import type { SimFiles } from './sim-files.ts';
import type { MailHistory } from './mail-history.ts';
import type { SimRandom } from './sim-random.ts';

export interface SimMessage {
  uid: number | null;
  base: string;
  /** `new/X` or `cur/X:2,FLAGS`. */
  file: string;
}

/** What a simulated mail server needs of its host. */
export interface MailHost {
  files: SimFiles;
  clock: HostClock;
  random: SimRandom;
  history: MailHistory;
}

/**
 * One Maildir with its uidlist and index log, worked on as Dovecot does: the steps of a transaction take time, and
 * between them anybody may look. The index log is text here, one record a line: `+ uid base`, `- uid`, `f uid flags`.
 */
export class SimMailbox {
  dir: string;
  readonly uidValidity: number;
  uidNext = 1;
  messages: SimMessage[] = [];
  readonly #host: MailHost;

  constructor(host: MailHost, dir: string, uidValidity: number) {
    this.#host = host;
    this.dir = dir;
    this.uidValidity = uidValidity;
  }

  /** CREATE. */
  async make(): Promise<void> {
    const { files, history } = this.#host;
    history.made(this.uidValidity);
    if (!files.lstat(this.dir)) files.mkdir(this.dir, 0o700);
    for (const sub of ['tmp', 'cur', 'new']) {
      files.mkdir(`${this.dir}/${sub}`, 0o700);
      await this.#step();
    }
    files.writeFile(`${this.dir}/maildirfolder`, '');
    await this.#locked(() => this.#rewriteUidlist());
    files.writeFile(`${this.dir}/dovecot.index.log`, '');
    files.syncNow();
  }

  /** LMTP or APPEND. Without `uid` the message has none until somebody looks. */
  async deliver(base: string, body: Buffer, options: { uid: boolean; flags: string | null; mtimeNs: bigint | null }): Promise<void> {
    const { files, history } = this.#host;
    const temporary = `${this.dir}/tmp/${base}`;
    history.arrived(base, body);
    files.writeFile(temporary, '');
    await this.#step();
    files.append(temporary, body);
    files.setMeta(temporary, { uid: 5000, gid: 5000, ...(options.mtimeNs === null ? {} : { mtimeNs: options.mtimeNs }) });
    files.syncNow();
    await this.#step();
    const file = options.flags === null ? `new/${base}` : `cur/${base}:2,${options.flags}`;
    const message: SimMessage = { uid: null, base, file };
    const land = async (): Promise<void> => {
      files.rename(temporary, `${this.dir}/${file}`);
      files.syncNow();
      this.messages.push(message);
      await this.#step();
      if (options.uid) await this.#giveUids();
    };
    if (options.uid) await this.#locked(land);
    else await land();
  }

  /** A client looks: messages get their UIDs and move from new/ to cur/. */
  async look(): Promise<void> {
    await this.#locked(() => this.#giveUids());
    for (const message of this.messages) {
      if (message.file.startsWith('new/')) await this.#renameTo(message, `cur/${message.base}:2,`);
    }
  }

  /** STORE. */
  async setFlags(message: SimMessage, flags: string): Promise<void> {
    if (message.uid !== null) this.#log(`f ${message.uid} ${flags}\n`);
    await this.#step();
    await this.#renameTo(message, `cur/${message.base}:2,${flags}`);
  }

  /** COPY: another name of the same file. */
  async copyFrom(source: SimMailbox, message: SimMessage, base: string): Promise<void> {
    const { files, history } = this.#host;
    await this.#locked(async () => {
      history.copied(message.base, base);
      const file = `cur/${base}:2,${message.file.split(':2,')[1] ?? ''}`;
      files.link(`${source.dir}/${message.file}`, `${this.dir}/${file}`);
      this.messages.push({ uid: null, base, file });
      await this.#step();
      await this.#giveUids();
    });
  }

  /** EXPUNGE, and the last part of MOVE. */
  async expunge(victims: readonly SimMessage[]): Promise<void> {
    const { files, history } = this.#host;
    for (const { uid } of victims) {
      if (uid === null) continue;
      history.expunged(this.uidValidity, uid);
      this.#log(`- ${uid}\n`);
    }
    await this.#step();
    for (const message of victims) {
      files.unlink(`${this.dir}/${message.file}`);
      this.messages = this.messages.filter((m) => m !== message);
      await this.#step();
    }
    await this.#locked(() => this.#rewriteUidlist());
  }

  /** Keywords are written as a lock file that becomes the file. */
  async setKeywords(count: number): Promise<void> {
    const { files } = this.#host;
    const lines = Array.from({ length: count }, (_, i) => `${i} keyword${i}\n`).join('');
    files.writeFile(`${this.dir}/dovecot-keywords.lock`, lines);
    await this.#step();
    files.rename(`${this.dir}/dovecot-keywords.lock`, `${this.dir}/dovecot-keywords`);
  }

  /** The log is begun anew with what is there; the old one stays as `.log.2` for a while. */
  async rotateLog(): Promise<void> {
    const { files } = this.#host;
    const log = `${this.dir}/dovecot.index.log`;
    files.writeFile(`${log}.newlock`, this.#logFromScratch());
    files.syncNow();
    await this.#step();
    if (files.lstat(`${log}.2`)) files.unlink(`${log}.2`);
    files.link(log, `${log}.2`);
    await this.#step();
    files.rename(`${log}.newlock`, log);
  }

  /**
   * Takes the mailbox as the disk has it after a power cut, as a restarted server does: locks and temporary files go,
   * the log is made anew. False when it was never finished. Of a power cut a server loses no number that it gave; of a
   * volume that was put back it knows only what that one has.
   */
  recover(isPutBack = false): boolean {
    const { files, history } = this.#host;
    const listed = new Map<string, number>();
    const uidlist = files.readFile(`${this.dir}/dovecot-uidlist`, Infinity)?.data.toString('latin1') ?? '';
    for (const [, uid, base] of uidlist.matchAll(/^(\d+) :(\S+)$/gm)) {
      listed.set(base!, Number(uid));
      this.uidNext = Math.max(this.uidNext, Number(uid) + 1);
    }
    this.uidNext = Math.max(this.uidNext, Number(/ N(\d+) /.exec(uidlist)?.[1] ?? 1));
    if (!isPutBack) this.uidNext = Math.max(this.uidNext, history.lastUid(this.uidValidity) + 1);
    for (const sub of ['new', 'cur']) {
      for (const { name } of files.readdir(`${this.dir}/${sub}`) ?? []) {
        const base = name.split(':')[0]!;
        this.messages.push({ uid: listed.get(base) ?? null, base, file: `${sub}/${name}` });
      }
    }
    for (const { name } of files.readdir(`${this.dir}/tmp`) ?? []) files.unlink(`${this.dir}/tmp/${name}`);
    for (const { name, kind } of files.readdir(this.dir) ?? []) {
      if (kind === 'file' && /\.lock$|\.tmp$|\.newlock$/.test(name)) files.unlink(`${this.dir}/${name}`);
    }
    if (uidlist === '' || !['new', 'cur', 'tmp'].every((sub) => files.lstat(`${this.dir}/${sub}`))) return false;
    files.writeFile(`${this.dir}/dovecot.index.log`, this.#logFromScratch());
    files.syncNow();
    return true;
  }

  #logFromScratch(): string {
    return this.messages
      .filter((m) => m.uid !== null)
      .map((m) => `+ ${m.uid} ${m.base}\n`)
      .join('');
  }

  async #locked(work: () => Promise<void>): Promise<void> {
    const { files } = this.#host;
    const lock = `${this.dir}/dovecot-uidlist.lock`;
    files.close(files.create(lock));
    await this.#step();
    await work();
    await this.#step();
    files.unlink(lock);
  }

  async #giveUids(): Promise<void> {
    const { files, history } = this.#host;
    const fresh = this.messages.filter((m) => m.uid === null);
    if (fresh.length === 0) return;
    for (const message of fresh) {
      message.uid = this.uidNext++;
      history.issued(this.uidValidity, message.uid, message.base);
    }
    files.append(`${this.dir}/dovecot-uidlist`, fresh.map((m) => `${m.uid} :${m.base}\n`).join(''));
    files.syncNow();
    await this.#step();
    this.#log(fresh.map((m) => `+ ${m.uid} ${m.base}\n`).join(''));
  }

  async #rewriteUidlist(): Promise<void> {
    const { files } = this.#host;
    const header = `3 V${this.uidValidity} N${this.uidNext} G${this.uidValidity.toString(16).padStart(32, '0')}\n`;
    const lines = this.messages.filter((m) => m.uid !== null).map((m) => `${m.uid} :${m.base}\n`);
    files.writeFile(`${this.dir}/dovecot-uidlist.tmp`, header + lines.join(''));
    files.syncNow();
    await this.#step();
    files.rename(`${this.dir}/dovecot-uidlist.tmp`, `${this.dir}/dovecot-uidlist`);
  }

  async #renameTo(message: SimMessage, file: string): Promise<void> {
    if (file === message.file) return;
    this.#host.files.rename(`${this.dir}/${message.file}`, `${this.dir}/${file}`);
    message.file = file;
    await this.#step();
  }

  #log(records: string): void {
    this.#host.files.append(`${this.dir}/dovecot.index.log`, records);
  }

  #step(): Promise<void> {
    return sleep(this.#host.clock, this.#host.random.between(0.05, 4));
  }
}
