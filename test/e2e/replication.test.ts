import { afterEach, describe, expect, it } from 'vitest';
import { createLab, labObstacle, type Lab, type LabOptions } from '../lab/lab.ts';
import { replicate, type Findings, type Scenario } from './replication-scenario.ts';

let lab: Lab | null = null;
afterEach(async () => {
  await lab?.dispose();
  lab = null;
});

/** MAILTWIN_LOAD_SECONDS=180 MAILTWIN_SEED=7 makes it minutes, and another run. */
const seconds = Number(process.env['MAILTWIN_LOAD_SECONDS'] ?? 15);
const seed = process.env['MAILTWIN_SEED'] ?? 'replication';

async function run(options: Omit<LabOptions, 'hosts'>, scenario: Omit<Scenario, 'lab' | 'seed'>): Promise<Findings> {
  lab = await createLab({ hosts: 2, ...options });
  const found = await replicate({ lab, seed, ...scenario });
  console.log(`seed ${seed}: ${found.summary}`);
  return found;
}

const nothing = { verify: '', trees: [], audit: [], record: [], log: [], agentErrors: [] };

describe.skipIf(labObstacle() !== null)('a live Dovecot store on the standby', () => {
  const matrix: [watcher: 'chokidar' | 'fanotify', disk: string, dir: string | undefined][] = [
    ['chokidar', 'ext4', undefined],
    ['fanotify', 'tmpfs', '/dev/shm'],
    ['chokidar', 'tmpfs', '/dev/shm'],
    ['fanotify', 'ext4', undefined],
  ];
  it.each(matrix)('is the same to clients, byte by byte, modseqs included (%s, %s)', async (watcher, _disk, dir) => {
    const found = await run({ ...(dir === undefined ? {} : { diskDir: dir }) }, { watcher, seconds });
    expect(found).toMatchObject(nothing);
    expect(found.audited.messages).toBeGreaterThan(50);
  });

  it('is the same with indexes and control files in roots of their own', async () => {
    const found = await run(
      { diskDir: '/dev/shm', mail: { layout: 'maildir++', separate: true } },
      { watcher: 'fanotify', seconds: Math.min(seconds, 8), roots: ['store', 'index', 'control'] },
    );
    expect(found).toMatchObject(nothing);
    expect(found.audited.messages).toBeGreaterThan(30);
  });

  it('is the same with nested folders', async () => {
    const found = await run({ diskDir: '/dev/shm', mail: { layout: 'fs' } }, { watcher: 'chokidar', seconds: Math.min(seconds, 8) });
    expect(found).toMatchObject(nothing);
    expect(found.audited.messages).toBeGreaterThan(30);
  });
});
