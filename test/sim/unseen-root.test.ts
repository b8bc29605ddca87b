import { describe, expect, it } from 'vitest';
import { ReplicaIndex } from '../../agent/journal/replica-index.ts';
import type { DirectoryId } from '../../agent/platform/directory-id.ts';
import type { Files } from '../../agent/platform/files.ts';
import { FileSystems } from '../../agent/replicate/file-systems.ts';
import { PlainPair } from './plain-pair.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { simFormat } from './sim-format.ts';
import { SimKvStore } from './sim-kv.ts';
import { SimMounts } from './sim-mounts.ts';
import { SimRandom } from './sim-random.ts';

const topOfRoot = /^\/plain\/\.$/;

async function wait(pair: PlainPair): Promise<string> {
  const waiting = pair.primary.primary?.wait(20_000, new AbortController().signal).then(
    () => 'durable',
    (error: unknown) => (error as { code: string }).code,
  );
  return pair.clock.settle(waiting ?? Promise.resolve('no primary'), 60_000);
}

describe('a root whose top alone cannot be looked at when the standby starts', () => {
  it.each([
    ['on its own file system', '/plain'],
    ['on a disk below it', '/plain/disk'],
  ])('keeps the inode numbers of what lies %s, in that life of the agent and in the next one', async (_, dir) => {
    const pair = new PlainPair({ noticeMs: [0, 0], standbyDisk: '/plain/disk' });
    pair.connect();
    if (!pair.work.lstat('/plain/disk')) pair.work.mkdir('/plain/disk', 0o755);
    expect(await wait(pair)).toBe('durable');
    for (const name of ['a', 'b', 'c']) pair.work.writeFile(`${dir}/${name}`, `content of ${name}`);
    expect(await wait(pair)).toBe('durable');

    pair.killStandby();
    pair.standbyDisk.fail({ operation: 'lstat', path: topOfRoot, code: 'EIO', times: 1000 });
    const started = pair.startStandby();
    await pair.clock.runFor(300);
    pair.standbyDisk.mend();
    await started;
    expect(pair.standby.standby?.foreign()).toEqual([]);
    pair.connect();
    pair.work.rename(`${dir}/a`, `${dir}/a moved`);
    pair.work.writeFile(`${dir}/d`, 'written in that life');
    expect(await wait(pair)).toBe('durable');

    pair.killStandby();
    await pair.startStandby();
    pair.connect();
    pair.work.rename(`${dir}/b`, `${dir}/b moved`);
    pair.work.rename(`${dir}/d`, `${dir}/d moved`);
    expect(await wait(pair)).toBe('durable');
    expect(pair.differences()).toEqual([]);
    expect(pair.standby.standby?.foreign()).toEqual([]);
    expect(pair.primary.primary?.sender.held).toBeNull();
  });
});

/** A root with a disk below it, whose top cannot be looked at while `hidden` says so; `look` makes what a process sees of it. */
function hiddenRoot() {
  const clock = new SimClock().host(0);
  const disk = new SimDisk(new SimRandom(1));
  const raw = disk.open(clock);
  for (const dir of ['/plain', '/plain/sub', '/plain/disk', SimMounts.home, SimMounts.top('disk')]) raw.mkdir(dir, 0o755);
  disk.mounts.mount('/plain/disk', 'disk');
  for (const path of ['/plain/sub/file', '/plain/disk/file']) raw.writeFile(path, 'x');
  const kv = new SimKvStore(() => 1).open(clock);
  const roots = [{ name: 'plain', path: '/plain', format: simFormat('plain'), staging: '' }];
  const hidden: { paths: readonly string[] } = { paths: [] };
  const look = (given: Partial<DirectoryId> = {}) => {
    const files = new Proxy<Files>(raw, {
      get:
        (target, key: keyof Files) =>
        (path: string, ...rest: unknown[]) => {
          if (hidden.paths.includes(path)) throw Object.assign(new Error(`EIO: ${key} '${path}'`), { code: 'EIO' });
          const answer = (target[key] as (...all: unknown[]) => unknown).call(target, path, ...rest);
          return key === 'identity' && answer ? { ...answer, ...given } : answer;
        },
    });
    const index = new ReplicaIndex(kv, { findByIdentity: false });
    const seen = new FileSystems({ files, kv, index, roots, newMark: null, acceptCommand: () => '', monotonicMs: () => 0 });
    seen.look();
    return { look: () => seen.look(), ino: (path: string) => seen.files.lstat(path)?.ino };
  };
  return { look, hidden, ownIno: (path: string) => raw.lstat(path)?.ino };
}

describe('the inode numbers of a root whose device no look has seen', () => {
  it.each([
    ['its top cannot be looked at', ['/plain/.']],
    ['nor what file system it is on', ['/plain/.', '/plain']],
  ])('are its own, and those of a disk below it the disk’s: %s', (_, paths) => {
    const { look, hidden, ownIno } = hiddenRoot();
    const before = look();
    const [inside, onDisk] = [before.ino('/plain/sub/file'), before.ino('/plain/disk/file')];
    expect(inside).toBe(ownIno('/plain/sub/file'));
    expect(onDisk).not.toBe(ownIno('/plain/disk/file'));
    hidden.paths = paths;
    const after = look();
    expect([after.ino('/plain/sub/file'), after.ino('/plain/disk/file')]).toEqual([inside, onDisk]);
    hidden.paths = [];
    after.look();
    expect([after.ino('/plain/sub/file'), after.ino('/plain/disk/file')]).toEqual([inside, onDisk]);
  });

  it('are its own also where it was never seen before', () => {
    const { look, hidden, ownIno } = hiddenRoot();
    hidden.paths = ['/plain/.'];
    expect(look().ino('/plain/sub/file')).toBe(ownIno('/plain/sub/file'));
  });

  it('are its own from the next look on where its device alone names it, and is another one', () => {
    const { look, hidden, ownIno } = hiddenRoot();
    look({ fs: '', device: '8:1' });
    hidden.paths = ['/plain/.'];
    const after = look({ fs: '', device: '8:2' });
    hidden.paths = ['/plain/.', '/plain'];
    after.ino('/plain/sub/file');
    hidden.paths = [];
    after.look();
    expect(after.ino('/plain/sub/file')).toBe(ownIno('/plain/sub/file'));
  });
});
