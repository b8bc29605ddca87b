import { describe, expect, it } from 'vitest';
import type { Stat } from '../../agent/platform/files.ts';
import { PlainPair } from './plain-pair.ts';
import type { SimFiles } from './sim-files.ts';

/*
 * The owner of `/plain/dir` puts a link to `/outside` in its place just before any one operation of an agent. Outside are the same
 * names: whoever went there by a path would read what it is not to read, and change what is not its own.
 */

const secret = 'what is outside';
const names = ['file', 'grows', 'leaves', 'turns', 'gone', 'copied', 'told', 'sub/deep', 'tree/inner'];

function make(files: SimFiles, dir: string, text: (name: string) => string): void {
  for (const at of ['', '/sub', '/tree']) files.mkdir(`${dir}${at}`, 0o755);
  for (const name of names) files.writeFile(`${dir}/${name}`, text(name));
}

/** A filled pair, and what is outside on both hosts. */
async function filledPair(): Promise<PlainPair> {
  const pair = new PlainPair();
  make(pair.work, '/plain/dir', (name) => `inside ${name} `.repeat(200));
  pair.work.mkdir('/plain/beside', 0o755);
  pair.work.writeFile('/plain/beside/comes', 'comes');
  pair.connect();
  await pair.settle();
  for (const files of [pair.work, pair.copy]) make(files, '/outside', () => secret);
  await pair.clock.runFor(1000);
  return pair;
}

/** A change of each kind in the directory, and one beside it. */
function work({ work: files }: PlainPair): void {
  const dir = '/plain/dir';
  files.mkdir(`${dir}/made`, 0o755);
  files.writeFile(`${dir}/made/new`, 'new');
  files.writeFile(`${dir}/new`, 'new');
  files.writeFile(`${dir}/file`, 'another one');
  files.append(`${dir}/grows`, 'more');
  files.rename(`${dir}/leaves`, '/plain/beside/left');
  files.rename('/plain/beside/comes', `${dir}/came`);
  files.rename(`${dir}/turns`, `${dir}/turned`);
  files.unlink(`${dir}/gone`);
  files.link(`${dir}/copied`, '/plain/beside/linked');
  files.setMeta(`${dir}/told`, { mode: 0o640, mtimeNs: 5_000_000_000n });
  files.writeFile(`${dir}/sub/deep`, 'deeper');
  files.unlink(`${dir}/tree/inner`);
  files.rmdir(`${dir}/tree`);
  files.writeFile('/plain/beside/new', 'beside');
}

function exchange(files: SimFiles): void {
  files.rename('/plain/dir', '/hidden');
  files.symlink('/outside', '/plain/dir');
}

function giveBack(files: SimFiles): void {
  files.unlink('/plain/dir');
  files.rename('/hidden', '/plain/dir');
}

/** Everything below a directory: how often it was touched, and what is in it. */
function everything(files: SimFiles, dir: string): string[] {
  return (files.readdir(dir) ?? []).flatMap(({ name, kind }) => {
    const path = `${dir}/${name}`;
    const content = kind === 'file' ? files.readFile(path, 1e6)?.data.toString() : '';
    return [`${path} ${files.touchesOf(path)} ${content}`, ...(kind === 'dir' ? everything(files, path) : [])];
  });
}

function everyStat(files: SimFiles, dir: string): Stat[] {
  return (files.readdir(dir) ?? []).flatMap(({ name, kind }) => {
    const stat = files.lstat(`${dir}/${name}`);
    return [...(stat ? [stat] : []), ...(kind === 'dir' ? everyStat(files, `${dir}/${name}`) : [])];
  });
}

const outside = (files: SimFiles) => [files.touchesOf('/outside'), ...everything(files, '/outside').toSorted()];

/** Nothing outside was touched on either host, and the standby has nothing of it. */
function expectUntouched(pair: PlainPair, before: unknown[], when: string): void {
  expect([pair.work, pair.copy].map(outside), when).toEqual(before);
  const has = ['/plain', '/hidden', '/state-b', '/.mailtwin-plain'].flatMap((dir) =>
    pair.copy.lstat(dir)?.kind === 'dir' ? everything(pair.copy, dir) : [],
  );
  expect(
    has.filter((each) => each.includes(secret)),
    when,
  ).toEqual([]);
}

/** What is not there as it should be has a name on the primary, or was met as somebody's doing. */
function expectNamed(pair: PlainPair, when: string): void {
  const contents = (files: SimFiles, dir: string) =>
    names.concat('new', 'came', 'turned', 'made/new').map((name) => files.readFile(`${dir}/${name}`, 1e6)?.data.toString());
  if (JSON.stringify(contents(pair.work, '/plain/dir')) === JSON.stringify(contents(pair.copy, '/hidden'))) return;
  const named = [...(pair.primary.primary?.unproven.list() ?? []), ...(pair.standby.standby?.foreign() ?? [])];
  expect(named, when).not.toEqual([]);
}

