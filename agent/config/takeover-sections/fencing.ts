import { z } from 'zod';
import { absolutePath, list, name, oneOf, section, shown, whole } from '../schema-parts.ts';

/** One level of `fencing` after reading and checking: a way to make sure that the other node is off. */
export type FenceLevelConfig = {
  /** What people call it. */
  name: string;
  /** The whole level, switching off and reading the state back, takes no longer. */
  timeoutSeconds: number;
} & (
  | {
      type: 'agent';
      /** A fence agent of ClusterLabs, by name or absolute path. */
      agent: string;
      /** What it gets as key=value lines, without `action`. */
      options: Record<string, string>;
      /** Options whose values are secret: the absolute path of the file that holds each. */
      secrets: Record<string, string>;
    }
  | { type: 'command'; off: string[]; status: string[] }
  /** All of them must read off at the same time. */
  | { type: 'all'; devices: PowerLevelConfig[] }
  | { type: 'cooperative' }
  | { type: 'manual' }
);

/** A level that works and reads one switch. */
export type PowerLevelConfig = Extract<FenceLevelConfig, { type: 'agent' | 'command' }>;

const levelsMax = 16;
const devicesMax = 8;

/** Options that choose what a fence agent does: that is the agent's own to say, and never a power cycle. */
const ownOptions = new Set(['action', 'option']);
/** Options by which an outlet that the device does not know counts as off: a wrong name would be a proof. */
const falseProofs = new Set(['missing_as_off', 'missing-as-off']);
/** A secret in the configuration file would be in every backup of it. The scripts that print a secret are none themselves. */
const secretOption = /passw|secret|token|private_key$/i;

const timeout = (otherwise: number) =>
  whole(1, 3600).default(otherwise).meta({
    unit: 's',
    description: 'The whole level, switching off and reading the state back, takes no longer.',
  });
