import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { initNode } from '../../agent/config/init.ts';
import { loadConfig } from '../../agent/config/load.ts';
import { metaKey, tables } from '../../agent/journal/keys.ts';
import { noteIndexOf } from '../../agent/journal/turn-round.ts';
import { makeIdentity } from '../../agent/link/identity.ts';
import { silentMeter } from '../../agent/observe/meter.ts';
import { openLmdbKv } from '../../agent/platform/lmdb-kv.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { encodeSteps } from '../../agent/replicate/standby/steps.ts';
import { enterRole } from '../../agent/wiring/roles.ts';

const dirs: string[] = [];
afterEach(() => {
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

test('a batch that is durable and not in place is finished before a standby becomes primary (I1, I14)', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'mailtwin-turn-'));
  dirs.push(dir);
  const root = join(dir, 'mail');
  const state = join(dir, 'state');
  const file = join(dir, 'mailtwin.yaml');
  mkdirSync(root);
  writeFileSync(join(root, 'there'), 'there');
  initNode(
    { file, role: 'standby', node: 'mail-b', roots: [`mail=${root}:plain`], listen: '127.0.0.1:0', state, metrics: 'off' },
    makeIdentity,
  );
  const config = loadConfig(file);
  mkdirSync(join(state, 'store'));
  const kv = openLmdbKv(join(state, 'store'));
  try {
    // What a kill between the commit and the steps leaves: content in staging, and the list of what to do with it.
    noteIndexOf(kv, 'standby');
    const staged = join(state, 'staging/mail/stage');
    mkdirSync(staged, { recursive: true });
    mkdirSync(join(state, 'staging/mail/history'));
    writeFileSync(join(staged, '1'), 'acknowledged or not, it is durable');
    const { ino } = statSync(join(staged, '1'), { bigint: true });
    kv.commit([
      [Buffer.from([tables.redo]), encodeSteps([{ do: 'place', staged: join(staged, '1'), path: join(root, 'came'), ino, keep: null }])],
      [metaKey('position'), Buffer.alloc(20, 1)],
    ]);
    const failed = () => (error: unknown) => {
      throw error;
    };
    const word = () => ({ role: 'primary' as const, epoch: 2, active: true });
    const running = await enterRole(
      { config, log: silentLog, kv, meter: silentMeter, queue: () => null, certificate: () => null, releases: () => null, word, failed },
      'primary',
      'refuse',
    );
    try {
      expect(readFileSync(join(root, 'came'), 'utf8')).toBe('acknowledged or not, it is durable');
      expect(existsSync(join(staged, '1'))).toBe(false);
      expect(running.role).toBe('primary');
    } finally {
      await running.stop();
    }
  } finally {
    await kv.close();
  }
});
