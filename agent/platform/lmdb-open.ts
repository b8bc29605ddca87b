import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { open, type RootDatabase, type RootDatabaseOptions } from 'lmdb';

const openOptions: RootDatabaseOptions & { permissionsMode: number; noReadAhead: boolean } = {
  noSubdir: true,
  encoding: 'binary',
  keyEncoding: 'binary',
  maxDbs: 1,
  noReadAhead: true,
  // A commit that returns is on disk, by LMDB's own two meta pages. `flushed` of lmdb-js does not cover transactionSync.
  overlappingSync: false,
  permissionsMode: 0o600,
};

/** Where file systems of memory are found; the first that can be written is taken. */
const memoryDirs = ['/dev/shm', '/run', os.tmpdir()];

/**
 * Opens the file by a link in a directory of its own in memory, because LMDB puts its table of readers beside the name by
 * which it is told of the file, and maps that for writing: on a disk that is full, touching such a page ends the process (SIGBUS).
 * Only this process opens the store, so the table need not be found by others, nor outlive it.
 *
 * A second thread that opens the same file gets the environment of the first one: the package knows it by its inode.
 */
export function openBesideMemory(file: string, mapSize: number): RootDatabase<Buffer, Buffer> {
  const options = { ...openOptions, mapSize };
  for (const parent of memoryDirs) {
    let dir: string;
    try {
      dir = fs.mkdtempSync(path.join(parent, 'mailtwin-store-'));
    } catch {
      continue;
    }
    try {
      fs.symlinkSync(path.resolve(file), path.join(dir, 'data.mdb'));
      return open<Buffer, Buffer>(path.join(dir, 'data.mdb'), options);
    } finally {
      fs.rmSync(dir, { recursive: true, force: true });
    }
  }
  return open<Buffer, Buffer>(file, options);
}