/** Why this cannot be the name of an option; null when it can. */
function keyFault(key: string): string | null {
  if (!/^[^\s=#\p{C}][^\s=\p{C}]{0,63}$/u.test(key)) return 'is not the name of an option of a fence agent';
  if (falseProofs.has(key.toLowerCase()))
    return 'would take an outlet that is not found for one that is off, which proves nothing: leave it out';
  return ownOptions.has(key.toLowerCase()) ? 'is not yours to set: mailtwin says off or status' : null;
}

const optionValue = z
  .union([z.string(), z.number(), z.boolean()], { error: (issue) => `${shown(issue.input)} is not a text or a number` })
  .transform(String)
  .refine((value) => value.length <= 1024 && !/[\p{Cc}]/u.test(value), { error: 'a value is one line of at most 1024 characters' });

const options = z.record(z.string(), optionValue, section).superRefine((given, context) => {
  for (const [key, value] of Object.entries(given)) {
    const complain = (message: string) => context.addIssue({ code: 'custom', path: [key], message });
    const fault = keyFault(key);
    if (fault !== null) complain(`${shown(key)} ${fault}`);
    else if (key.toLowerCase() === 'method' && value !== 'onoff')
      complain(`${shown(value)} is not a way to fence: a power cycle leaves the node running; write onoff, or leave it out`);
    else if (secretOption.test(key) && !/script|path|file/i.test(key))
      complain(
        'a secret does not stand in the configuration: write it to a file that only the agent can read, and name that under `secrets`',
      );
  }
});

const secrets = z.record(z.string(), absolutePath, section).superRefine((given, context) => {
  for (const key of Object.keys(given)) {
    const fault = keyFault(key) ?? (key.toLowerCase() === 'method' ? 'is no secret' : null);
    if (fault !== null) context.addIssue({ code: 'custom', path: [key], message: `${shown(key)} ${fault}` });
  }
});

const argument = z
  .string({ error: (issue) => `${shown(issue.input)} is not a text; numbers stand in quotes` })
  .refine((text) => !text.includes('\0'), {
    error: 'an argument has no NUL byte',
  });
/** A program and its arguments; no shell reads it. */
export const argv = z
  .array(argument, list('a program and its arguments, for example [/usr/local/sbin/pdu, "off"]'))
  .min(1, 'a program is needed')
  .max(64, 'at most 64 arguments')
  .refine(([program = '']) => program !== '' && !/\s/.test(program), {
    error: (issue) =>
      `${shown((issue.input as unknown[])[0])} is not a program; program and arguments stand apart: [/usr/local/sbin/pdu, "off"]`,
  })
  .meta({ form: 'a list: program and arguments; no shell reads it' });

const types = ['agent', 'command', 'all', 'cooperative', 'manual'] as const;
/** What a level is. */
const kind = <const T extends (typeof types)[number]>(type: T) =>
  z.literal(type).meta({
    form: types.map((each) => `\`${each}\``).join(', '),
    description:
      'How the OTHER node is switched off. Levels are tried in order until one proves it off by reading its state back: `agent` (a fence agent of ClusterLabs), `command` (a program of yours), `all` (several devices that must all read off at the same time, as the outlets of two power supplies), `cooperative` (it steps down itself), `manual` (a person says so).',
  });
const levelName = name.optional().meta({ otherwise: 'chosen by itself', description: 'What evidence and messages call the level.' });

const device = {
  agent: z.strictObject(
    {
      type: kind('agent'),
      name: levelName,
      agent: z
        .string({ error: (issue) => `${shown(issue.input)} is not a fence agent, for example fence_ipmilan` })
        .regex(/^(\/\P{C}+|[A-Za-z0-9_][A-Za-z0-9_.-]*)$/u, {
          error: (issue) => `${shown(issue.input)} is not the name or the absolute path of a fence agent`,
        })
        .meta({
          form: 'a name or an absolute path',
          description: 'Of `agent`: the fence agent. One that can only power-cycle is refused.',
        }),
      options: options.prefault({}).meta({
        form: 'a section of options',
        otherwise: 'none',
        description: 'Of `agent`: its options, without `action` and without secrets.',
      }),
      secrets: secrets.prefault({}).meta({
        form: 'a section: option and absolute path of a file',
        otherwise: 'none',
        description:
          'Of `agent`: options whose values are secret, with a file for each, open to nobody but its owner and the group of root. They are given on standard input alone.',
      }),
      timeoutSeconds: timeout(60),
    },
    section,
  ),
  command: z.strictObject(
    {
      type: kind('command'),
      name: levelName,
      off: argv.meta({ description: 'Of `command`: switches the other node off.' }),
      status: argv.meta({ description: 'Of `command`: ends with 0 = on, 2 = off, anything else = not known.' }),
      timeoutSeconds: timeout(30),
    },
    section,
  ),
};

const shape = {
  ...device,
  all: z.strictObject(
    {
      type: kind('all'),
      name: levelName,
      all: z
        .array(
          z
            .looseObject({ type: oneOf(['agent', 'command'] as const) }, section)
            .pipe(z.discriminatedUnion('type', [device.agent, device.command])),
          list('a list of devices, each of type agent or command'),
        )
        .min(2, 'a level of several devices has at least two')
        .max(devicesMax, `at most ${devicesMax} devices`)
        .meta({
          form: `a list of 2 to ${devicesMax} levels of type \`agent\` or \`command\``,
          whole: true,
          description: 'Of `all`: the devices. `- all: [...]` needs no `type`.',
        }),
      timeoutSeconds: timeout(90),
    },
    section,
  ),
  cooperative: z.strictObject({ type: kind('cooperative'), name: levelName, timeoutSeconds: timeout(15) }, section),
  manual: z.strictObject({ type: kind('manual'), name: levelName }, section),
};

/** `all: [...]` says what it is by itself. */
function withType(level: unknown): unknown {
  return typeof level === 'object' && level !== null && 'all' in level && !('type' in level) ? { ...level, type: 'all' } : level;
}

export const fencingSection = z
  .array(
    // The type alone first, so that a wrong one is named and not only that nothing fits.
    z.preprocess(
      withType,
      z
        .looseObject({ type: oneOf(types) }, section)
        .pipe(z.discriminatedUnion('type', [shape.agent, shape.command, shape.all, shape.cooperative, shape.manual])),
    ),
    list('a list of levels, each with its type'),
  )
  .max(levelsMax, `at most ${levelsMax} levels`);

/** The keys of each part, for "did you mean". */
export const fencingKeys: Record<string, string[]> = {
  fencing: [...new Set(Object.values(shape).flatMap((each) => Object.keys(each.shape)))],
};

export function toFencingConfig(form: z.output<typeof fencingSection>): FenceLevelConfig[] {
  return form.map((level): FenceLevelConfig => {
    switch (level.type) {
      case 'agent':
      case 'command':
        return toDevice(level);
      case 'all': {
        const { all, ...rest } = level;
        const devices = all.map(toDevice);
        return { ...rest, devices, name: level.name ?? devices.map((each) => each.name).join(' + ') };
      }
      case 'cooperative':
        return { ...level, name: level.name ?? 'step-down' };
      case 'manual':
        return { ...level, name: level.name ?? 'by hand', timeoutSeconds: 1 };
    }
  });
}

function toDevice(level: z.output<typeof device.agent> | z.output<typeof device.command>): PowerLevelConfig {
  if (level.type === 'command') return { ...level, name: level.name ?? level.off[0]?.replace(/^.*\//, '') ?? 'command' };
  return { ...level, name: level.name ?? [level.agent.replace(/^.*\//, ''), level.options['ip']].filter(Boolean).join(' ') };
}
