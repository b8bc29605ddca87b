import { chownSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { runNow } from '../../lab/processes.ts';
import { Disk } from './disks.ts';

/** Users by the file system that their mail lies on, on the primary. */
export const users = ['anna', 'bert', 'carla', 'dora', 'eva'] as const;
export type User = (typeof users)[number];

const mailOwner = 5000;

/** The disks of both nodes, and where the roots lie on them. Everything is below one tmpfs of the soak's own. */
export interface Layout {
  /** Directory of each node: configuration, state, volume. */
  a: string;
  b: string;
  primary: { store: string; files: string; volume: Disk; state: Disk; users: Readonly<Record<Exclude<User, 'anna'>, Disk>> };
  standby: { store: string; files: string; volume: Disk; state: Disk; users: { bert: Disk; carla: Disk } };
}

/**
 * Primary: a root on ext4; below it xfs for bert, two subvolumes of one btrfs for carla and dora, tmpfs for eva. Standby:
 * a root on ext4; below it an ext4 that knows whole seconds for bert, and a btrfs with a quota for carla.
 */
export function makeLayout(base: string): Layout {
  runNow('mount', ['-t', 'tmpfs', '-o', 'size=12g,mode=0755', 'tmpfs', base]);
  const image = (name: string) => join(base, `${name}.img`);
  const [a, b] = [join(base, 'a'), join(base, 'b')];
  const volume = (dir: string, name: string) => new Disk({ kind: 'ext4', at: join(dir, 'volume'), image: image(name), size: '2G' });
  const state = (dir: string, name: string) => new Disk({ kind: 'ext4', at: join(dir, 'state'), image: image(name), size: '96M' });
  const [storeA, storeB] = [join(a, 'volume/mail'), join(b, 'volume/mail')];
  const layout: Layout = {
    a,
    b,
    primary: {
      store: storeA,
      files: join(a, 'volume/files'),
      volume: volume(a, 'a-volume'),
      state: state(a, 'a-state'),
      users: {
        bert: new Disk({ kind: 'xfs', at: join(storeA, 'bert'), image: image('a-bert'), size: '500M' }),
        carla: new Disk({ kind: 'btrfs', at: join(storeA, 'carla'), image: image('a-btrfs'), size: '600M', subvolume: 'carla' }),
        dora: new Disk({ kind: 'btrfs', at: join(storeA, 'dora'), image: image('a-btrfs'), size: '600M', subvolume: 'dora' }),
        eva: new Disk({ kind: 'tmpfs', at: join(storeA, 'eva'), image: '', size: '200M' }),
      },
    },
    standby: {
      store: storeB,
      files: join(b, 'volume/files'),
      volume: volume(b, 'b-volume'),
      state: state(b, 'b-state'),
      users: {
        bert: new Disk({ kind: 'ext4-seconds', at: join(storeB, 'bert'), image: image('b-bert'), size: '500M' }),
        carla: new Disk({ kind: 'btrfs', at: join(storeB, 'carla'), image: image('b-btrfs'), size: '600M', subvolume: 'carla' }),
      },
    },
  };
  for (const node of [layout.primary, layout.standby]) {
    for (const disk of [node.volume, node.state]) disk.mount();
    for (const dir of [node.store, node.files]) mkdirSync(dir, { recursive: true });
    for (const disk of Object.values(node.users)) disk.mount();
  }
  chownSync(layout.primary.store, mailOwner, mailOwner);
  for (const user of users) ownHome(layout, user);
  return layout;
}

/** A user's directory as the mail server finds it on a disk that is new. What lies below a mount point is root's, and stays empty. */
export function ownHome(layout: Layout, user: User): void {
  const home = join(layout.primary.store, user);
  if (!existsSync(home)) mkdirSync(home);
  chownSync(home, mailOwner, mailOwner);
}
