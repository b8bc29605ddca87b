import type { BytePath } from '../../agent/platform/files.ts';
import type { SimRandom } from './sim-random.ts';

/**
 * What a call can fail with while the path is there. ENOENT, ENOTDIR and EEXIST are left out: they say something about
 * names, and a file system that lies about those is none.
 */
const anyCodes = [
  ...['EACCES', 'EPERM', 'EIO', 'ELOOP', 'ENAMETOOLONG', 'EOVERFLOW', 'ESTALE', 'EBUSY', 'ETXTBSY', 'ENOSPC', 'EDQUOT', 'EROFS'],
  ...['EMFILE', 'ENFILE', 'ENOMEM', 'EINTR', 'EAGAIN', 'EINVAL', 'EOPNOTSUPP', 'EFBIG', 'EMLINK', 'EREMOTEIO', 'ENODEV', 'ENOTSUP'],
  ...['ENXIO', 'ETIMEDOUT', 'ENODATA', 'ENOSYS', 'EXDEV', 'ERANGE', 'ENOTCONN', 'ESHUTDOWN'],
  // EUCLEAN and ENOKEY, as Node and koffi give what they have no name for.
  ...['Unknown system error -117', 'errno 126'],
] as const;
/** What a whole file system says when its device, its server or its room is gone. */
const rootCodes = ['EIO', 'ESTALE', 'EROFS', 'ENOSPC', 'ENOMEM', 'EMFILE', 'ETIMEDOUT', 'Unknown system error -117', 'ENOTCONN'] as const;
const reading = ['lstat', 'readdir', 'readFile', 'openRead', 'read', 'fstat', 'xattrs', 'readlink'] as const;

interface Sickness {
  untilMs: number;
  code: string;
  /** Null: every operation. */
  operations: readonly string[] | null;
  /** Null: every path. */
  below: BytePath | null;
  /** Share of the calls that it meets. */
  share: number;
}

/** Errors that the file calls of a host's agent meet for a while: of one path, of a root, or of any call here and there. */
export class Plague {
  readonly #random: SimRandom;
  #sick: Sickness[] = [];
  /** How many calls have failed. */
  met = 0;

  constructor(random: SimRandom) {
    this.#random = random;
  }

  /** `paths` are those there are, absolute; `nowMs` and `forMs` on the monotonic clock. Returns what it is, for a log. */
  strike(paths: readonly BytePath[], roots: readonly BytePath[], nowMs: number): string {
    const random = this.#random;
    const kind = random.pick(paths.length > 0 ? (['path', 'path', 'path', 'root', 'sprinkle'] as const) : (['root', 'sprinkle'] as const));
    const operations = random.chance(0.4) ? null : random.chance(0.5) ? reading : [random.pick(reading)];
    const sickness: Sickness =
      kind === 'path'
        ? { untilMs: nowMs + random.between(20, 3000), code: random.pick(anyCodes), operations, below: random.pick(paths), share: 1 }
        : kind === 'root'
          ? { untilMs: nowMs + random.between(10, 400), code: random.pick(rootCodes), operations, below: random.pick(roots), share: 1 }
          : { untilMs: nowMs + random.between(50, 500), code: '', operations: null, below: null, share: random.pick([0.001, 0.01]) };
    this.#sick.push(sickness);
    return `${kind} ${JSON.stringify(sickness)}`;
  }

  /** Every call works again. */
  end(): void {
    this.#sick = [];
  }

  isOver(nowMs: number): boolean {
    return this.#sick.every(({ untilMs }) => untilMs <= nowMs);
  }

  codeFor(operation: string, path: BytePath, nowMs: number): string | null {
    if (this.#sick.length === 0) return null;
    this.#sick = this.#sick.filter(({ untilMs }) => untilMs > nowMs);
    for (const { code, operations, below, share } of this.#sick) {
      if (operations !== null && !operations.includes(operation)) continue;
      if (below !== null && path !== below && !path.startsWith(`${below}/`)) continue;
      if (share < 1 && !this.#random.chance(share)) continue;
      this.met++;
      return code === '' ? this.#random.pick(anyCodes) : code;
    }
    return null;
  }
}
