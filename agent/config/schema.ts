import { z } from 'zod';
import { limits } from '../../protocol/limits.ts';
import { parseIp } from '../platform/ip-address.ts';
import { noticesKeys, noticesSection } from './notices.ts';
import { absolutePath, list, name, oneOf, section, shown, truth, unit, whole } from './schema-parts.ts';
import { fencingKeys, fencingSection } from './takeover-sections/fencing.ts';
import { servicesKeys, servicesSection } from './takeover-sections/services.ts';
import { networkKeys, networkSection } from './takeover-sections/network.ts';
import { takeoverKeys, takeoverSection } from './takeover-sections/takeover.ts';
import { parseBytes, parseDays, parseHostPort, parseRate, parseShare, parseTimeOfDay } from './values.ts';

/** The form of the configuration file. load.ts turns it into `Config` (config.ts) and every complaint into file, line and key. */

const isOff = (value: unknown) => value === 'off' || value === false;

const hostPort = (portMin: number) => unit((text) => parseHostPort(text, portMin), 'HOST:PORT, for example 0.0.0.0:7420 or [::]:7420');
const bytes = unit(parseBytes, 'a size, for example 256MiB or 20GiB');
const rate = unit(parseRate, 'a rate, for example 20MB/s');
const timeOfDay = unit(parseTimeOfDay, 'a time of day, for example "08:00"');

const pattern = z
  .string({ error: (issue) => `${shown(issue.input)} is not a pattern; one with a special character stands in quotes` })
  .refine((text) => Buffer.byteLength(text) <= limits.excludeBytesMax, { error: `a pattern has at most ${limits.excludeBytesMax} bytes` })
  .refine((text) => !/^[!]?[/\s]*$/.test(text) && !text.includes('\0') && !/(^|\/)\.\.?(\/|$)/.test(text), {
    error: (issue) => `${shown(issue.input)} names no path below the root`,
  });

const root = z.strictObject({
  name: name.meta({ description: 'What the root is called, the same on both nodes.' }),
  path: absolutePath
    .refine((path) => Buffer.byteLength(path) <= limits.rootPathBytesMax, {
      error: `the path of a root has at most ${limits.rootPathBytesMax} bytes`,
    })
    .meta({ form: 'an absolute path', description: 'The directory tree that is replicated; it may differ between the nodes.' }),
  format: oneOf(['maildir', 'plain']).meta({
    description: '`maildir` for Dovecot or Courier, `plain` for any other files; the same on both nodes.',
  }),
  staging: absolutePath.optional().meta({
    otherwise: 'chosen by itself',
    description: 'Where a standby stages what arrives, on the file system of the root.',
  }),
  exclude: z
    .array(pattern, list('a list of patterns in the style of .gitignore'))
    .max(limits.excludesMax, `at most ${limits.excludesMax} patterns`)
    .optional()
    .meta({
      form: `a list of at most ${limits.excludesMax} patterns in the style of .gitignore`,
      otherwise: 'snapshot directories, `lost+found/`, and full-text indexes in a maildir root',
      description:
        'What is not replicated, the same list in the same order on both nodes. A list replaces the default. The mail server makes full-text indexes anew after a takeover: `doveadm fts rescan -A`.',
    }),
  mayBeEmpty: truth.default(false).meta({
    description: 'With `true` an empty directory is a root; otherwise it counts as a mount that is missing.',
  }),
});

const window = z.strictObject({
  from: timeOfDay.meta({ description: 'Local time at which the window begins.' }),
  to: timeOfDay.meta({ description: 'Local time at which it ends; it may lie after midnight.' }),
  rate: z
    .preprocess(
      (value) => (isOff(value) ? null : value),
      z.union([z.null(), rate], { error: (issue) => `${shown(issue.input)} is not "off" or a rate, for example 20MB/s` }),
    )
    .meta({
      form: '`off`, or a rate, for example 20MB/s',
      description: 'Bytes a second in the window; the first window that fits counts.',
    }),
});

