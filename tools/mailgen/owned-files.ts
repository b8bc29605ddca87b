import {
  chownSync,
  closeSync,
  fchownSync,
  fdatasyncSync,
  fsyncSync,
  futimesSync,
  mkdirSync,
  openSync,
  renameSync,
  writeSync,
} from 'node:fs';

/** Who owns what the generator makes. */
export interface Owner {
  uid: number;
  gid: number;
}

/** Makes files and directories as one mail user, durable when asked. */
export class OwnedFiles {
  readonly #owner: Owner | undefined;
  readonly #fsync: boolean;

  constructor(owner: Owner | undefined, fsync: boolean) {
    this.#owner = owner;
    this.#fsync = fsync;
  }

  /** Makes a directory with those above it; nothing when it is there. */
  mkdir(path: string): void {
    const made = mkdirSync(path, { recursive: true, mode: 0o700 });
    if (made !== undefined && this.#owner) chownSync(path, this.#owner.uid, this.#owner.gid);
  }

  /** Makes a new file. @throws EEXIST when there is one. */
  create(path: string, data: Buffer | string, mtimeSeconds?: number): void {
    const fd = openSync(path, 'wx', 0o600);
    try {
      writeAll(fd, data);
      if (this.#owner) fchownSync(fd, this.#owner.uid, this.#owner.gid);
      if (mtimeSeconds !== undefined) futimesSync(fd, mtimeSeconds, mtimeSeconds);
      if (this.#fsync) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** One write at the end of a file, as servers append to their lists. */
  append(path: string, text: string): void {
    const fd = openSync(path, 'a', 0o600);
    try {
      writeAll(fd, text);
      if (this.#fsync) fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** Overwrites the first bytes of a file that is there. */
  patch(path: string, text: string): void {
    const fd = openSync(path, 'r+');
    try {
      writeAll(fd, text);
      if (this.#fsync) fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** Writes `temporary` and renames it to `path`. */
  replace(path: string, temporary: string, data: string): void {
    this.create(temporary, data);
    renameSync(temporary, path);
  }
}

function writeAll(fd: number, data: Buffer | string): void {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  let at = 0;
  while (at < bytes.length) at += writeSync(fd, bytes, at);
}
