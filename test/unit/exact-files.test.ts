import { beforeEach, describe, expect, it } from 'vitest';
import { NameTaken } from '../../agent/replicate/one-name.ts';
import { ExactFiles } from '../../agent/replicate/standby/exact-files.ts';
import { Folding } from '../../agent/replicate/standby/folding.ts';
import type { Root } from '../../agent/replicate/root.ts';
import { folds } from '../sim/folds.ts';
import { SimClock, type HostClock } from '../sim/sim-clock.ts';
import { SimDisk } from '../sim/sim-disk.ts';
import type { SimFiles } from '../sim/sim-files.ts';
import { simFormat } from '../sim/sim-format.ts';
import { SimKvStore } from '../sim/sim-kv.ts';
import { SimRandom } from '../sim/sim-random.ts';
import { setMeta } from '../lab/set-meta.ts';

let clock: SimClock;
let host: HostClock;
let disk: SimFiles;
let exact: ExactFiles;

beforeEach(() => {
  clock = new SimClock();
  host = clock.host(0);
  disk = new SimDisk(new SimRandom(1), { fold: folds.ascii.fold }).open(host);
  disk.mkdir('/root', 0o755);
  disk.mkdir('/aside', 0o755);
  disk.writeFile('/root/name', 'what is there');
  disk.mkdir('/root/dir', 0o755);
  disk.writeFile('/root/dir/inside', 'in the directory');
  disk.writeFile('/aside/new', 'what comes');
  exact = new ExactFiles(
    disk,
    (path) => (path.startsWith('/root/') ? '/root' : null),
    () => clock.now,
  );
});

const content = (path: string) => disk.readFile(path, 100)?.data.toString();

describe('files by their very names (I20)', () => {
  it('are found, read, renamed and removed as everywhere', () => {
    const { files } = exact;
    expect(files.lstat('/root/name')?.kind).toBe('file');
    expect(files.readFile('/root/dir/inside', 100)?.data.toString()).toBe('in the directory');
    files.rename('/root/name', '/root/other');
    expect([files.lstat('/root/name'), files.lstat('/root/other')?.kind]).toEqual([null, 'file']);
    files.rename('/aside/new', '/root/other');
    expect(content('/root/other')).toBe('what comes');
    files.unlink('/root/other');
    expect(files.readdir('/root')).toEqual([{ name: 'dir', kind: 'dir' }]);
  });

  it('are not there by another name, nor is what lies in a directory by another name', () => {
    const { files } = exact;
    for (const path of ['/root/NAME', '/root/DIR/inside', '/root/dir/INSIDE']) {
      expect([files.lstat(path), files.readFile(path, 100), files.openRead(path)], path).toEqual([null, null, null]);
      for (const call of [
        () => files.unlink(path),
        () => files.rename(path, '/aside/gone'),
        () => setMeta(files, path, { mode: 0 }),
        () => files.link(path, '/aside/link'),
        () => files.xattrs(path),
      ])
        expect(call, path).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    }
    expect(files.readdir('/root/DIR')).toBeNull();
    expect([content('/root/name'), content('/root/dir/inside')]).toEqual(['what is there', 'in the directory']);
  });

  it('keep whoever wants to make something there by another name from it', () => {
    const { files } = exact;
    for (const call of [
      () => files.rename('/aside/new', '/root/NAME'),
      () => files.renameNew('/aside/new', '/root/NAME'),
      () => files.rename('/root/name', '/root/NAME'),
      () => files.link('/aside/new', '/root/NAME'),
      () => files.mkdir('/root/DIR', 0o755),
      () => files.create('/root/NAME'),
      () => files.symlink('target', '/root/NAME'),
    ])
      expect(call).toThrow(NameTaken);
    expect(files.renameNew('/aside/new', '/root/name')).toBe(false);
    expect([content('/root/name'), content('/aside/new')]).toEqual(['what is there', 'what comes']);
  });

  it('are known to have gone or come by another name, whoever did it', async () => {
    const { files } = exact;
    expect(files.lstat('/root/dir/inside')?.kind).toBe('file');
    files.rename('/root/dir', '/aside/dir');
    files.rename('/aside/dir', '/root/Dir');
    expect([files.lstat('/root/dir/inside'), files.lstat('/root/Dir/inside')?.kind]).toEqual([null, 'file']);
    disk.rename('/root/Dir', '/aside/dir');
    disk.rename('/aside/dir', '/root/dir');
    await clock.runFor(2000);
    expect([files.lstat('/root/Dir/inside'), files.lstat('/root/dir/inside')?.kind]).toEqual([null, 'file']);
  });
});

it('outside of roots in which names fall together nothing is asked besides', () => {
  const before = disk.operations;
  exact.files.lstat('/aside/new');
  expect(disk.operations).toBe(before + 1);
});

it('where names fall together is known again after a restart, whatever the directory for staging does', () => {
  const store = new SimKvStore(() => 0);
  disk.mkdir('/staging', 0o700);
  const root: Root = { name: 'root', path: '/root', format: simFormat('plain'), staging: '/staging' };
  const folding = () => new Folding({ files: disk, kv: store.open(host), clock: host, roots: [root] });
  const before = folding();
  expect(before.files.lstat('/root/NAME')?.kind).toBe('file');
  before.found(root);
  expect(before.files.lstat('/root/NAME')).toBeNull();
  expect(folding().files.lstat('/root/NAME')).toBeNull();
});
