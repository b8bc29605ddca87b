import { z } from 'zod';
import { limits } from '../../protocol/limits.ts';
import { parseBytes, parseDays, parseHostPort, parseRate, parseShare, parseTimeOfDay } from './values.ts';

/** The form of the configuration file. load.ts turns it into `Config` (config.ts) and every complaint into file, line and key. */

/** A text with a unit. `write` is what the complaint tells the operator to write instead. */
function unit<T>(parse: (text: string) => T | null, write: string) {
  return z.preprocess(
    // A bare number is how YAML reads a size without a unit.
    (value) => (typeof value === 'number' ? String(value) : value),
    z.string({ error: (issue) => `${shown(issue.input)} is not ${write}` }).transform((text, context): T => {
      const value = parse(text);
      if (value !== null) return value;
      context.addIssue({ code: 'custom', message: `${shown(text)} is not ${write}` });
      return z.NEVER;
    }),
  );
}

/** How a value of the file is repeated in a complaint. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? typeof value;
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

function whole(min: number, max: number) {
  const write = `a whole number from ${min} to ${max}`;
  return z
    .number({ error: (issue) => `${shown(issue.input)} is not ${write}` })
    .refine((n) => Number.isInteger(n) && n >= min && n <= max, { error: (issue) => `${shown(issue.input)} is not ${write}` });
}

function oneOf<const T extends readonly [string, ...string[]]>(values: T) {
  return z.enum(values, { error: (issue) => `${shown(issue.input)} is not one of: ${values.join(', ')}` });
}

const isOff = (value: unknown) => value === 'off' || value === false;

const namePattern = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})$/;
const name = z
  .string({ error: (issue) => `${shown(issue.input)} is not a name; a name that looks like a number or a word of YAML stands in quotes` })
  .regex(namePattern, {
    error: (issue) =>
      `${shown(issue.input)} is not a name; a name has letters, digits, '.', '_' and '-', starts with a letter or digit, and has at most 63 characters`,
  });

const absolutePath = z
  .string({ error: (issue) => `${shown(issue.input)} is not a path` })
  .refine((path) => path.startsWith('/'), { error: (issue) => `${shown(issue.input)} is not an absolute path; it must start with /` })
  .refine((path) => !path.includes('\0'), { error: 'a path has no NUL byte' });

const hostPort = (portMin: number) => unit((text) => parseHostPort(text, portMin), 'HOST:PORT, for example 0.0.0.0:7420 or [::]:7420');
const bytes = unit(parseBytes, 'a size, for example 256MiB or 20GiB');
const rate = unit(parseRate, 'a rate, for example 20MB/s');
const timeOfDay = unit(parseTimeOfDay, 'a time of day, for example "08:00"');

const root = z.strictObject({
  name,
  path: absolutePath.refine((path) => Buffer.byteLength(path) <= limits.rootPathBytesMax, {
    error: `the path of a root has at most ${limits.rootPathBytesMax} bytes`,
  }),
  format: oneOf(['maildir', 'plain']),
  staging: absolutePath.optional(),
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

const list = (error: string) => ({ error: (issue: { input?: unknown }) => `${shown(issue.input)} is not ${error}` });
const section = { error: (issue: { input?: unknown }) => `${shown(issue.input)} is not a section with keys of its own` };

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

const metrics = z.preprocess(
  (value) => (isOff(value) ? null : value),
  z.union([z.null(), hostPort(0)], { error: (issue) => `${shown(issue.input)} is not "off" or HOST:PORT, for example 127.0.0.1:9720` }),
);

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
    metrics: metrics.default({ host: '127.0.0.1', port: 9720 }),
    log: log.prefault({}),
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
  log: Object.keys(log.shape),
};
