import { raiseRoot } from '../../agent/mailstore/raise.ts';
import type { Log } from '../../agent/platform/log.ts';
import { joinPath } from '../../agent/platform/files.ts';
import { readMarks } from '../../agent/replicate/standby/marks.ts';
import { showPosition } from '../../protocol/position.ts';
import type { FsState } from './fs-state.ts';
import { MailHistory } from './mail-history.ts';
import { SimClock, type HostClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import type { SimFiles } from './sim-files.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimMailServer } from './sim-mailserver.ts';
import { SimNetwork } from './sim-network.ts';
import { startPrimary, startStandby, type SimHost, type SimProcess } from './sim-node.ts';
import { SimRandom } from './sim-random.ts';
import { compareTrees, ignoresOfMaildir, snapshotTree } from './tree.ts';

const wall = 1_700_000_000_000;
const mail = '/mail';
const roots = [{ name: 'mail', path: mail, format: 'maildir' }] as const;
const deadlineMs = 600_000;
/** Batches of so long a time share a grant (`primary/grants.ts`). */
const grantMs = 1000;
const marginMin = 1000;

/** What of a host is put back: the volume with root and state, or the one with one of them alone. */
export type PutBackPart = 'root and state' | 'state' | 'root';

interface Snapshot {
  atMs: number;
  disk: FsState;
  store: ReadonlyMap<string, Buffer>;
}

/** A pair whose nodes are put back to older states at random points of their work, with kills and cuts in between. */
export class PutBackWorld {
  readonly clock = new SimClock();
  readonly history = new MailHistory();
  readonly violations: string[] = [];
  readonly random: SimRandom;
  readonly #network: SimNetwork;
  readonly #a: SimHost;
  readonly #b: SimHost;
  readonly #worker: HostClock;
  #work: SimFiles;
  readonly server: SimMailServer;
  readonly #log: Log;
  primary: SimProcess | null = null;
  standby: SimProcess | null = null;
  #link = 0;
  /** When each position was sent. */
  readonly #sentMs = new Map<string, number>();
  /** Codes of what the agents wrote to their logs. */
  readonly codes = new Set<string>();
  /** Ops that went to the standby. */
  opsSent = 0;

  readonly seed: number;

  constructor(seed: number) {
    this.seed = seed;
    this.random = new SimRandom(seed);
    this.#network = new SimNetwork(this.clock, this.random.fork('network'), { noticeMs: [0, 100] });
    this.#network.tap = (message) => {
      if (message.type === 'commit') this.#sentMs.set(showPosition(message.to), this.clock.now);
      if (message.type === 'ops') this.opsSent++;
      return message;
    };
    const say = (level: string) => (facts: object, message: string) => {
      if ('code' in facts && typeof facts.code === 'string') this.codes.add(facts.code);
      if (process.env['SIM_LOG']) console.error(this.clock.now.toFixed(1), level, message, JSON.stringify(facts));
    };
    this.#log = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') };
    const host = (name: string): SimHost => ({
      name,
      disk: new SimDisk(this.random.fork(`disk ${name}`), { reuseInos: seed % 2 === 0 }),
      store: new SimKvStore(() => this.random.between(0.2, 8)),
      roots,
    });
    [this.#a, this.#b] = [host('a'), host('b')];
    this.#worker = this.clock.host(wall);
    this.#work = this.#a.disk.open(this.#worker);
    this.server = new SimMailServer(
      { files: this.#work, clock: this.#worker, random: this.random.fork('mail'), history: this.history },
      mail,
      { pauseMs: 40 },
    );
  }

  async begin(): Promise<void> {
    await this.clock.settle(this.server.setUp(2), deadlineMs);
    this.#look(this.#b).mkdir(mail, 0o700);
    this.startPrimary();
    await this.startStandby();
    this.server.start();
    this.connect();
  }

  violate(what: string): void {
    this.violations.push(`seed ${this.seed} at ${this.clock.now.toFixed(0)} ms: ${what}`);
  }

  /** Work goes on for a while, with kills of either agent and cuts of the line. */
  async workFor(ms: number, troubleMs: number): Promise<void> {
    const end = this.clock.now + ms;
    while (this.clock.now < end) {
      await this.clock.runFor(Math.min(end - this.clock.now, this.random.next() * 2 * troubleMs));
      if (this.clock.now >= end) return;
      await this.trouble();
    }
  }

  async trouble(): Promise<void> {
    switch (this.random.pick(['cut', 'primary-kill', 'primary-kill', 'standby-power'])) {
      case 'cut':
        return this.#network.cut();
      case 'primary-kill':
        this.killPrimary();
        await this.clock.runFor(this.random.between(0, 50));
        return this.startPrimary();
      case 'standby-power':
        this.#end(this.standby, this.#b, true);
        await this.clock.runFor(this.random.between(0, 50));
        return this.startStandby();
    }
  }

  snapshot(which: 'a' | 'b'): Snapshot {
    const { disk, store } = which === 'a' ? this.#a : this.#b;
    return { atMs: this.clock.now, disk: disk.snapshot(), store: store.snapshot() };
  }

  /** The primary's host is put back. Its mail server lies still afterwards when its volume was put back. */
  async putBackPrimary(snapshot: Snapshot, part: PutBackPart): Promise<void> {
    if (part === 'state') await this.clock.settle(this.server.stop(), deadlineMs);
    this.killPrimary();
    if (part !== 'state') {
      // Whatever the server had under way ends with its host, on a disk that nobody sees any more.
      const stopped = this.server.stop();
      this.#a.disk.putBack(snapshot.disk);
      await this.clock.settle(stopped, deadlineMs);
    }
    if (part !== 'root') this.#a.store.putBack(snapshot.store);
    if (part !== 'state') {
      this.#work = this.#a.disk.open(this.#worker);
      this.server.restart({ files: this.#work, clock: this.#worker, random: this.random.fork('again'), history: this.history }, true);
    }
  }

  async putBackStandby(snapshot: Snapshot): Promise<void> {
    this.#end(this.standby, this.#b, false);
    this.#b.disk.putBack(snapshot.disk);
    this.#b.store.putBack(snapshot.store);
    await this.startStandby();
  }

  /** When the batch that the standby applied last was sent. */
  standbySentMs(): number {
    const position = this.standby?.standby?.receiver.position;
    return (position && this.#sentMs.get(showPosition(position))) ?? 0;
  }

  /** Whether a store of this age must know that it was put back; null when it cannot tell. */
  mustTell(snapshot: Snapshot): boolean | null {
    const sentMs = this.standbySentMs();
    if (sentMs > snapshot.atMs + grantMs) return true;
    return sentMs <= snapshot.atMs ? false : null;
  }

  /** A person keeps the primary's state: numbers are raised above what the standby knows, with the server down. */
  async keep(): Promise<void> {
    const kv = this.standby?.kv;
    const marks = new Map((kv ? readMarks(kv) : []).map((mark) => [joinPath(mark.root, mark.mailbox), mark]));
    await this.clock.settle(
      raiseRoot(
        this.#work,
        { name: 'mail', path: mail, staging: '/raise' },
        (mailbox) => marks.get(joinPath('mail', mailbox)) ?? null,
        () => ({ uids: marginMin, modseqs: marginMin }),
        { nowSeconds: wall / 1000, breathe: () => this.#worker.yield() },
      ),
      deadlineMs,
    );
    await this.clock.settle(this.primary?.primary?.sender.keepThisState() ?? Promise.resolve(), deadlineMs);
    this.server.restart({ files: this.#work, clock: this.#worker, random: this.random.fork('kept'), history: this.history }, true);
  }

  /** All is quiet; both trees must be the same. */
  async comeToRest(): Promise<void> {
    await this.clock.settle(this.server.stop(), deadlineMs);
    const primary = this.primary?.primary;
    if (!primary) return this.violate('there is no primary');
    await this.clock.settle(primary.wait(deadlineMs, new AbortController().signal), deadlineMs);
    const [left, right] = [this.#a, this.#b].map((host) => snapshotTree(this.#look(host), mail, ignoresOfMaildir));
    if (left && right) for (const line of compareTrees(left, right)) this.violate(`trees at rest: ${line}`);
    for (const process of [this.primary, this.standby])
      for (const error of process?.errors ?? []) this.violate(`a process failed: ${String(error)}`);
  }

  standbyTree(): ReturnType<typeof snapshotTree> {
    return snapshotTree(this.#look(this.#b), mail, ignoresOfMaildir);
  }

  startPrimary(): void {
    this.primary = startPrimary(this.#a, this.clock.host(wall + this.clock.now), this.#options('a'));
    this.connect();
  }

  killPrimary(): void {
    this.#end(this.primary, this.#a, false);
    this.primary = null;
  }

  async startStandby(): Promise<void> {
    const standby = (this.standby = startStandby(this.#b, this.clock.host(wall + this.clock.now), this.#options('b')));
    await this.clock.settle(standby.ready, deadlineMs);
    this.connect();
  }

  /** Connects, and again whenever the connection ends. */
  connect(): void {
    const number = ++this.#link;
    this.clock.after(this.random.between(1, 30), () => {
      const { primary, standby } = this;
      if (number !== this.#link || !primary?.primary || !standby?.standby) return;
      void standby.standby.idle().then(() => {
        if (number !== this.#link || primary !== this.primary || standby !== this.standby) return;
        const [left, right] = this.#network.connect({ name: 'a', clock: primary.clock }, { name: 'b', clock: standby.clock });
        void standby.standby?.serve(right, primary.hello(), 'sim');
        void primary.primary?.serve(left, standby.hello(), 'sim');
        void Promise.all([left.ended, right.ended]).then(() => number === this.#link && this.connect());
      });
    });
  }

  #options(name: string) {
    return { watcherRandom: this.random.fork(`watch ${name} ${this.clock.now}`), overflowShare: 0, log: this.#log };
  }

  #end(process: SimProcess | null, host: SimHost, isPowerCut: boolean): void {
    if (!process) return;
    process.clock.kill();
    this.#network.cutProcess(process.clock);
    if (isPowerCut) {
      host.disk.crash();
      host.store.crash(this.random);
    } else {
      host.disk.kill(process.files);
      host.store.kill();
    }
  }

  #look(host: SimHost): SimFiles {
    return host.disk.open(this.clock.host(wall));
  }
}
