import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ChangeLoop, changesAtRate } from '../../tools/mailgen/change.ts';
import { makeStore } from '../../tools/mailgen/make.ts';
import { exactTree, treeDifferences } from '../lab/exact-tree.ts';
import { SmallPair, type SmallNode } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const isRoot = process.getuid?.() === 0;
const watchers = isRoot ? (['fanotify', 'chokidar'] as const) : (['chokidar'] as const);
const seed = process.env['MAILTWIN_SEED'] ?? 'foreign';

let over: AbortController | null = null;
afterEach(() => over?.abort());

async function foreignMetric(node: SmallNode): Promise<number> {
  const { text } = await node.scrape();
  return Number(/^mailtwin_foreign_writes (\d+)$/m.exec(text)?.[1] ?? Number.NaN);
}

const foreignPaths = (node: SmallNode) => async () => (await node.status()).replication.unproven.map(({ path }) => path).toSorted();

describe.each(watchers)('what somebody else writes on the standby (I2, %s)', (watcher) => {
  it('shows within seconds, outlives a restart, is mended and forgotten by verify, and found by the comparison at the next start', async () => {
    await using pair = await SmallPair.create({ metrics: true, set: { watcher } });
    const { primary, standby } = pair;
    for (const name of ['one', 'two', 'three']) writeFileSync(`${primary.root}/${name}`, name);
    mkdirSync(`${primary.root}/dir`);
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    const watched = await standby.until('the watch, which begins when the standby is filled', (s) => s.capture.watcher !== 'none');
    expect(watched.capture.watcher).toBe(watcher);
    expect(await foreignMetric(standby)).toBe(0);

    appendFileSync(`${standby.root}/one`, '!');
    rmSync(`${standby.root}/two`);
    writeFileSync(`${standby.root}/dir/new`, 'x');
    const wrong = ['dir/new', 'one', 'two'].map((name) => `${standby.root}/${name}`);
    await standby.until('the foreign writes', (s) => s.replication.unproven.length === 3);
    expect(await foreignPaths(standby)()).toEqual(wrong);
    expect(await foreignMetric(standby)).toBe(3);
    const { warnings } = await standby.status();
    expect(warnings.find(({ code }) => code === 'foreign-write')?.text).toMatch(/^3 places were changed by somebody else/);
    await primary.until('what the standby tells', (s) =>
      s.warnings.some(({ code, text }) => code === 'peer' && wrong.some((path) => text.includes(path))),
    );

    // What it would refuse to start on is taken away again; that it was there is not forgotten.
    rmSync(`${standby.root}/dir/new`);
    await standby.kill();
    await standby.start();
    expect(await foreignPaths(standby)()).toEqual(wrong);
    await pair.settled();
    expect((await primary.cli('verify')).code).toBe(1);
    await pair.settled();
    expect((await primary.cli('verify')).code).toBe(0);
    await standby.until('a clean standby', (s) => s.replication.unproven.length === 0 && s.warnings.length === 0);
    expect(treeDifferences(exactTree(primary.root), exactTree(standby.root))).toEqual([]);

    // And what is written while nobody watches.
    await standby.stop();
    writeFileSync(`${standby.root}/one`, 'two!');
    await standby.start();
    const found = await standby.until('the foreign write', (s) => s.replication.unproven.length > 0);
    expect(found.replication.unproven[0]?.reason).toBe('has 4 bytes, not 3');
  });

  it('is found when it was done before the standby was filled', async () => {
    await using pair = await SmallPair.create({ set: { watcher } });
    const { primary, standby } = pair;
    writeFileSync(`${primary.root}/one`, 'one');
    await primary.start();
    await standby.start();
    // Not paired, so not filled: nobody watches yet.
    expect((await standby.status()).capture.watcher).toBe('none');
    writeFileSync(`${standby.root}/intruder`, 'x');
    await pair.introduce();
    await pair.settled();
    await standby.until('the watch, which begins when the standby is filled', (s) => s.capture.watcher !== 'none');
    await standby.until('the foreign write', (s) => s.replication.unproven.length > 0);
    expect(await foreignPaths(standby)()).toEqual([`${standby.root}/intruder`]);
  });

  it('is never what replication itself writes under load', async () => {
    await using pair = await SmallPair.create({ format: 'maildir', set: { watcher, massDelete: '100%' }, base: tmpdir() });
    const { primary, standby } = pair;
    rmSync(primary.root, { recursive: true });
    makeStore({ seed, dir: primary.root, messages: 300, users: 2, mailboxesPerUser: 5 });
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    over = new AbortController();
    let changes = 0;
    const loop = new ChangeLoop({ seed: `${seed}/changes`, dir: primary.root });
    const load = (async () => {
      for await (const _ of changesAtRate(loop, 150, 6, over?.signal)) changes++;
    })();
    // A restart in between: its redone steps and its comparison are not foreign either.
    await waitFor('a third of the load', 120_000, () => changes > 250);
    await standby.kill();
    await standby.start();
    await load;
    await pair.settled();
    // Every hint of what was written has been looked at when one that came last has been.
    writeFileSync(join(standby.root, 'last'), 'foreign');
    await standby.until('the last write', (s) => s.replication.unproven.some(({ path }) => path.endsWith('/last')));
    expect(await foreignPaths(standby)()).toEqual([`${standby.root}/last`]);
    expect(changes).toBeGreaterThan(800);
    await standby.agent.waitForLine(/somebody else wrote/, 60_000);
    expect(standby.log.match(/somebody else wrote/g)).toHaveLength(1);
  });
});
