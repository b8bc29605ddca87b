import { sleep } from '../../agent/platform/clock.ts';
import { SimMailbox, type MailHost } from './sim-mailbox.ts';

export interface SimMailServerOptions {
  /** Mean pause between two actions of one client, milliseconds. */
  pauseMs?: number;
  clients?: number;
  /** Share of deliveries larger than what travels inside an op. */
  largeShare?: number;
}

const flagSets = ['', 'S', 'RS', 'FS', 'ST', 'Sa', 'Sab'];

/**
 * A mail server at work on a Maildir++ below `root`, as MAILSTORE.md tells: several clients at once, each action in
 * timed steps, one action at a time in each mailbox.
 */
export class SimMailServer {
  #host: MailHost;
  readonly #root: string;
  readonly #pauseMs: number;
  readonly #clients: number;
  readonly #largeShare: number;
  #mailboxes: SimMailbox[] = [];
  readonly #busy = new Set<SimMailbox>();
  #emptying = false;
  #subscribing = false;
  #counter = 0;
  #nextUidValidity: number;
  #stopping = false;
  #running: Promise<void>[] = [];
  /** Actions done, by kind. */
  readonly done = new Map<string, number>();

  constructor(host: MailHost, root: string, options: SimMailServerOptions = {}) {
    this.#host = host;
    this.#root = root;
    this.#pauseMs = options.pauseMs ?? 20;
    this.#clients = options.clients ?? 3;
    this.#largeShare = options.largeShare ?? 0.01;
    this.#nextUidValidity = Math.floor(host.clock.wallMs() / 1000);
  }

  get mailboxes(): readonly SimMailbox[] {
    return this.#mailboxes;
  }

  /** Makes the INBOX and a few folders. */
  async setUp(folders: number): Promise<void> {
    this.#host.files.mkdir(this.#root, 0o700);
    this.#host.files.writeFile(`${this.#root}/dovecot-uidvalidity`, '00000000');
    await this.#create(this.#root);
    for (let i = 0; i < folders; i++) await this.#createFolder();
  }

  /** Lets the clients work until `stop`. */
  start(): void {
    this.#stopping = false;
    this.#running = Array.from({ length: this.#clients }, () => this.#client());
  }

  /** No new action begins; resolves when those under way are done, and every mailbox is at rest. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#running);
  }

  /**
   * The server comes up again after its host lost power; `host` has the new process's files and clock. On a volume that
   * was put back it knows no numbers but those that the volume has.
   */
  restart(host: MailHost, isPutBack = false): void {
    const { files } = host;
    this.#host = host;
    this.#busy.clear();
    [this.#emptying, this.#subscribing] = [false, false];
    this.#running = [];
    const old = this.#mailboxes;
    this.#mailboxes = [];
    for (const { name, kind } of [{ name: '', kind: 'dir' }, ...(files.readdir(this.#root) ?? [])]) {
      const dir = name === '' ? this.#root : `${this.#root}/${name}`;
      if (kind !== 'dir' || (name !== '' && !name.startsWith('.'))) continue;
      const header = /^3 V(\d+) /.exec(files.readFile(`${dir}/dovecot-uidlist`, Infinity)?.data.toString('latin1') ?? '');
      const uidValidity = header ? Number(header[1]) : old.find((b) => b.dir === dir)?.uidValidity;
      const box = uidValidity === undefined ? null : new SimMailbox(host, dir, uidValidity);
      if (name !== '..DOVECOT-TRASHED' && box?.recover(isPutBack)) this.#mailboxes.push(box);
      else if (name !== '') removeTree(files, dir);
    }
  }

  /** One delivery into the INBOX, for a test's own use. */
  async deliverOne(): Promise<void> {
    await this.#alone(this.#mailboxes[0]!, (box) => this.#deliver(box, true));
  }

  async #client(): Promise<void> {
    while (!this.#stopping) {
      await sleep(this.#host.clock, this.#host.random.next() * 2 * this.#pauseMs);
      if (!this.#stopping) await this.#act();
    }
  }

  async #act(): Promise<void> {
    const { random } = this.#host;
    const free = this.#mailboxes.filter((box) => !this.#busy.has(box));
    if (free.length === 0) return;
    const box = random.pick(free);
    const folders = free.filter((b) => b !== this.#mailboxes[0]);
    const roll = random.int(100);
    if (roll < 40) return this.#count('deliver', () => this.#alone(box, (b) => this.#deliver(b, random.chance(0.6))));
    if (roll < 52) return this.#count('look', () => this.#alone(box, (b) => b.look()));
    if (roll < 66) return this.#count('flags', () => this.#alone(box, (b) => this.#flags(b)));
    if (roll < 74) return this.#count('copy', () => this.#transfer(box, random.pick(free), false));
    if (roll < 81) return this.#count('move', () => this.#transfer(box, random.pick(free), true));
    if (roll < 90) return this.#count('expunge', () => this.#alone(box, (b) => b.expunge(b.messages.filter(() => random.chance(0.2)))));
    if (roll < 92) return this.#count('keywords', () => this.#alone(box, (b) => b.setKeywords(1 + random.int(5))));
    if (roll < 94) return this.#count('rotate', () => this.#alone(box, (b) => b.rotateLog()));
    if (roll < 96) return this.#count('create', () => this.#createFolder());
    if (roll < 97) return this.#count('subscribe', () => this.#subscribe());
    if (folders.length === 0) return;
    const folder = random.pick(folders);
    if (roll < 99) return this.#count('rename', () => this.#alone(folder, async (b) => this.#rename(b)));
    if (this.#mailboxes.length > 2) return this.#count('delete', () => this.#delete(folder));
  }

  async #count(kind: string, work: () => Promise<void>): Promise<void> {
    this.done.set(kind, (this.done.get(kind) ?? 0) + 1);
    await work();
  }

  async #alone(box: SimMailbox, work: (box: SimMailbox) => Promise<void>): Promise<void> {
    if (this.#busy.has(box)) return;
    this.#busy.add(box);
    try {
      await work(box);
    } finally {
      this.#busy.delete(box);
    }
  }

  #base(): string {
    const seconds = Math.floor(this.#host.clock.wallMs() / 1000);
    return `${seconds}.M${++this.#counter}P7.mail,S=${this.#counter}`;
  }

  async #deliver(box: SimMailbox, uid: boolean): Promise<void> {
    const { random } = this.#host;
    const length = random.chance(this.#largeShare) ? 150_000 + random.int(300_000) : 20 + random.int(2000);
    const base = this.#base();
    // Small messages are often alike (notices, list footers); large ones are not.
    const body = random.chance(0.1)
      ? Buffer.alloc(500, 'same ')
      : Buffer.concat([Buffer.from(`Subject: ${base}\n\n`), random.bytes(length)]);
    const isAppend = random.chance(0.2);
    const mtimeNs = isAppend ? BigInt(1_600_000_000 + random.int(1e7)) * 1_000_000_000n + BigInt(random.int(1e9)) : null;
    await box.deliver(base, body, { uid, flags: isAppend ? random.pick(flagSets) : null, mtimeNs });
  }

  async #flags(box: SimMailbox): Promise<void> {
    const { random } = this.#host;
    for (const message of box.messages) if (random.chance(0.3)) await box.setFlags(message, random.pick(flagSets));
  }

  async #transfer(from: SimMailbox, to: SimMailbox, isMove: boolean): Promise<void> {
    if (from === to || from.messages.length === 0) return;
    await this.#alone(from, () =>
      this.#alone(to, async () => {
        const message = this.#host.random.pick(from.messages);
        await to.copyFrom(from, message, this.#base());
        if (isMove) await from.expunge([message]);
      }),
    );
  }

  async #createFolder(): Promise<void> {
    await this.#create(`${this.#root}/.Folder ${++this.#counter}`);
  }

