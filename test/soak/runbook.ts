import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Archive } from '../lab/archive.ts';
import { DebianLab, makePackages, type DebianPlan } from '../lab/debian-lab.ts';
import { ownerMark, removeAbandoned } from '../lab/ownership.ts';
import { runNow } from '../lab/processes.ts';
import { hostReleases } from '../lab/release.ts';
import { RuleWatch } from '../lab/rule-watch.ts';
import type { Soak } from './options.ts';
import { alerts, bulkUser, twoActive } from './runbook/alerts.ts';
import { Book } from './runbook/book.ts';
import { diskFull } from './runbook/disk.ts';
import { newHardware } from './runbook/hardware.ts';
import { nineOClock, nineOClockByHand } from './runbook/nine.ts';
import { comesBack, dailyLook, failover, setUp, switchover } from './runbook/takeovers.ts';
import { rollingUpdate } from './runbook/updates.ts';
import { fromDebian12 } from './runbook/upgrade.ts';
import type { World } from './runbook/world.ts';

const names = ['a', 'b', 'c'] as const;

type Procedures = Record<string, (world: World) => Promise<void>>;

/** In this order; each begins and ends with mail-a serving and mail-b following. */
const procedures: Procedures = {
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
 * deploy/docs/RUNBOOK.md as a person would go by it, on booted Debians of one release or of two: each command of it is taken
 * out of the text and run where the text says. A command that the soak does not know, or knows and does not find, makes it fail.
 *
 * The upgrade of a release has a pair of its own, which begins as two Debian 12; so has the night in which the primary dies.
 */
export const run: Soak = async () => {
  // On a disk: what lies in memory is another file system after a start of the host.
  const disk = tmpdir();
  removeAbandoned(disk);
  const dir = mkdtempSync(join(disk, `${ownerMark()}-runbook-`));
  const releases = hostReleases(names);
  const only = process.env['MAILTWIN_ONLY']?.split(',');
  const chosen = (of: Procedures) => Object.fromEntries(Object.entries(of).filter(([name]) => only?.includes(name) !== false));
  try {
    console.log('making the packages ...');
    await makePackages(join(dir, 'packages'), 1);
    // The mail of mail-b is on a small file system of its own, to be filled.
    const hosts: DebianPlan[] = [
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
    ];
    const ran = [await goThrough(dir, 'pair', hosts, chosen(procedures))];
    await using archive = await Archive.open(join(dir, 'archive.sock'));
    const upgrade = { fromDebian12: (world: World) => fromDebian12(world, archive) };
    ran.push(await goThrough(dir, 'upgrade', [{ name: 'a' }, { name: 'b' }], chosen(upgrade)));
    // Their copies outlive a start of the host.
    const night = [
      { name: 'a', release: releases.a },
      { name: 'b', release: releases.b },
    ] as const;
    ran.push(await goThrough(dir, 'night', [...night], chosen({ nineOClock, nineOClockByHand })));
    const wrong = ran.flatMap((each) => each.wrong);
    const [left = [], ...others] = ran.map((each) => each.left);
    if (only === undefined)
      wrong.push(
        ...left.filter((title) => others.every((each) => each.includes(title))).map((title) => `nobody ran the section "${title}"`),
      );
    if (wrong.length > 0) throw new Error(`went wrong: ${wrong.join(', ')}`);
    console.log(only === undefined ? 'every procedure of the runbook was run as it is written' : `${only.join(', ')}: run as written`);
    return true;
  } catch (error) {
    console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return false;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
};

/**
 * Sets a pair up on hosts that are made for it, mail on mail-a, and goes through these procedures.
 * @returns which of them went wrong, and the sections of the runbook that none of them has.
 */
async function goThrough(dir: string, name: string, hosts: DebianPlan[], all: Procedures): Promise<{ wrong: string[]; left: string[] }> {
  if (Object.keys(all).length === 0) return { wrong: [], left: [] };
  const trees = join(dir, name);
  mkdirSync(trees);
  const lab = new DebianLab(trees, hosts);
  const book = new Book(lab);
  const wrong: string[] = [];
  try {
    console.log(hosts.map((host) => `mail-${host.name}: ${lab.release(host.name)}`).join(', '));
    await lab.make();
    lab.give(join(dir, 'packages'), 'root');
    makeBulk(lab);
    for (const host of ['a', 'b'] as const) await lab.host(host).boot();
    await lab.enter();
    const namespaces = Object.fromEntries(hosts.map((host) => [host.name, lab.network.host(host.name).namespace]));
    await using watch = await RuleWatch.start(join(trees, 'prometheus'), namespaces);
    const world: World = { lab, book, watch, dir, takeoverConfig: '' };
    await setUp(world);
    for (const [title, procedure] of Object.entries(all)) {
      try {
        await procedure(world);
      } catch (error) {
        // The others may be well all the same; what follows from this one shows up after it.
        console.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
        wrong.push(title);
      }
    }
    return { wrong, left: book.left };
  } finally {
    await lab.end();
    rmSync(trees, { recursive: true, force: true });
  }
}
