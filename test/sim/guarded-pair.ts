import { HistoryKeeper } from '../../agent/history/keeper.ts';
import type { GuardLimits } from '../../agent/replicate/primary/guard.ts';
import type { HeldDeletion } from '../../agent/replicate/primary/held-deletions.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimNetwork } from './sim-network.ts';
import { startPrimary, startStandby, type SimHost, type SimProcess } from './sim-node.ts';
import { SimRandom } from './sim-random.ts';
import { compareTrees, ignoresOfMaildir, snapshotTree } from './tree.ts';

const wall = 1_700_000_000_000;
const header = '3 V1700000000 N1 G0123456789abcdef0123456789abcdef\n';
export const message = (n: number) => `1700000000.M${n}P1.host`;
const limitMs = 600_000;
/** Long enough for the guard to be sure that nothing turns up elsewhere. */
const holdMs = 3000;

/** A pair with a Maildir root `/mail` and a plain root `/plain`, whose guard holds a fifth of a root, from 20 files on. */
export class GuardedPair {
  readonly clock = new SimClock();
  readonly #random: SimRandom;
  readonly #network: SimNetwork;
  readonly #a: SimHost;
  readonly #b: SimHost;
  readonly server;
  readonly copy;
  #primary: SimProcess;
  #standby: SimProcess;
  /** Names that the standby was told to remove. */
  readonly removed: string[] = [];
  /** Names whose content it was sent. */
  readonly sent: string[] = [];
  readonly #guard: GuardLimits;

