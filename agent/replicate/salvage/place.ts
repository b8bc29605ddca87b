import { createHash, type Hash } from 'node:crypto';
import { checkDirPath } from '../../../protocol/ops.ts';
import type { SalvageAnswer, SalvageAsk, SalvagePut } from '../../../protocol/salvage.ts';
import { replicatedMode } from '../../journal/entry.ts';
import { baseName, errnoCode, holding, joinPath, parentPath, type BytePath, type Files, type MetaChange } from '../../platform/files.ts';
import { OperatorError } from '../../platform/errors.ts';
import { absolute, type Root } from '../root.ts';
import { lettersFor, readKeywords } from './keywords.ts';
import type { SalvageRecords } from './records.ts';

type Taken = Extract<SalvageAnswer, { answer: 'taken' }>;

interface Upload {
  id: Buffer;
  staged: BytePath;
  fd: number;
  bytes: number;
  hash: Hash;
}

const keywordsBytesMax = 64 * 1024;

/**
 * Puts what an old primary brings back into the live store of this active node, as new messages (I16): each exactly once,
 * also when either node is killed at any moment, and without touching anything that is there.
 *
 * Durable under a temporary name, then the record, then the rename, which replaces nothing, then the record again.
 */
export class Placer {
  readonly #files: Files;
  readonly #records: SalvageRecords;
  readonly #stagingOf: (root: Root) => BytePath;
  #upload: Upload | null = null;

  /** `stagingOf` gives the directory for staging of a root, with `stage` in it. */
  constructor(files: Files, records: SalvageRecords, stagingOf: (root: Root) => BytePath) {
    this.#files = files;
    this.#records = records;
    this.#stagingOf = stagingOf;
  }

  /** The connection ended: what was half sent is begun again. */
  reset(): void {
    const upload = this.#upload;
    this.#upload = null;
    if (!upload) return;
    this.#files.close(upload.fd);
    if (this.#files.lstat(upload.staged)) this.#files.unlink(upload.staged);
  }

  /** @throws OperatorError when the path leads elsewhere or is taken by something else. */
  async folder(root: Root, { kind: wanted, path: folder, mode, uid, gid }: Extract<SalvageAsk, { ask: 'folder' }>): Promise<SalvageAnswer> {
    checkDirPath(folder);
    const parts = folder === '' ? [] : folder.split('/');
    let made = false;
    const make = (path: BytePath) => {
      const kind = this.#files.lstat(path)?.kind;
      if (kind === 'dir') return;
      if (kind !== undefined) throw taken(path);
      this.#makeDir(root, path, { uid, gid, mode: replicatedMode('dir', mode) });
      made = true;
    };
    for (let i = 1; i <= parts.length; i++) make(absolute(root, parts.slice(0, i).join('/')));
    const dir = absolute(root, folder);
    if (wanted === 'mailbox') for (const name of ['tmp', 'new', 'cur']) make(`${dir}/${name}`);
    // Maildir++ tells a folder from a user's own mailbox by it.
    if (made && wanted === 'mailbox' && baseName(folder).startsWith('.') && this.#files.lstat(`${dir}/maildirfolder`) === null) {
      const fd = this.#files.create(`${dir}/maildirfolder`);
      try {
        this.#files.setMetaOpen(fd, { uid, gid, mode: replicatedMode('file', mode & 0o666) });
      } finally {
        this.#files.close(fd);
      }
    }
    if (made) await this.#files.syncfs(root.path);
    return { answer: 'folder', state: made ? 'made' : 'was-there' };
  }

  /** Made beside the root, where nobody can put another directory in its place, which would be given its owner. */
  #makeDir(root: Root, path: BytePath, like: MetaChange): void {
    const staged = `${this.#stagingOf(root)}/stage/salvaged`;
    const files = this.#files;
    // Left from a run that was cut.
    if (files.lstat(staged)) files.rmdir(staged);
    const give = (at: BytePath) => holding(files, at, (fd, { kind }) => (kind === 'dir' ? files.setMetaOpen(fd, like) : null));
    files.mkdir(staged, 0o700);
    try {
      give(staged);
      if (files.renameNew(staged, path)) return;
      throw taken(path);
    } catch (error) {
      files.rmdir(staged);
      // On a file system of its own, or without the privilege to move what one may not write in.
      if (!['EXDEV', 'EACCES'].includes(errnoCode(error) ?? '')) throw error;
    }
    files.mkdir(path, 0o700);
    give(path);
  }