const peer = z.strictObject(
  {
    addresses: z.array(hostPort(1), list('a list of HOST:PORT')).max(8, 'at most 8 addresses').default([]).meta({
      form: 'a list of at most 8 HOST:PORT',
      description: 'Addresses of the other node, tried in order, before the one that pairing stored.',
    }),
  },
  section,
);

const capture = z.strictObject(
  {
    watcher: oneOf(['auto', 'chokidar', 'fanotify']).default('auto').meta({
      description: 'How changes are noticed. `auto` takes fanotify where kernel and privileges allow it, otherwise chokidar (inotify).',
    }),
    settleMs: whole(0, 10_000).default(3).meta({
      unit: 'ms',
      description: 'From the first sign of a change to looking at it, so that what belongs together goes together.',
    }),
    restMaxMs: whole(1, 600_000).default(1000).meta({
      unit: 'ms',
      description: 'A mailbox that never rests is sent as it is after this time.',
    }),
    rescanHours: whole(0, 24 * 365)
      .default(24)
      .meta({
        unit: 'h',
        description: 'Every root is compared with the index this often, also when nothing was noticed; 0 = never.',
      }),
  },
  section,
);

const bandwidth = z.preprocess(
  (value) =>
    isOff(value) ? [] : typeof value === 'string' || typeof value === 'number' ? [{ from: '00:00', to: '24:00', rate: value }] : value,
  z.array(window, list('"off", a rate, for example 20MB/s, or a list of {from, to, rate}')).max(24, 'at most 24 windows'),
);

const bounds = z.strictObject(
  {
    bandwidth: bandwidth.prefault('off').meta({
      form: '`off`, a rate, for example 20MB/s, or a list of windows',
      description: 'Limits the background fill. Changes as they happen are never slowed down.',
    }),
    massDelete: unit(parseShare, 'a share above 0% and up to 100%, for example 20%').prefault('20%').meta({
      description:
        'When a larger share of the files of a root would be lost within ten minutes, deleted or rewritten, it is held by place until `mailtwin allow-delete`. What is moved is not lost. `100%` = never.',
    }),
    massDeleteFilesMin: whole(1, 1_000_000_000).default(1000).meta({
      unit: 'files',
      description:
        'Fewer files than this are held only when they are most of a small root: more than half of it, or more than 80 % when one mailbox loses them, and more than 30 files.',
    }),
    freeSpaceMin: bytes.prefault('256MiB').meta({ description: 'A standby accepts nothing when less than this would stay free.' }),
  },
  section,
);

const history = z.strictObject(
  {
    keep: unit(parseDays, 'a duration, for example 14d or 36h').prefault('14d').meta({
      description: 'How long the standby keeps what replication deleted or replaced.',
    }),
    max: bytes.prefault('20GiB').meta({
      description: 'Up to which size it keeps that; a mass deletion that was held or allowed stays for its whole time.',
    }),
  },
  section,
);

const daysText = 'a number of days from 0.0001 to 365, or 0 for never';
const scrub = z.strictObject(
  {
    days: z
      .number({ error: (issue) => `${shown(issue.input)} is not ${daysText}` })
      .refine((days) => days === 0 || (days >= 0.0001 && days <= 365), { error: (issue) => `${shown(issue.input)} is not ${daysText}` })
      .default(14)
      .meta({
        form: daysText,
        unit: 'days',
        description: 'Within this time all content of this node is read from its disk again and held against its checksum.',
      }),
    maxRate: rate.prefault('32MiB/s').meta({
      description:
        'It is never read faster than this. The reads of everybody else go first where the scheduler of the disk knows an idle class (`bfq`, `mq-deadline`).',
    }),
  },
  section,
);

const hostName = z
  .string({ error: (issue) => `${shown(issue.input)} is not the name of a host` })
  .regex(/^(?=.{1,253}$)[\w.:-]+$/, { error: (issue) => `${shown(issue.input)} is not the name or address of a host, without a port` })
  .refine((text) => !text.includes(':') || parseIp(text) !== null, { error: (issue) => `${shown(issue.input)} has a port: leave it out` });

