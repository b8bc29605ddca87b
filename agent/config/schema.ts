import { z } from 'zod';
import { limits } from '../../protocol/limits.ts';
import { parseIp } from '../platform/ip-address.ts';
import { noticesKeys, noticesSection } from './notices.ts';
import { absolutePath, list, name, oneOf, section, shown, unit, whole } from './schema-parts.ts';
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
  name,
  path: absolutePath.refine((path) => Buffer.byteLength(path) <= limits.rootPathBytesMax, {
    error: `the path of a root has at most ${limits.rootPathBytesMax} bytes`,
  }),
  format: oneOf(['maildir', 'plain']),
  staging: absolutePath.optional(),
  exclude: z
    .array(pattern, list('a list of patterns in the style of .gitignore'))
    .max(limits.excludesMax, `at most ${limits.excludesMax} patterns`)
    .optional(),
  mayBeEmpty: z.boolean({ error: (issue) => `${shown(issue.input)} is not true or false` }).default(false),
});

const window = z.strictObject({
  from: timeOfDay,
  to: timeOfDay,
  rate: z.preprocess(
    (value) => (isOff(value) ? null : value),
    z.union([z.null(), rate], { error: (issue) => `${shown(issue.input)} is not "off" or a rate, for example 20MB/s` }),
  ),
});

const peer = z.strictObject(
  { addresses: z.array(hostPort(1), list('a list of HOST:PORT')).max(8, 'at most 8 addresses').default([]) },
  section,
);

const capture = z.strictObject(
  {
    watcher: oneOf(['auto', 'chokidar', 'fanotify']).default('auto'),
    settleMs: whole(0, 10_000).default(3),
    restMaxMs: whole(1, 600_000).default(1000),
    rescanHours: whole(0, 24 * 365).default(24),
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
    bandwidth: bandwidth.default([]),
    massDelete: unit(parseShare, 'a share above 0% and up to 100%, for example 20%').default(0.2),
    massDeleteFilesMin: whole(1, 1_000_000_000).default(1000),
    freeSpaceMin: bytes.default(256 * 1024 * 1024),
  },
  section,
);

const history = z.strictObject(
  {
    keep: unit(parseDays, 'a duration, for example 14d or 36h').default(14),
    max: bytes.default(20 * 1024 ** 3),
  },
  section,
);

const daysText = 'a number of days from 0.0001 to 365, or 0 for never';
const scrub = z.strictObject(
  {
    days: z
      .number({ error: (issue) => `${shown(issue.input)} is not ${daysText}` })
      .refine((days) => days === 0 || (days >= 0.0001 && days <= 365), { error: (issue) => `${shown(issue.input)} is not ${daysText}` })
      .default(14),
    maxRate: rate.default(32 * 1024 * 1024),
  },
  section,
);

const hostName = z
  .string({ error: (issue) => `${shown(issue.input)} is not the name of a host` })
  .regex(/^(?=.{1,253}$)[\w.:-]+$/, { error: (issue) => `${shown(issue.input)} is not the name or address of a host, without a port` })
  .refine((text) => !text.includes(':') || parseIp(text) !== null, { error: (issue) => `${shown(issue.input)} has a port: leave it out` });

const metricsForm = z.strictObject(
  {
    listen: hostPort(0).default({ host: '127.0.0.1', port: 9720 }),
    tls: z.strictObject({ cert: absolutePath, key: absolutePath }, section).optional(),
    auth: z
      .strictObject(
        {
          user: z
            .string({ error: (issue) => `${shown(issue.input)} is not a user name` })
            .regex(/^[^:\p{Cc}]{1,100}$/u, { error: (issue) => `${shown(issue.input)} is not a user name without a colon` }),
          passwordFile: absolutePath,
        },
        section,
      )
      .optional(),
    names: z.array(hostName, list('a list of names')).max(32, 'at most 32 names').optional(),
  },
  section,
);

/** `off`, HOST:PORT, or a section. */
const metrics = z.preprocess((value) => {
  if (isOff(value)) return null;
  return typeof value === 'string' || typeof value === 'number' ? { listen: value } : value;
}, metricsForm.nullable());

const log = z.strictObject({ level: oneOf(['debug', 'info', 'warn', 'error']).default('info') }, section);

export const fileSchema = z.strictObject(
  {
    node: name,
    role: oneOf(['primary', 'standby']),
    state: absolutePath,
    listen: hostPort(0).default({ host: '0.0.0.0', port: 7420 }),
    peer: peer.prefault({}),
    roots: z
      .array(root, list('a list of roots, each with name, path and format'))
      .min(1, 'at least one root is needed')
      .max(limits.rootsMax, `at most ${limits.rootsMax} roots`),
    capture: capture.prefault({}),
    limits: bounds.prefault({}),
    history: history.prefault({}),
    scrub: scrub.prefault({}),
    metrics: metrics.default({ listen: { host: '127.0.0.1', port: 9720 } }),
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
  ...fencingKeys,
  ...servicesKeys,
  ...networkKeys,
  ...takeoverKeys,
  ...noticesKeys,
};