/** The owner has put the directory back; what he did with it meanwhile is mended by one verification. */
async function expectMended(pair: PlainPair, when: string): Promise<void> {
  await pair.clock.runFor(120_000);
  await pair.settle();
  const verified = pair.primary.primary?.verify(true, 60_000, new AbortController().signal, () => {});
  if (verified) await pair.clock.settle(verified, 60_000);
  await pair.clock.runFor(5000);
  await pair.settle();
  expect([pair.differences(), pair.primary.errors, pair.standby.errors], when).toEqual([[], [], []]);
}

/** Operations that an agent does while all of the work is replicated. */
async function operationsOf(agent: (pair: PlainPair) => SimFiles): Promise<number> {
  const pair = await filledPair();
  const before = agent(pair).operations;
  work(pair);
  await pair.settle();
  return agent(pair).operations - before;
}

describe('a directory that its owner exchanges for a link at any moment (I11, I20)', () => {
  it.each(['standby', 'primary'] as const)('leads the %s nowhere, what is beside it flows, and it follows when it is back', async (who) => {
    const agent = (pair: PlainPair) => (who === 'primary' ? pair.primary : pair.standby).files;
    const count = await operationsOf(agent);
    expect(count).toBeGreaterThan(50);
    for (let at = 0; at < count; at++) {
      const pair = await filledPair();
      const before = [pair.work, pair.copy].map(outside);
      const owner = who === 'primary' ? pair.work : pair.copy;
      let isExchanged = false;
      agent(pair).interruptAfter(at, () => {
        exchange(owner);
        isExchanged = true;
      });
      work(pair);
      await pair.clock.runFor(5000);
      expectUntouched(pair, before, `operation ${at}`);
      expect(pair.copy.readFile('/plain/beside/new', 100)?.data.toString(), `operation ${at}`).toBe('beside');
      if (!isExchanged) break;
      if (who === 'standby') expectNamed(pair, `operation ${at}`);
      giveBack(owner);
      await expectMended(pair, `operation ${at}`);
    }
  });

  it.each(['told', 'file', 'grows', 'turned', 'came', 'made'])(
    'gives away nothing of somebody else that its owner puts in the place of %s on the standby',
    async (name) => {
      const [own, theirs] = [`/plain/dir/${name}`, `/plain/dir/theirs`];
      let [exchanges, found] = [0, 0];
      const count = await operationsOf((pair) => pair.standby.files);
      for (let at = 0; at < count; at++) {
        const pair = await filledPair();
        if (name === 'made') pair.copy.mkdir(theirs, 0o700);
        else pair.copy.writeFile(theirs, secret);
        pair.copy.setMeta(theirs, { uid: 77, gid: 77, mode: name === 'made' ? 0o700 : 0o600 });
        const before = pair.copy.lstat(theirs);
        pair.standby.files.interruptAfter(at, () => {
          if (!pair.copy.lstat(own)) return;
          pair.copy.rename(own, '/hidden');
          pair.copy.rename(theirs, own);
          exchanges++;
        });
        work(pair);
        await pair.clock.runFor(200);
        // Wherever it is by now: it may have been moved to the history, or replaced, as the directory's owner himself can do.
        const now = ['/plain', '/state-b'].flatMap((dir) => everyStat(pair.copy, dir)).find(({ ino }) => ino === before?.ino);
        const attributes = (stat: Stat | null | undefined) => stat && [stat.uid, stat.gid, stat.mode];
        if (now) expect(attributes(now), `operation ${at}`).toEqual(attributes(before));
        if (now && pair.copy.lstat('/hidden')) found++;
      }
      expect(exchanges).toBeGreaterThan(0);
      expect(found).toBeGreaterThan(exchanges / 2);
    },
  );

  it('leads nowhere what is done again after a kill', async () => {
    const count = await operationsOf((pair) => pair.standby.files);
    for (let killed = count >> 1; killed < count; killed += 5) {
      for (let at = 0; at < 40; at += 4) {
        const when = `killed at ${killed}, exchanged at ${at}`;
        const pair = await filledPair();
        const before = [pair.work, pair.copy].map(outside);
        let isKilled = false;
        pair.standby.files.interruptAfter(killed, () => {
          pair.killStandby();
          isKilled = true;
        });
        work(pair);
        await pair.clock.runFor(2000);
        if (!isKilled) break;
        await pair.startStandby((files) => files.interruptAfter(at, () => exchange(pair.copy)));
        pair.connect();
        await pair.clock.runFor(5000);
        expectUntouched(pair, before, when);
        if (pair.copy.lstat('/hidden')) {
          expectNamed(pair, when);
          giveBack(pair.copy);
        }
        await expectMended(pair, when);
      }
    }
  });
});
