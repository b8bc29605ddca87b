import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { MountRoom } from '../lab/mount-room.ts';
import { runNow } from '../lab/processes.ts';
import { SmallPair, type SmallNode } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const isRoot = process.getuid?.() === 0;
const waitMs = 120_000;

describe.runIf(isRoot)('a disk that stands still', () => {
  it('below the state directory of a standby is said as slow, and the standby is heard all the time (I24)', async () => {
    await using room = await MountRoom.create();
    await using pair = await SmallPair.create({ wrap: room.wrap });
    const { primary, standby } = pair;
    onItsOwnDisk(room, standby);
    mkdirSync(primary.root, { recursive: true });
    writeFileSync(`${primary.root}/before`, 'mail');
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    // What is made in the state directory when a role begins is there.
    await standby.until('its watcher', (s) => s.capture.watches > 0, waitMs);
    room.run('fsfreeze', '-f', standby.state);
    try {
      writeFileSync(`${primary.root}/meanwhile`, 'mail');
      // Said by the standby itself, which answers commands, too.
      await standby.until('its own word', (s) => s.warnings.some(({ code }) => code === 'disk-slow'), waitMs);
      for (let beats = 0, last = await heardBy(primary); beats < 5; beats++) {
        last = await waitFor('the next heartbeat', waitMs, async () => {
          const now = await heardBy(primary);
          return now > last && now;
        });
      }
      const status = await primary.status();
      expect([status.peer.connected, status.replication.phase]).toEqual([true, 'streaming']);
      // It is lag, and nothing is confirmed.
      expect(status.replication.lagChanges).toBeGreaterThan(0);
      expect((await primary.cli('wait', '--timeout', '1')).code).toBe(1);
      // The word of a slow disk reaches whoever looks at the primary.
      await primary.until(
        'the word of the standby',
        (s) => s.warnings.some(({ text }) => text.includes('does not take what is written')),
        waitMs,
      );
    } finally {
      room.run('fsfreeze', '-u', standby.state);
    }
    await pair.settled();
    expect((await standby.status()).warnings.filter(({ code }) => code === 'disk-slow')).toEqual([]);
    expect(pair.primary.log).not.toMatch(/was not heard|silent/);
  });

  it('below the state directory of a primary keeps no barrier from ending in time, and the primary is heard all the time (I24)', async () => {
    await using room = await MountRoom.create();
    await using pair = await SmallPair.create({ wrap: room.wrap });
    const { primary, standby } = pair;
    onItsOwnDisk(room, primary);
    mkdirSync(primary.root, { recursive: true });
    writeFileSync(`${primary.root}/before`, 'mail');
    await primary.start();
    await pair.introduce();
    await standby.start();
    await pair.settled();
    room.run('fsfreeze', '-f', primary.state);
    try {
      // It asks the watcher for a marker in the state directory.
      expect((await primary.cli('wait', '--timeout', '2')).code).toBe(1);
      for (let beats = 0, last = await heardBy(standby); beats < 5; beats++) {
        last = await waitFor('the next heartbeat', waitMs, async () => {
          const now = await heardBy(standby);
          return now > last && now;
        });
      }
      expect((await standby.status()).peer.connected).toBe(true);
    } finally {
      room.run('fsfreeze', '-u', primary.state);
    }
    await pair.settled();
    expect(standby.log).not.toMatch(/was not heard|silent/);
  });
});

const heardBy = async (node: SmallNode) => Date.parse((await node.status()).peer.lastHeardAt ?? '');

/** The state directory as it was initialised, on a disk of its own. */
function onItsOwnDisk(room: MountRoom, node: SmallNode): void {
  const image = `${node.dir}/image`;
  runNow('truncate', ['-s', '64M', image]);
  runNow('mkfs.ext4', ['-q', '-F', image]);
  cpSync(node.state, `${node.dir}/state-before`, { recursive: true });
  room.run('mount', '-o', 'loop', image, node.state);
  room.run('cp', '-a', `${node.dir}/state-before/.`, node.state);
  node.seenAt(room.path(node.state));
}
