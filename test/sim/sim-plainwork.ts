import { sleep } from '../../agent/platform/clock.ts';
import { errnoCode } from '../../agent/platform/files.ts';
import type { HostClock } from './sim-clock.ts';
import type { SimFiles } from './sim-files.ts';
import type { SimRandom } from './sim-random.ts';

const filesMax = 60;
const bigBytesMax = 2_000_000;

/** Somebody who works with files below a directory in every way that a replica has to follow. */
export class SimPlainWork {
  readonly #files: SimFiles;
  readonly #clock: HostClock;
  readonly #random: SimRandom;
  readonly #root: string;
  readonly #odd: (paths: readonly string[]) => void;
  #counter = 0;
  #stopping = false;
  #running: Promise<void> = Promise.resolve();

  /** `odd` does, now and then, something besides with one of the paths that it gets. */
  constructor(files: SimFiles, clock: HostClock, random: SimRandom, root: string, odd: (paths: readonly string[]) => void = () => {}) {
    this.#odd = odd;
    this.#files = files;
    this.#clock = clock;
    this.#random = random;
    this.#root = root;
  }

  /** Works with this mean pause between two changes until `stop`. */
  start(pauseMs: number): void {
    this.#stopping = false;
    this.#running = (async () => {
      while (!this.#stopping) {
        await sleep(this.#clock, this.#random.next() * 2 * pauseMs);
        if (this.#stopping) continue;
        this.#tryChange();
        this.#odd(this.#list().map(({ path }) => `${this.#root}/${path}`));
      }
    })();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }

  /** A mount point does not move, and nothing is renamed from one disk to another: then nothing changes. */
  #tryChange(): void {
    try {
      this.change();
    } catch (error) {
      if (!['EBUSY', 'EXDEV'].includes(errnoCode(error) ?? '')) throw error;
    }
  }

  /** One random change. What is not possible at the moment changes nothing. */
  change(): void {
    const random = this.#random;
    const paths = this.#list();
    const plain = paths.filter((p) => p.kind === 'file').map((p) => p.path);
    const dirs = ['', ...paths.filter((p) => p.kind === 'dir').map((p) => p.path)].map((p) => `${this.#root}${p === '' ? '' : `/${p}`}`);
    const file = plain.length > 0 ? `${this.#root}/${random.pick(plain)}` : null;
    const dir = random.pick(dirs);
    const fresh = () => `${random.pick(dirs)}/${this.#name()}`;
    const roll = random.int(20);
    if (file === null || (roll < 4 && plain.length < filesMax))
      return this.#files.writeFile(fresh(), random.bytes(random.int(random.chance(0.1) ? 400_000 : 3000)));
    const size = this.#files.lstat(file)!.size;
    switch (roll) {
      case 4:
      case 5:
        if (size < bigBytesMax) this.#files.append(file, random.bytes(random.int(random.chance(0.2) ? 300_000 : 500)));
        return;
      case 6:
        return this.#insert(file, size);
      case 7:
        if (size > 0) this.#files.overwrite(file, random.bytes(Math.min(16, size)), random.int(size));
        return;
      case 8:
        return this.#files.truncate(file, random.int(size + 1));
      case 9:
        return this.#files.setMeta(random.chance(0.7) ? file : dir === this.#root ? file : dir, {
          mode: random.pick([0o600, 0o640, 0o644, 0o700, 0o755]),
        });
      case 10:
        return this.#files.setMeta(file, { uid: 5000 + random.int(3), gid: 5000 + random.int(3) });
      case 11:
        return this.#files.setMeta(file, { mtimeNs: BigInt(1_500_000_000 + random.int(1e8)) * 1_000_000_000n + BigInt(random.int(1e9)) });
      case 12:
        return this.#files.setMeta(file, {
          xattrs: random.chance(0.3) ? new Map() : new Map([[`user.note${random.int(2)}`, random.bytes(8)]]),
        });
      case 13:
        return this.#files.symlink(random.pick(['elsewhere', 'nowhere/at/all', this.#name()]), fresh());
      case 14:
        return this.#files.rename(file, random.chance(0.3) && plain.length > 1 ? `${this.#root}/${random.pick(plain)}` : fresh());
      case 15:
        return this.#files.link(file, fresh());
      case 16:
        return this.#files.unlink(file);
      case 17:
        if (dirs.length < 12) this.#files.mkdir(fresh(), 0o755);
        return;
      case 18:
        return this.#moveDir(dir, fresh());
      default:
        return this.#swap(file);
    }
  }

  /** An editor's way: a new file with something put in, renamed over the old one. */
  #insert(file: string, size: number): void {
    const data = this.#files.readFile(file, Infinity)!.data;
    const at = this.#random.int(size + 1);
    const next = `${file}~`;
    if (next.length - next.lastIndexOf('/') > 200) return;
    this.#files.writeFile(next, Buffer.concat([data.subarray(0, at), this.#random.bytes(this.#random.int(200)), data.subarray(at)]));
    this.#files.rename(next, file);
  }

  #moveDir(dir: string, to: string): void {
    if (dir === this.#root || to.startsWith(`${dir}/`)) return;
    this.#files.rename(dir, to);
  }

  /** A file becomes a directory of the same name, with the file inside; or a directory that is empty becomes a file. */
  #swap(file: string): void {
    const random = this.#random;
    const empty = this.#list().find((p) => p.kind === 'dir' && this.#files.readdir(`${this.#root}/${p.path}`)!.length === 0);
    if (empty && random.chance(0.5)) {
      this.#files.rmdir(`${this.#root}/${empty.path}`);
      this.#files.writeFile(`${this.#root}/${empty.path}`, 'was a directory');
      return;
    }
    const aside = `${this.#root}/${this.#name()}`;
    this.#files.rename(file, aside);
    this.#files.mkdir(file, 0o755);
    this.#files.rename(aside, `${file}/inside`);
  }

  /** Names of all kinds: plain, with a line break, not UTF-8, long; and some that are used again and again. */
  #name(): string {
    const n = ++this.#counter;
    const hard = this.#random.int(12);
    if (hard === 0) return `line\nbreak ${n}`;
    if (hard === 1) return `caf\xe9 ${n}`;
    if (hard === 2) return `${n}`.padEnd(250, 'x');
    return `f${n}`;
  }

  #list(): { path: string; kind: string }[] {
    const out: { path: string; kind: string }[] = [];
    const walk = (dir: string): void => {
      for (const { name, kind } of this.#files.readdir(dir === '' ? this.#root : `${this.#root}/${dir}`) ?? []) {
        const path = dir === '' ? name : `${dir}/${name}`;
        out.push({ path, kind });
        if (kind === 'dir') walk(path);
      }
    };
    walk('');
    return out;
  }
}