const metricsForm = z.strictObject(
  {
    listen: hostPort(0).prefault('127.0.0.1:9720').meta({ description: 'Where metrics, health and status page are served.' }),
    tls: z
      .strictObject(
        {
          cert: absolutePath.meta({ description: 'Certificate as PEM; with `key` it makes HTTPS of it.' }),
          key: absolutePath.meta({ description: 'Its key as PEM, open to nobody but its owner.' }),
        },
        section,
      )
      .optional(),
    auth: z
      .strictObject(
        {
          user: z
            .string({ error: (issue) => `${shown(issue.input)} is not a user name` })
            .regex(/^[^:\p{Cc}]{1,100}$/u, { error: (issue) => `${shown(issue.input)} is not a user name without a colon` })
            .meta({ form: 'a user name', description: 'Who may read them. Required on any address but loopback for the status page.' }),
          passwordFile: absolutePath.meta({ description: 'File with the password as one line, open to nobody but its owner.' }),
        },
        section,
      )
      .optional(),
    names: z.array(hostName, list('a list of names')).max(32, 'at most 32 names').optional().meta({
      form: 'a list of at most 32 names',
      description:
        'Further names by which they may be asked. The address that was asked, `localhost`, `node` and the name of the host are known; anything else gets 421, so that no web page reads them by a name of its own (DNS rebinding).',
    }),
  },
  section,
);

/** `off`, HOST:PORT, or a section. */
const metrics = z.preprocess((value) => {
  if (isOff(value)) return null;
  return typeof value === 'string' || typeof value === 'number' ? { listen: value } : value;
}, metricsForm.nullable());

const log = z.strictObject(
  {
    level: oneOf(['debug', 'info', 'warn', 'error'])
      .default('info')
      .meta({ description: 'What is logged, as JSON lines on standard output.' }),
  },
  section,
);

export const fileSchema = z.strictObject(
  {
    node: name.meta({ description: 'Name of this node; the two of a pair differ.' }),
    role: oneOf(['primary', 'standby']).meta({
      description: 'What this node starts its life as. Afterwards a takeover changes the role, never this key.',
    }),
    state: absolutePath.meta({ description: 'The directory of the agent itself: key, journal, index. Never inside a root.' }),
    listen: hostPort(0).prefault('0.0.0.0:7420').meta({
      description:
        'Where this node takes the connection of the pair. The standby connects to the primary; both have the key, because a takeover exchanges the roles.',
    }),
    peer: peer.prefault({}),
    roots: z
      .array(root, list('a list of roots, each with name, path and format'))
      .min(1, 'at least one root is needed')
      .max(limits.rootsMax, `at most ${limits.rootsMax} roots`),
    capture: capture.prefault({}),
    limits: bounds.prefault({}),
    history: history.prefault({}),
    scrub: scrub.prefault({}),
    metrics: metrics.prefault('127.0.0.1:9720').meta({
      form: 'HOST:PORT, `off`, or a section',
      description: 'Prometheus metrics, health and status page.',
    }),
    log: log.prefault({}),
    fencing: fencingSection.default([]),
    services: servicesSection.optional(),
    network: networkSection.optional(),
    takeover: takeoverSection.prefault({}),
    notices: noticesSection.optional(),
  },
  { error: 'the file does not hold keys and values' },
);

/** The keys that each section knows, for "did you mean"; numbers in a path are left out. */
export const sectionKeys: Record<string, string[]> = {
  '': Object.keys(fileSchema.shape),
  peer: Object.keys(peer.shape),
  roots: Object.keys(root.shape),
  capture: Object.keys(capture.shape),
  limits: Object.keys(bounds.shape),
  'limits.bandwidth': Object.keys(window.shape),
  history: Object.keys(history.shape),
  scrub: Object.keys(scrub.shape),
  log: Object.keys(log.shape),
  metrics: Object.keys(metricsForm.shape),
  ...fencingKeys,
  ...servicesKeys,
  ...networkKeys,
  ...takeoverKeys,
  ...noticesKeys,
};
