import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { MountRoom } from '../lab/mount-room.ts';
import { runNow } from '../lab/processes.ts';
import { SmallPair } from '../lab/small-pair.ts';

const isRoot = process.getuid?.() === 0;

/** A pair in a mount namespace of its own, before it runs; `disk` makes a file system and returns how to mount and unmount it. */
async function pairWithDisks() {
  const room = await MountRoom.create();
  const pair = await SmallPair.create({ wrap: room.wrap, set: { freeSpaceMin: '1MiB' } });
  let images = 0;
  const disk = (at: string, mkfs: readonly [string, ...string[]], size = '32M') => {
    const image = `${pair.primary.dir}/image-${++images}`;
    runNow('truncate', ['-s', size, image]);
    runNow(mkfs[0], [...mkfs.slice(1), image]);
    const mount = () => {
      mkdirSync(room.path(at), { recursive: true });
      room.run('mount', '-o', 'loop', image, at);
    };
    mount();
    return { mount, umount: () => room.run('umount', '-l', at) };
  };
  return { room, pair, disk };
}

describe.runIf(isRoot)('the file systems of a root (I19)', () => {
  it('of a standby: a volume that is missing at its start is waited for, and one inside the root works', async () => {
    const { room, pair, disk } = await pairWithDisks();
    await using _room = room;
    await using _pair = pair;
    const { primary, standby } = pair;
    const volume = disk(standby.root, ['mkfs.ext4', '-q', '-F']);
    const inside = disk(`${standby.root}/inside it é`, ['mkfs.btrfs', '-q'], '120M');
    mkdirSync(`${primary.root}/inside it é`);
    writeFileSync(`${primary.root}/inside it é/one`, 'mail');
    writeFileSync(`${primary.root}/two`, 'mail');
    await primary.start();
    await pair.introduce();
    await standby.start('--adopt');
    await pair.settled();
    const here = (dir: string) => readdirSync(room.path(dir)).filter((name) => !name.startsWith('.') && name !== 'lost+found');
    expect(here(`${standby.root}/inside it é`)).toEqual(['one']);
    await standby.stop();
    inside.umount();
    volume.umount();
    await standby.start();
    await primary.until('the word of the standby', (s) => s.replication.held?.code === 'root-changed');
    const status = await standby.until('its own word', (s) => s.warnings.some(({ code }) => code === 'root-changed'));
    expect(status.roots[0]?.missing).toBe(1);
    writeFileSync(`${primary.root}/three`, 'mail');
    expect((await primary.cli('wait', '--timeout', '3')).code).toBe(1);
    await primary.until('what may be lost', (s) => (s.possibleLoss.changes ?? 0) > 0);
    expect(here(standby.root)).toEqual([]);
    volume.mount();
    await primary.until('the rest', (s) => s.replication.held === null);
    await primary.until('the disk inside', (s) => s.replication.heldPlaces.some(({ code }) => code === 'standby-mount'));
    inside.mount();
    await primary.until('all', (s) => s.replication.heldPlaces.length === 0);
    await pair.settled();
    expect(here(standby.root).sort()).toEqual(['inside it é', 'three', 'two']);
    expect((await primary.cli('verify', '--deep')).code).toBe(0);
    // A disk that was given up on purpose: a person says so on the node that lacks it, and what was on it comes to the volume.
    inside.umount();
    await standby.until('the disk that is given up', (s) => s.replication.heldPlaces.some(({ path }) => path === 'inside it é'));
    await primary.until('the word of it', (s) => s.replication.heldPlaces.some(({ code }) => code === 'standby-mount'));
    await standby.ok('accept-root', 'mail/inside it é');
    await primary.until('all again', (s) => s.replication.heldPlaces.length === 0);
    await pair.settled();
    expect(here(`${standby.root}/inside it é`)).toEqual(['one']);
  });

  it('of a primary: what is unmounted below the root while it runs is held alone, on ext4 without birth times and on xfs', async () => {
    const { room, pair, disk } = await pairWithDisks();
    await using _room = room;
    await using _pair = pair;
    const { primary, standby } = pair;
    const volumes = {
      ext4: disk(`${primary.root}/ext4`, ['mkfs.ext4', '-q', '-F', '-I', '128']),
      xfs: disk(`${primary.root}/xfs`, ['mkfs.xfs', '-q'], '320M'),
    };
    const names = Object.keys(volumes);
    for (const name of names) writeFileSync(room.path(`${primary.root}/${name}/one`), 'mail');
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    for (const [name, volume] of Object.entries(volumes)) {
      volume.umount();
      writeFileSync(room.path(`${primary.root}/${name}/stray`), 'not of the disk');
    }
    const status = await primary.until('the holds', (s) =>
      names.every((name) => s.replication.heldPlaces.some(({ path }) => path === name)),
    );
    expect(status.warnings.map(({ code }) => code)).toContain('mount-missing');
    expect(status.roots[0]?.missing).toBe(2);
    writeFileSync(room.path(`${primary.root}/two`), 'mail');
    expect((await primary.cli('verify')).code).toBe(5);
    expect(readdirSync(standby.root).sort()).toEqual(['ext4', 'two', 'xfs']);
    for (const [name, volume] of Object.entries(volumes)) {
      expect(readdirSync(`${standby.root}/${name}`)).toContain('one');
      expect(readdirSync(`${standby.root}/${name}`)).not.toContain('stray');
      volume.mount();
    }
    await pair.settled();
    for (const name of names) writeFileSync(room.path(`${primary.root}/${name}/later`), 'mail');
    await pair.settled();
    for (const name of names) expect(readdirSync(`${standby.root}/${name}`)).toContain('later');
    expect((await primary.cli('verify')).code).toBe(0);
  });
});
