import { renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { AgentPair, LabAgent } from '../../lab/agents.ts';
import type { Random } from '../../../tools/mailgen/random.ts';
import { Ballast, type Disk } from './disks.ts';
import { ownHome, type Layout, type User } from './layout.ts';
import type { UserLoad } from './load.ts';
import { makeOdd } from './odd-files.ts';

/** What an event may touch, and where it says what it found. */
export interface World {
  layout: Layout;
  pair: AgentPair;
  loads: ReadonlyMap<string, UserLoad>;
  random: Random;
  say: (line: string) => void;
}

const awayMsMax = 9000;
let odd = 0;

/** Each thing that happens to the pair: it does it, lets some time pass, and undoes it. A weight says how often it comes. */
export const events: Record<string, { weight: number; run(w: World): Promise<void> }> = {
  "a user's disk goes on the primary": { weight: 5, run: (w) => userDiskAway(w, false) },
  "a user's disk goes on the primary under load": { weight: 2, run: (w) => userDiskAway(w, true) },
  'the volume of the standby goes': { weight: 3, run: (w) => volumeAway(w) },
  'a disk below the root of the standby goes': {
    weight: 4,
    run: async ({ layout, random }) => {
      const disk = random.pick(Object.values(layout.standby.users));
      await disk.umount(true);
      await away(random);
      disk.mount();
    },
  },
  'the standby starts without its volume': {
    weight: 2,
    run: async ({ layout, pair, random }) => {
      await pair.standby.kill9();
      await standbyUnmounted(layout);
      await pair.standby.start();
      await away(random);
      standbyMounted(layout);
    },
  },
  'the primary starts without a disk': {
    weight: 2,
    run: async (w) => {
      const [user, disk] = pickUser(w);
      await w.loads.get(user)?.stop();
      await w.pair.primary.kill9();
      await disk.umount(false);
      await w.pair.primary.start();
      await away(w.random);
      disk.mount();
      w.loads.get(user)?.start();
    },
  },
  'kill -9 of the primary': { weight: 4, run: (w) => killed(w, w.pair.primary) },
  'kill -9 of the standby': { weight: 4, run: (w) => killed(w, w.pair.standby) },
  'a stop by SIGTERM': {
    weight: 3,
    run: async ({ pair, random }) => {
      const agent = random.chance(0.5) ? pair.primary : pair.standby;
      const began = performance.now();
      await agent.stop();
      const seconds = (performance.now() - began) / 1000;
      if (seconds > 10) throw new Error(`${agent.node} took ${seconds.toFixed(1)} s to stop`);
      await agent.start();
    },
  },
  'the disk of the standby is full': { weight: 2, run: (w) => full(w, w.layout.standby.volume.at) },
  'the state disk of the standby is full': { weight: 3, run: (w) => full(w, w.layout.standby.state.at) },
  'the state disk of the primary is full': { weight: 3, run: (w) => full(w, w.layout.primary.state.at) },
  'a quota of the standby is reached': {
    weight: 3,
    run: async ({ layout, random }) => {
      const { carla } = layout.standby.users;
      carla.limit(Math.max(65_536, carla.used() - 1_000_000));
      await away(random);
      carla.limit(null);
    },
  },
  'odd files': {
    weight: 5,
    run: async ({ layout, random, say }) => {
      const dir = random.chance(0.5) ? layout.primary.files : layout.primary.store;
      say(`odd: ${makeOdd(dir, random, odd++)}`);
      await pause(500);
    },
  },
  'a directory behind a link': {
    weight: 2,
    run: async ({ layout, random }) => {
      const [here, there] = [join(layout.primary.files, 'domain'), join(layout.primary.volume.at, 'moved-domain')];
      renameSync(here, there);
      symlinkSync(there, here);
      await away(random);
      rmSync(here);
      renameSync(there, here);
    },
  },
};

async function away(random: Random): Promise<void> {
  await pause(1000 + random.unit() * awayMsMax);
}

function pickUser({ layout, random }: World): [User, Disk] {
  return random.pick(Object.entries(layout.primary.users) as [User, Disk][]);
}

async function userDiskAway(w: World, underLoad: boolean): Promise<void> {
  const [user, disk] = pickUser(w);
  w.say(`${user}, ${disk.kind}`);
  if (!underLoad) await w.loads.get(user)?.stop();
  await disk.umount(underLoad);
  await away(w.random);
  if (underLoad) await w.loads.get(user)?.stop();
  disk.mount();
  // A tmpfs is another one each time.
  if (disk.kind === 'tmpfs') ownHome(w.layout, user);
  w.loads.get(user)?.start();
}

async function volumeAway({ layout, random }: World): Promise<void> {
  await standbyUnmounted(layout);
  await away(random);
  standbyMounted(layout);
}

async function standbyUnmounted({ standby }: Layout): Promise<void> {
  for (const disk of Object.values(standby.users)) await disk.umount(true);
  await standby.volume.umount(true);
}

function standbyMounted({ standby }: Layout): void {
  standby.volume.mount();
  for (const disk of Object.values(standby.users)) disk.mount();
}

async function killed({ random }: World, agent: LabAgent): Promise<void> {
  await pause(random.unit() * 1000);
  await agent.kill9();
  await pause(random.unit() * 1500);
  await agent.start();
}

async function full({ random }: World, dir: string): Promise<void> {
  const ballast = new Ballast(dir);
  try {
    ballast.fill();
    await away(random);
  } finally {
    ballast.free();
  }
}