  constructor(seed = 3, isConnected = true, guard: GuardLimits = { share: 0.2, filesMin: 20 }) {
    this.#guard = guard;
    this.#random = new SimRandom(seed);
    this.#network = new SimNetwork(this.clock, this.#random.fork('network'));
    this.#network.tap = (sent) => {
      for (const op of sent.type === 'ops' ? sent.ops : []) {
        if (op.op === 'remove') this.removed.push(op.at.name);
        if (op.op === 'put' || op.op === 'patch') this.sent.push(op.at.name);
      }
      return sent;
    };
    this.#a = this.#host('a');
    this.#b = this.#host('b');
    this.server = this.#a.disk.open(this.clock.host(wall));
    this.copy = this.#b.disk.open(this.clock.host(wall));
    for (const root of ['/mail', '/plain']) {
      this.server.mkdir(root, 0o700);
      this.copy.mkdir(root, 0o700);
    }
    this.#primary = this.#newPrimary();
    this.#standby = startStandby(this.#b, this.clock.host(wall), this.#options());
    if (isConnected) this.connect();
  }

  get primary() {
    const { primary } = this.#primary;
    if (!primary) throw new Error('no primary runs');
    return primary;
  }

  /** The standby calls its copy complete. */
  get isFilledThere(): boolean {
    return this.#standby.standby?.filled ?? false;
  }

  /** Both nodes hold the first connection that was made, or a later one of the test's own. */
  get isConnected(): boolean {
    return this.primary.peer.connected && (this.#standby.standby?.peer.connected ?? false);
  }

  /** Places where the standby says that somebody else wrote. */
  get foreign(): { path: string; what: string }[] {
    return this.#standby.standby?.foreign() ?? [];
  }

  /** Places that the standby lacks. */
  get shortfalls(): string[] {
    return this.#standby.standby?.receiver.shortfalls.list().map(({ path }) => path) ?? [];
  }

  get standbyDisk(): SimDisk {
    return this.#b.disk;
  }

  get primaryDisk(): SimDisk {
    return this.#a.disk;
  }

  /** The connection breaks. */
  cut(): void {
    this.#network.cutProcess(this.#primary.clock);
  }

  get held(): { place: string; files: number }[] {
    return this.primary.deletions.map(({ root, place, files }: HeldDeletion) => ({ place: `${root}/${place}`, files }));
  }

  connect(): void {
    const [left, right] = this.#network.connect({ name: 'a', clock: this.#primary.clock }, { name: 'b', clock: this.#standby.clock });
    void this.#standby.standby?.serve(right, this.#primary.hello(), 'sim');
    void this.#primary.primary?.serve(left, this.#standby.hello(), 'sim');
  }

  makeMailbox(dir: string, messages: number, from = 1): void {
    for (const each of [dir, `${dir}/cur`, `${dir}/new`, `${dir}/tmp`]) this.server.mkdir(each, 0o700);
    for (let n = from; n < from + messages; n++) this.server.writeFile(`${dir}/cur/${message(n)}:2,S`, `message ${n}`);
    this.list(dir, from, from + messages);
  }

  /** The uidlist as the server writes it anew, for these messages. */
  list(dir: string, from: number, to: number, more: readonly number[] = []): void {
    let list = header;
    for (let n = from; n < to; n++) list += `${n} :${message(n)}\n`;
    for (const n of more) list += `${n} :${message(n)}\n`;
    this.replace(`${dir}/dovecot-uidlist`, list);
  }

  /** As a server writes a file anew: aside, then renamed. */
  replace(path: string, content: string): void {
    this.server.writeFile('/aside', content);
    this.server.rename('/aside', path);
  }

  /** Paths of a place that the standby's history keeps for their whole time. */
  keptForGood(): string[] {
    const keeper = new HistoryKeeper(this.#standby.kv, { days: 14, bytesMax: 1e12 });
    return [...keeper.versions()].filter(({ massDeleted }) => massDeleted).map(({ root, path }) => `${root}/${path}`);
  }

  names(path: string): string[] {
    return (this.copy.readdir(path) ?? []).map(({ name }) => name).sort();
  }

  read(path: string): string | undefined {
    return this.copy.readFile(path, 1_000_000)?.data.toString();
  }

  /** The primary's agent is killed; `meanwhile` happens while nobody watches. */
  async restart(meanwhile: () => void = () => {}): Promise<void> {
    const { clock, files } = this.#primary;
    clock.kill();
    this.#network.cutProcess(clock);
    this.#a.disk.kill(files);
    this.#a.store.kill();
    await this.clock.runFor(1000);
    meanwhile();
    await this.clock.runFor(1000);
    this.#primary = this.#newPrimary();
    this.connect();
  }

  /** The standby's agent is killed and started again. */
  async restartStandby(): Promise<void> {
    const { clock, files } = this.#standby;
    clock.kill();
    this.#network.cutProcess(clock);
    this.#b.disk.kill(files);
    this.#b.store.kill();
    await this.clock.runFor(10);
    this.#standby = startStandby(this.#b, this.clock.host(wall + this.clock.now), this.#options());
    await this.clock.settle(this.#standby.ready, limitMs);
    this.connect();
  }

  /** `wait`: null when it confirms, else its error's code. */
  async wait(timeoutMs = limitMs): Promise<string | null> {
    let code: string | null = null;
    const waited = this.primary.wait(timeoutMs, new AbortController().signal).catch((error: unknown) => {
      code = (error as { code: string }).code;
    });
    await this.clock.settle(waited, timeoutMs + 1000);
    return code;
  }

  async allow(...places: string[]): Promise<number> {
    const chosen = this.primary.deletions.filter(({ root, place }) => places.includes(`${root}/${place}`));
    let files = 0;
    await this.clock.settle(
      this.primary.allowDelete(chosen).then((released) => {
        for (const each of released) files += each.files;
      }),
      limitMs,
    );
    return files;
  }

  rest(ms = holdMs): Promise<void> {
    return this.clock.runFor(ms);
  }

  differences(): string[] {
    return ['/mail', '/plain'].flatMap((root) => {
      const ignores = root === '/mail' ? ignoresOfMaildir : () => false;
      return compareTrees(snapshotTree(this.server, root, ignores), snapshotTree(this.copy, root, ignores));
    });
  }

  #newPrimary(): SimProcess {
    return startPrimary(this.#a, this.clock.host(wall + this.clock.now), this.#options());
  }

  #options() {
    return { watcherRandom: this.#random, overflowShare: 0, log: silentLog, guard: this.#guard };
  }

  #host(name: string): SimHost {
    const roots = [
      { name: 'mail', path: '/mail', format: 'maildir' as const },
      { name: 'plain', path: '/plain', format: 'plain' as const },
    ];
    return { name, disk: new SimDisk(this.#random.fork(name)), store: new SimKvStore(() => 1), roots };
  }
}
