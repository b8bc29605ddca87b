import { errnoCode, type BytePath, type Files } from '../platform/files.ts';
import type { NumberingFile } from './mailbox-walk.ts';

const renamesPerSlice = 256;
const runsMax = 1000;

/**
 * New files, written beside the root and renamed into it together.
 *
 * What they replace stays linked there: giving its blocks back costs more than a millisecond a file on a file system
 * that discards them, and would be most of a takeover's time. `clearStaged` removes it when there is time.
 */
export class StagedFiles {
  readonly files: Files;
  readonly #dir: BytePath;
  readonly #moves: { from: BytePath; to: BytePath }[] = [];
  readonly #after: (() => void)[] = [];

  /** `dir` may hold what an earlier run left; this one makes a directory of its own in it. */
  constructor(files: Files, dir: BytePath) {
    this.files = files;
    if (files.lstat(dir) === null) files.mkdir(dir, 0o700);
    let run = 0;
    while (files.lstat(`${dir}/${run}`) !== null) if (++run > runsMax) throw new Error(`${dir} is full of what earlier runs left`);
    this.#dir = `${dir}/${run}`;
    files.mkdir(this.#dir, 0o700);
  }

  /** New content with the owner, mode and attributes of the old. The time is new: by it the server sees that it must read it. */
  replace(old: NumberingFile, data: Buffer): void {
    this.add(old.path, data, old);
  }

  add(path: BytePath, data: Buffer, like: Pick<NumberingFile, 'stat' | 'xattrs'>): void {
    const from = `${this.#dir}/${this.#moves.length}`;
    const fd = this.files.create(from);
    try {
      this.files.write(fd, data, 0);
      const { mode, uid, gid } = like.stat;
      this.files.setMetaOpen(fd, { mode, uid, gid, ...(like.xattrs && { xattrs: like.xattrs }) });
    } finally {
      this.files.close(fd);
    }
    this.#moves.push({ from, to: path });
  }

  /** Done after the renames, before the last sync. */
  afterRenames(work: () => void): void {
    this.#after.push(work);
  }

  /** Resolves when all of it is in place and on stable storage. */
  async place(root: BytePath, breathe: () => Promise<void>): Promise<void> {
    await this.files.syncfs(this.#dir);
    let done = 0;
    for (const { from, to } of this.#moves) {
      this.#keep(to, `${from}.old`);
      this.files.rename(from, to);
      if (++done % renamesPerSlice === 0) await breathe();
    }
    for (const work of this.#after) work();
    await this.files.syncfs(root);
  }

  #keep(path: BytePath, kept: BytePath): void {
    try {
      this.files.link(path, kept);
    } catch (error) {
      // New here, or of an owner whose files this user may not link: then the rename alone must do.
      if (!['ENOENT', 'EPERM', 'EMLINK'].includes(errnoCode(error) ?? '')) throw error;
    }
  }
}

/** Removes what runs have left. Also with the mail server running: nothing of it has a name in a root any more. */
export async function clearStaged(files: Files, dir: BytePath, breathe: () => Promise<void>): Promise<void> {
  for (const run of files.readdir(dir) ?? []) {
    for (const { name } of files.readdir(`${dir}/${run.name}`) ?? []) {
      files.unlink(`${dir}/${run.name}/${name}`);
      await breathe();
    }
    files.rmdir(`${dir}/${run.name}`);
  }
  if (files.lstat(dir) !== null) files.rmdir(dir);
}
