import { displayPath } from '../../platform/files.ts';
import { fail, gigabytes, pass, warn, type Check } from './finding.ts';

const freeShareMin = 0.05;
const queueMin = 16_384;
/** Watches that other programs of the same user keep for themselves. */
const watchReserve = 1000;
const CAP_DAC_READ_SEARCH = 2n;
const CAP_SYS_ADMIN = 21n;
/** FAN_RENAME, which gives both names of a rename in one event, came with Linux 5.17. */
const fanotifyKernel = [5, 17] as const;
/** inotify and fanotify see only what this host itself changes. */
const networkTypes = /^(nfs|cifs|smb|fuse\.(sshfs|gluster)|ceph|9p|glusterfs|lustre)/;

/** What the host offers: disk, kernel limits, time. */
export const hostChecks: Check[] = [
  {
    id: 'space',
    run({ probe, config }) {
      const places = [
        { name: 'state directory', path: config.state },
        ...config.roots.map((root) => ({ name: `root ${root.name}`, path: root.path })),
      ];
      return places
        .filter(({ path }) => probe.stat(path) !== null)
        .map(({ name, path }) => {
          const { freeBytes, freeInodes, totalInodes } = probe.space(path);
          const evidence = `${gigabytes(freeBytes)} free${totalInodes > 0 ? `, ${freeInodes} inodes free` : ''} at ${displayPath(path)}`;
          if (freeBytes < config.limits.freeBytesMin)
            return fail(
              'space',
              `too little space for the ${name}`,
              evidence,
              'make room or grow the file system; replication pauses until there is room',
            );
          if (totalInodes > 0 && freeInodes < totalInodes * freeShareMin)
            return warn(
              'space',
              `few inodes are left for the ${name}`,
              evidence,
              'every message needs an inode: remove what is not needed, or make a file system with more',
            );
          return pass('space', `${name}: ${evidence}`);
        });
    },
  },
  {
    id: 'mount',
    async run({ probe, config }) {
      const mounts = await probe.mounts();
      return config.roots.flatMap((root) => {
        const path = displayPath(root.path);
        const mount = mounts
          .filter(({ at }) => at === '/' || path === at || path.startsWith(`${at}/`))
          .sort((a, b) => b.at.length - a.at.length)[0];
        if (!mount) return [];
        const evidence = `${mount.at} is ${mount.type}`;
        if (!mount.writable && config.role === 'standby')
          return [
            fail(
              'mount',
              `root ${root.name} is on a read-only file system`,
              evidence,
              `mount -o remount,rw ${mount.at}, after looking why it is read-only (dmesg)`,
            ),
          ];
        if (networkTypes.test(mount.type)) {
          return [
            warn(
              'mount',
              `root ${root.name} is on a network file system`,
              evidence,
              'changes that other hosts make there are seen only by the rescan (capture.rescanHours); keep the mail on a local file system',
            ),
          ];
        }
        return [pass('mount', `root ${root.name} is on ${mount.type}`)];
      });
    },
  },
  {
    id: 'inotify',
    run({ probe, config, status }) {
      if (config.role !== 'primary' || config.capture.watcher === 'fanotify' || status?.capture.watcher === 'fanotify') return [];
      const watchesMax = Number(probe.readText('/proc/sys/fs/inotify/max_user_watches') ?? Number.NaN);
      const queueMax = Number(probe.readText('/proc/sys/fs/inotify/max_queued_events') ?? Number.NaN);
      if (!Number.isFinite(watchesMax))
        return [warn('inotify', 'the limits of inotify cannot be read', '/proc/sys/fs/inotify', 'use a kernel with inotify')];
      const surveys = config.roots.filter((root) => probe.stat(root.path)?.directory).map((root) => probe.survey(root.path));
      const dirs = surveys.reduce((sum, survey) => sum + survey.dirs + 1, 0);
      const about = surveys.every((survey) => survey.complete) ? '' : 'at least ';
      const evidence = `${about}${dirs} directories, fs.inotify.max_user_watches ${watchesMax}, fs.inotify.max_queued_events ${queueMax}`;
      const remedy = (key: string, value: number) => `sysctl -w ${key}=${value}, and the same line in /etc/sysctl.d/60-mailtwin.conf`;
      // Twice, because folders are made every day.
      if (dirs + watchReserve > watchesMax)
        return [fail('inotify', 'more directories than watches', evidence, remedy('fs.inotify.max_user_watches', roundUp(dirs * 4)))];
      if (dirs * 2 + watchReserve > watchesMax)
        return [
          warn('inotify', 'watches will run out when the store grows', evidence, remedy('fs.inotify.max_user_watches', roundUp(dirs * 4))),
        ];
      if (queueMax < queueMin)
        return [warn('inotify', 'the queue of events is short', evidence, remedy('fs.inotify.max_queued_events', 131_072))];
      return [pass('inotify', 'enough watches', evidence)];
    },
  },
  {
    id: 'fanotify',
    async run({ probe, config }) {
      if (config.role !== 'primary' || config.capture.watcher === 'chokidar') return [];
      const { kernel } = await probe.system();
      const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
      const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(probe.readText('/proc/self/status') ?? '')?.[1] ?? '0'}`);
      const has = (capability: bigint) => ((effective >> capability) & 1n) === 1n;
      const lacking = [
        ...(major < fanotifyKernel[0] || (major === fanotifyKernel[0] && minor < fanotifyKernel[1])
          ? [`Linux ${fanotifyKernel.join('.')} (this is ${kernel})`]
          : []),
        ...(has(CAP_SYS_ADMIN) ? [] : ['CAP_SYS_ADMIN']),
        ...(has(CAP_DAC_READ_SEARCH) ? [] : ['CAP_DAC_READ_SEARCH']),
      ];
      if (lacking.length === 0) return [pass('fanotify', 'fanotify can be used')];
      const evidence = `missing: ${lacking.join(', ')}`;
      const remedy = 'run the agent with these capabilities (the systemd unit gives them), or set `capture.watcher: chokidar`';
      if (config.capture.watcher === 'fanotify') return [fail('fanotify', 'fanotify is asked for and cannot be used', evidence, remedy)];
      return [warn('fanotify', 'fanotify cannot be used; the portable watcher takes a watch for every directory', evidence, remedy)];
    },
  },
  {
    id: 'time-sync',
    async run({ probe }) {
      const shown = await probe.run('timedatectl', ['show', '--property=NTPSynchronized', '--value']);
      const answer = shown?.exitCode === 0 ? shown.out.trim() : '';
      if (answer === 'yes') return [pass('time-sync', 'the clock is synchronised')];
      if (answer === 'no')
        return [
          warn(
            'time-sync',
            'the clock is not synchronised',
            'timedatectl says NTPSynchronized=no',
            'set up systemd-timesyncd or chrony: delivery times of mail follow this clock',
          ),
        ];
      return [pass('time-sync', 'whether the clock is synchronised cannot be told here', 'timedatectl gives no answer')];
    },
  },
];

function roundUp(value: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(65_536, value)));
}