  /** Takes a portion. @throws OperatorError when it cannot be put in place; nothing is half there then. */
  async put(root: Root, ask: SalvagePut): Promise<Taken> {
    const { dir, stagedDir, name, dropped } = this.#whereTo(root, ask);
    const target = `${dir}/${name}`;
    const answer = (state: Taken['state']): Taken => ({
      answer: 'taken',
      state,
      path: target.slice(root.path.length + 1),
      dropped: state === 'more' ? [] : dropped,
    });
    const record = this.#records.get(ask.id);
    if (record?.state === 'placed') return answer('was-placed');
    if (record && (await this.#finish(root, ask, record))) return answer('was-placed');
    if (ask.offset === 0) this.#begin(ask, `${stagedDir}/${stagedName(ask.id)}`);
    const upload = this.#upload;
    if (!upload || !upload.id.equals(ask.id) || upload.bytes !== ask.offset)
      throw new OperatorError(
        'salvage-order',
        'a portion came that does not continue the one before',
        'run `mailtwin salvage --apply` again',
      );
    this.#files.write(upload.fd, ask.data, upload.bytes);
    upload.hash.update(ask.data);
    upload.bytes += ask.data.length;
    if (upload.bytes < ask.size) return answer('more');
    await this.#place(root, ask, upload, target);
    return answer('placed');
  }

  #begin(ask: SalvagePut, staged: BytePath): void {
    this.reset();
    // Left from a run that was cut before its record was made.
    if (this.#files.lstat(staged)) this.#files.unlink(staged);
    this.#upload = { id: ask.id, staged, fd: this.#files.create(staged), bytes: 0, hash: createHash('sha256') };
  }

  async #place(root: Root, ask: SalvagePut, upload: Upload, target: BytePath): Promise<void> {
    if (upload.bytes !== ask.size || !upload.hash.digest().equals(ask.sha256)) {
      this.reset();
      throw new OperatorError('salvage-content', 'what arrived is not what was sent', 'run `mailtwin salvage --apply` again');
    }
    const { mode, uid, gid } = ask;
    this.#files.setMetaOpen(upload.fd, { uid, gid, mode: replicatedMode('file', mode), mtimeNs: BigInt(ask.mtimeNs) });
    this.#files.close(upload.fd);
    this.#upload = null;
    await this.#files.syncfs(root.path);
    const record = { staged: upload.staged, target };
    await this.#records.put(ask.id, { state: 'staged', ...record });
    await this.#rename(root, ask.id, record);
  }

  /** Goes on with what was cut after its record was made; false when it has to be sent again. */
  async #finish(root: Root, ask: SalvagePut, record: { staged: BytePath; target: BytePath }): Promise<boolean> {
    if (this.#files.lstat(record.staged)) {
      await this.#rename(root, ask.id, record);
      return true;
    }
    // Renamed, and perhaps read since, which gives a message flags and another directory.
    if (!this.#isThere(root, ask, record.target)) return false;
    await this.#records.put(ask.id, { ...record, state: 'placed' });
    return true;
  }

  #isThere(root: Root, { target: { kind } }: SalvagePut, target: BytePath): boolean {
    if (kind === 'file') return this.#files.lstat(target) !== null;
    const base = root.format.baseOf(baseName(target));
    const mailbox = parentPath(parentPath(target));
    return ['new', 'cur'].some((place) =>
      (this.#files.readdir(`${mailbox}/${place}`) ?? []).some(({ name }) => root.format.baseOf(name) === base),
    );
  }

  async #rename(root: Root, id: Buffer, record: { staged: BytePath; target: BytePath }): Promise<void> {
    if (!this.#files.renameNew(record.staged, record.target)) {
      // Somebody was faster. It stays theirs, and the next judgement says so.
      this.#files.unlink(record.staged);
      await this.#records.drop(id);
      throw taken(record.target);
    }
    await this.#files.syncfs(root.path);
    await this.#records.put(id, { ...record, state: 'placed' });
  }

  #whereTo(root: Root, ask: SalvagePut): { dir: BytePath; stagedDir: BytePath; name: string; dropped: string[] } {
    const { target } = ask;
    if (target.kind === 'file') {
      checkDirPath(target.path);
      const parent = parentPath(target.path);
      this.#checkDirs(root, parent);
      const dir = absolute(root, parent);
      return { dir, stagedDir: dir, name: baseName(target.path), dropped: [] };
    }
    checkDirPath(target.mailbox);
    this.#checkDirs(root, joinPath(target.mailbox, 'tmp'));
    const mailbox = absolute(root, target.mailbox);
    const list = this.#files.readFile(`${mailbox}/dovecot-keywords`, keywordsBytesMax);
    const { letters, dropped } = lettersFor(target.keywords, list ? readKeywords(list.data) : new Map<string, string>());
    const flags = `${target.flags}${letters}`;
    const place = flags === '' ? 'new' : 'cur';
    this.#checkDirs(root, joinPath(target.mailbox, place));
    const name = `${messageName(ask, target)}${flags === '' ? '' : `:2,${flags}`}`;
    return { dir: `${mailbox}/${place}`, stagedDir: `${mailbox}/tmp`, name, dropped };
  }

  /** Every directory on the way is there. That it stays a real one is the business of the calls themselves (I11). */
  #checkDirs(root: Root, path: BytePath): void {
    const parts = path === '' ? [] : path.split('/');
    for (let i = 1; i <= parts.length; i++) {
      const dir = absolute(root, parts.slice(0, i).join('/'));
      if (this.#files.lstat(dir)?.kind !== 'dir')
        throw new OperatorError(
          'salvage-path',
          `${dir} is missing or is no directory`,
          'make the folder on the active node, then run `mailtwin salvage --apply` again',
        );
    }
  }
}

/**
 * A name of its own: the old one may still be in the uidlist, which would make it a message that reappeared. Seconds
 * first, as everybody names messages. Of the sizes only those that the old name had: the size of a compressed or encrypted
 * file is not the message's, and a server that is told a wrong one cannot read the message ever.
 */
export function messageName(
  { id, mtimeNs }: Pick<SalvagePut, 'id' | 'mtimeNs'>,
  sizes: { messageSize: number | null; virtualSize: number | null },
): string {
  const ns = BigInt(mtimeNs);
  const seconds = ns > 0n ? ns / 1_000_000_000n : 0n;
  const size = sizes.messageSize === null ? '' : `,S=${sizes.messageSize}`;
  const virtualSize = sizes.virtualSize === null ? '' : `,W=${sizes.virtualSize}`;
  return `${seconds}.S${id.toString('hex', 0, 16)}.mailtwin${size}${virtualSize}`;
}

function stagedName(id: Buffer): string {
  return `.mailtwin-salvage.${id.toString('hex', 0, 16)}`;
}

function taken(path: BytePath): OperatorError {
  return new OperatorError('salvage-taken', `something else is at ${path}`, 'look at it on the active node; nothing there was changed');
}