  async #create(dir: string): Promise<void> {
    const { files } = this.#host;
    const value = this.#nextUidValidity++;
    const marker = (v: number) => `${this.#root}/dovecot-uidvalidity.${v.toString(16)}`;
    if (files.lstat(marker(value - 1))) files.rename(marker(value - 1), marker(value));
    else files.writeFile(marker(value), '');
    files.overwrite(`${this.#root}/dovecot-uidvalidity`, value.toString(16).padStart(8, '0'), 0);
    const box = new SimMailbox(this.#host, dir, value);
    this.#busy.add(box);
    await box.make();
    this.#mailboxes.push(box);
    this.#busy.delete(box);
  }

  async #rename(box: SimMailbox): Promise<void> {
    const to = `${this.#root}/.Folder ${++this.#counter}`;
    this.#host.files.rename(box.dir, to);
    box.dir = to;
  }

  async #delete(box: SimMailbox): Promise<void> {
    if (this.#emptying) return;
    this.#emptying = true;
    await this.#alone(box, async () => {
      const { files, history } = this.#host;
      this.#mailboxes = this.#mailboxes.filter((b) => b !== box);
      for (const { uid } of box.messages) if (uid !== null) history.expunged(box.uidValidity, uid);
      const trash = `${this.#root}/..DOVECOT-TRASHED`;
      files.rename(box.dir, trash);
      await this.#empty(trash);
    });
    this.#emptying = false;
  }

  async #empty(dir: string): Promise<void> {
    const { files, clock, random } = this.#host;
    for (const { name, kind } of files.readdir(dir) ?? []) {
      if (kind === 'dir') await this.#empty(`${dir}/${name}`);
      else files.unlink(`${dir}/${name}`);
      if (random.chance(0.3)) await sleep(clock, random.between(0.05, 2));
    }
    files.rmdir(dir);
  }

  async #subscribe(): Promise<void> {
    if (this.#subscribing) return;
    this.#subscribing = true;
    const { files, clock, random } = this.#host;
    const names = this.#mailboxes.filter(() => random.chance(0.5)).map((b) => `${b.dir.slice(this.#root.length + 1)}\n`);
    files.writeFile(`${this.#root}/subscriptions.lock`, names.join(''));
    await sleep(clock, random.between(0.05, 2));
    files.rename(`${this.#root}/subscriptions.lock`, `${this.#root}/subscriptions`);
    this.#subscribing = false;
  }
}

function removeTree(files: MailHost['files'], dir: string): void {
  for (const { name, kind } of files.readdir(dir) ?? []) {
    if (kind === 'dir') removeTree(files, `${dir}/${name}`);
    else files.unlink(`${dir}/${name}`);
  }
  files.rmdir(dir);
}
