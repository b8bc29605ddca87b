import { mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { exitCodes, type ScrubState } from '../../protocol/control.ts';
import { MountRoom } from '../lab/mount-room.ts';
import { runNow } from '../lab/processes.ts';
import { SmallPair, type SmallNode } from '../lab/small-pair.ts';

const isRoot = process.getuid?.() === 0;

/** A pair whose roots lie on ext4 disks of their own, in images whose bits a test can flip below the file system. */
async function pairOnDisks(days: string) {
  const room = await MountRoom.create();
  const pair = await SmallPair.create({ wrap: room.wrap, metrics: true, set: { freeSpaceMin: '1MiB', days } });
  const image = (node: SmallNode) => `${node.dir}/disk`;
  for (const node of [pair.primary, pair.standby]) {
    runNow('truncate', ['-s', '32M', image(node)]);
    runNow('mkfs.ext4', ['-q', '-F', image(node)]);
    mkdirSync(room.path(node.root), { recursive: true });
    room.run('mount', '-o', 'loop', image(node), node.root);
  }
  const at = (node: SmallNode, name: string) => room.path(`${node.root}/${name}`);
  return {
    room,
    pair,
    at,
    /** Flips a bit of a file on the disk: nothing that the file system shows of it changes, and what is cached stays as it was. */
    flip: (node: SmallNode, name: string): Buffer => {
      const content = readFileSync(at(node, name));
      room.run('sync', '-f', node.root);
      const disk = readFileSync(image(node));
      let count = 0;
      for (let found = disk.indexOf(content); found >= 0; found = disk.indexOf(content, found + 1)) {
        const position = found + Math.floor(content.length / 2);
        const byte = Buffer.from([(disk[position] ?? 0) ^ 4]);
        writeFileSync(`${node.dir}/byte`, byte);
        runNow('dd', [`if=${node.dir}/byte`, `of=${image(node)}`, 'bs=1', `seek=${position}`, 'conv=notrunc', 'status=none']);
        count++;
      }
      expect(count).toBeGreaterThan(0);
      expect(readFileSync(at(node, name)).equals(content)).toBe(true);
      return content;
    },
    /** What the disk has, and not the cache. */
    onDisk: (node: SmallNode, name: string): Buffer => {
      room.run('dd', `if=${node.root}/${name}`, 'iflag=nocache', 'count=0', 'status=none');
      return readFileSync(at(node, name));
    },
  };
}

async function scrubOf(node: SmallNode): Promise<{ code: number; state: ScrubState }> {
  const { code, stdout } = await node.cli('scrub', '--json');
  return { code: code ?? -1, state: JSON.parse(stdout) as ScrubState };
}

/** Content that is nowhere else on the disk. */
const contentOf = (name: string) => `${name}: ${'0123456789abcdef'.repeat(40)} ${Math.random()} end of ${name}\n`;

describe.runIf(isRoot)('a bit that a disk flips', () => {
  it('on the standby is found and mended by itself in the time set, although the cache still has what was right', async () => {
    // Each pass takes 17 seconds.
    const { room, pair, flip, at, onDisk } = await pairOnDisks('0.0002');
    await using _room = room;
    await using _pair = pair;
    const { primary, standby } = pair;
    for (const name of ['one', 'two', 'three']) writeFileSync(at(primary, name), contentOf(name));
    await primary.start();
    await pair.introduce();
    await standby.start('--adopt');
    await pair.settled();
    const good = flip(standby, 'two');
    await standby.until('the mended file', (s) => s.scrub?.mended === 1 && s.scrub.damagedCount === 0);
    expect(onDisk(standby, 'two').equals(good)).toBe(true);
    await standby.until('a pass without a finding', (s) => s.scrub?.lastPass?.found === 0 && s.warnings.length === 0);
    const { code, state } = await scrubOf(standby);
    expect([code, state.mended, state.damaged]).toEqual([0, 1, []]);
    const { text } = await standby.scrape();
    expect(text).toMatch(/^mailtwin_scrub_mended_files 1$/m);
    expect(text).toMatch(/^mailtwin_scrub_damaged_files\{where="here"\} 0$/m);
    expect((await primary.cli('verify', '--deep')).code).toBe(0);
    expect((await scrubOf(primary)).state.damagedCount).toBe(0);
  });

  it('on the primary is named and not spread, whatever reads it again, and the good version comes back by a command', async () => {
    const { room, pair, flip, at, onDisk } = await pairOnDisks('14');
    await using _room = room;
    await using _pair = pair;
    const { primary, standby } = pair;
    for (const name of ['one', 'two', 'three']) writeFileSync(at(primary, name), contentOf(name));
    // A file that is no message and changed within the last minute may still be written.
    for (const name of ['one', 'two', 'three']) utimesSync(at(primary, name), 1_700_000_000, 1_700_000_000);
    await primary.start();
    await pair.introduce();
    await standby.start('--adopt');
    await pair.settled();
    // What was read in the moment of its change is read once more at the next start.
    await primary.stop();
    await primary.start();
    await pair.settled();
    const good = flip(primary, 'two');
    await primary.ok('scrub', 'start');
    const found = await primary.until('the damaged file', (s) => s.scrub?.damaged[0]?.there === 'good');
    expect(found.warnings.find(({ code }) => code === 'damaged-here')?.remedy).toContain('mailtwin scrub restore mail/two');
    await standby.until('the word of it', (s) => s.warnings.some(({ code }) => code === 'damaged-there'));
    expect((await scrubOf(primary)).code).toBe(1);
    // A comparison that reads no content does not call the two the same.
    const compared = await primary.cli('verify');
    expect([compared.code, compared.stdout]).toEqual([exitCodes.incomplete, expect.stringContaining('1 damaged on the disk of this node')]);
    // Now whoever reads it gets what is damaged.
    const bad = onDisk(primary, 'two');
    expect(bad.equals(good)).toBe(false);
    await primary.kill();
    await primary.start();
    await pair.settled();
    const verified = await primary.cli('verify', '--deep');
    expect(verified.code).toBe(1);
    expect(verified.stdout + verified.stderr).toContain('mail:two');
    await pair.settled();
    expect(onDisk(standby, 'two').equals(good)).toBe(true);
    expect((await primary.cli('scrub', 'restore', 'mail/one', '--yes')).code).toBe(3);
    expect((await primary.cli('scrub', 'restore', 'mail/two')).code).toBe(3);
    expect(onDisk(primary, 'two').equals(bad)).toBe(true);
    await primary.ok('scrub', 'restore', 'mail/two', '--yes');
    expect(onDisk(primary, 'two').equals(good)).toBe(true);
    await pair.settled();
    await primary.until('nothing that is damaged', (s) => s.scrub?.damagedCount === 0 && s.warnings.length === 0);
    expect((await primary.cli('verify', '--deep')).code).toBe(0);
    expect(onDisk(standby, 'two').equals(good)).toBe(true);
  });
});
