import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { errnoCode, type Files } from '../../agent/platform/files.ts';
import { filesBelow, realFiles } from '../../agent/platform/real-files.ts';
import { SimClock } from './sim-clock.ts';
import { SimDisk } from './sim-disk.ts';
import { SimRandom } from './sim-random.ts';
import { setMeta } from '../lab/set-meta.ts';

const names = [
  'a',
  'b',
  'd',
  'd/a',
  'd/b',
  'd/e',
  'd/e/a',
  's',
  's/a',
  'a/x',
  'caf\xe9',
  'n'.repeat(255),
  'n'.repeat(256),
  'loop',
  'loop/a',
];

let made: string | null = null;
afterEach(() => {
  if (made !== null) fs.rmSync(made, { recursive: true, force: true });
  made = null;
});

/** One operation on either file system; the result, or the errno name, as text. */
function act(files: Files, top: string, random: SimRandom): string {
  const any = () => `${top}/${random.pick(names)}`;
  const [one, two] = [any(), any()];
  const roll = random.int(16);
  const length = random.int(50);
  const strip = (text: string) => text.replaceAll(top, '').replace(/n{9,}/g, (run) => `n*${run.length}`);
  const run = (): unknown => {
    switch (roll) {
      case 0:
      case 1: {
        const fd = files.create(one);
        files.write(fd, Buffer.alloc(length, 'x'), 3);
        files.setMetaOpen(fd, { mode: 0o640, mtimeNs: 1_234_567_890_123_456_789n });
        const { size, mode, mtimeNs, nlink } = files.fstat(fd);
        files.close(fd);
        return [size, mode, mtimeNs, nlink];
      }
      case 2:
      case 3:
        return files.mkdir(one, 0o755);
      case 4:
      case 5:
        return files.rename(one, two);
      case 6:
        return files.renameNew(one, two);
      case 7:
        return files.link(one, two);
      case 8:
        return files.unlink(one);
      case 9:
        return files.rmdir(one);
      case 10:
        return files.symlink(random.pick(['d', 'a', 'missing']), `${top}/s`);
      case 11:
        return files.symlink('loop', `${top}/loop`);
      case 12:
        return files.copyFile(one, two);
      case 13:
        return random.int(2) === 0 ? files.readlink(one) : files.identity(one) !== null;
      case 14:
        return setMeta(files, one, { mode: 0o700, mtimeNs: 77n });
      default: {
        const fd = files.openRead(one);
        if (fd === null) return null;
        files.unlink(one);
        const into = Buffer.alloc(20);
        const n = files.read(fd, into, 0, 20, 1);
        const { nlink } = files.fstat(fd);
        files.close(fd);
        return [n, into.toString('latin1'), nlink];
      }
    }
  };
  try {
    return `${roll} ${strip(one)} ${strip(two)} ${String(run())}`;
  } catch (error) {
    return `${roll} ${strip(one)} ${strip(two)} ${errnoCode(error) ?? String(error)}`;
  }
}

/** All that the reading calls tell about every name. */
function look(files: Files, top: string): string[] {
  return ['', ...names].map((name) => {
    const full = name === '' ? top : `${top}/${name}`;
    try {
      const stat = files.lstat(full);
      const facts = stat && [
        stat.kind,
        stat.kind === 'dir' ? '' : stat.size,
        stat.kind === 'symlink' ? '' : stat.mode.toString(8),
        stat.nlink,
      ];
      const entries = files
        .readdir(full)
        ?.map((e) => `${e.name}=${e.kind}`)
        .sort();
      return `${name}: ${String(facts)} ${String(files.readFile(full, 1000)?.data.toString('hex'))} ${String(entries)}`;
    } catch (error) {
      return `${name}: ${errnoCode(error)}`;
    }
  });
}

describe('the simulated disk', () => {
  it.each(['anybody', 'an agent, which follows no link'])('answers every operation of %s as the kernel does', (who) => {
    const isAgent = who !== 'anybody';
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 30; seed++) {
      made = fs.mkdtempSync(path.join(os.tmpdir(), 'fidelity-'));
      const sim = new SimDisk(new SimRandom(seed)).open(new SimClock().host(0), isAgent ? ['/top'] : null);
      const top = made;
      const real = isAgent ? filesBelow(() => [top]) : realFiles;
      sim.mkdir('/top', 0o700);
      const [left, right] = [new SimRandom(seed), new SimRandom(seed)];
      for (let i = 0; i < 120; i++) {
        const expected = act(real, made, left);
        expect(`seed ${seed} step ${i}: ${act(sim, '/top', right)}`).toBe(`seed ${seed} step ${i}: ${expected}`);
        outcomes.add(expected.split(' ').at(-1)!);
        // A directory's link count is the file system's own affair.
        if (i % 10 === 0) expect(look(sim, '/top').map(withoutDirLinks)).toEqual(look(real, made).map(withoutDirLinks));
      }
      fs.rmSync(made, { recursive: true });
    }
    for (const code of ['ENOENT', 'ENOTDIR', 'EEXIST', 'ENOTEMPTY', 'EISDIR', 'EINVAL', 'EPERM', 'ELOOP', 'ENAMETOOLONG'])
      expect(outcomes).toContain(code);
  });
});

function withoutDirLinks(line: string): string {
  return line.replace(/(: dir,,\d+),\d+/, '$1');
}
