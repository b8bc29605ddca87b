import { mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DebianLab, makePackages } from '../lab/debian-lab.ts';
import { ownerMark, removeAbandoned } from '../lab/ownership.ts';
import { runNow } from '../lab/processes.ts';
import { hostReleases } from '../lab/release.ts';
import { RuleWatch } from '../lab/rule-watch.ts';
import type { Soak } from './options.ts';
import { alerts, bulkUser, twoActive } from './runbook/alerts.ts';
import { Book } from './runbook/book.ts';
import { diskFull } from './runbook/disk.ts';
import { newHardware } from './runbook/hardware.ts';
import { comesBack, dailyLook, failover, setUp, switchover } from './runbook/takeovers.ts';
import { rollingUpdate } from './runbook/updates.ts';
import type { World } from './runbook/world.ts';

const names = ['a', 'b', 'c'] as const;

/** It upgrades the hosts themselves, which nothing here does: the text says so. */
const notRun = 'From Debian 12 to 13';

/** In this order; each begins and ends with mail-a serving and mail-b following. */
const procedures: Record<string, (world: World) => Promise<void>> = {
  dailyLook,
  switchover,
  failover,
  comesBack,
  twoActive,
  rollingUpdate,
  diskFull,
  ...alerts,
  newHardware,
};

/** Mail that was on mail-a before: with it a fill takes a while, and a deletion can be a mass deletion. */
function makeBulk(lab: DebianLab): void {
  const store = join(lab.host('a').tree, 'var/vmail');
  const mailgen = [
    '--import',
    'tsx',
    'tools/mailgen/main.ts',
    'make',
    join(store, 'made'),
    '--users',
    '1',
    '--messages',
    '2000',
    '--folders',
    '5',
  ];
  runNow('node', [...mailgen, '--owner', '5000:5000']);
  const [user = ''] = readdirSync(join(store, 'made'));
  renameSync(join(store, 'made', user), join(store, bulkUser));
  rmSync(join(store, 'made'), { recursive: true });
}

/**
 * deploy/RUNBOOK.md as a person would go by it, on booted Debians of one release or of two: each command of it is taken
 * out of the text and run where the text says. A command that the soak does not know, or knows and does not find, makes it fail.
 */
export const run: Soak = async () => {
  // On a disk: what lies in memory is another file system after a start of the host.
  const disk = tmpdir();
  removeAbandoned(disk);
  const dir = mkdtempSync(join(disk, `${ownerMark()}-runbook-`));
  const releases = hostReleases(names);
  // The mail of mail-b is on a small file system of its own, to be filled.
  const lab = new DebianLab(dir, [
    { name: 'a', release: releases.a },
    { name: 'b', release: releases.b, memoryDirs: { '/var/vmail': 'size=420m,mode=0755,uid=5000,gid=5000' } },
    {
      name: 'c',
      release: releases.c,
      ports: [
        { name: 'enp2s0', network: null },
        { name: 'enp3s0', network: 0 },
      ],
    },
  ]);
  const only = process.env['MAILTWIN_ONLY']?.split(',');
  const chosen = Object.entries(procedures).filter(([name]) => only?.includes(name) !== false);
  try {
    console.log(names.map((name) => `mail-${name}: ${lab.release(name)}`).join(', '));
    const book = new Book(lab);
    console.log('making the packages ...');
    await makePackages(join(dir, 'packages'), 1);
    await lab.make();
    lab.give(join(dir, 'packages'), 'root');
    makeBulk(lab);
    for (const name of ['a', 'b'] as const) await lab.host(name).boot();
    await lab.enter();
    const namespaces = Object.fromEntries(names.map((name) => [name, lab.network.host(name).namespace]));
    await using watch = await RuleWatch.start(join(dir, 'prometheus'), namespaces);
    const world: World = { lab, book, watch, dir, takeoverConfig: '' };
    await setUp(world);
    const wrong: string[] = [];
    for (const [name, procedure] of chosen) {
      try {
        await procedure(world);
      } catch (error) {
        // The others may be well all the same; what follows from this one shows up after it.
        console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
        wrong.push(name);
      }
    }
    if (only === undefined)
      wrong.push(...book.left.filter((title) => title !== notRun).map((title) => `nobody ran the section "${title}"`));
    if (wrong.length > 0) throw new Error(`went wrong: ${wrong.join(', ')}`);
    console.log(`every procedure of the runbook was run as it is written, but ${notRun}`);
    return true;
  } catch (error) {
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return false;
  } finally {
    await lab.end();
    rmSync(dir, { recursive: true, force: true });
  }
};
