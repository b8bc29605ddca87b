import { z } from 'zod';
import { absolutePath, list, oneOf, section, shown, whole } from '../schema-parts.ts';
import { autoUnits } from './auto-units.ts';
import { argv } from './fencing.ts';

/** The section `services` after reading and checking: the mail services, which run on the active node alone. */
export interface ServicesConfig {
  /** The file that stands while this node is active; systemd starts the gated units only where it is. */
  gate: string;
  /** systemd units, in the order in which they are named to it. Empty when there are commands. */
  units: string[];
  commands: { start: string[]; stop: string[]; status: string[] } | null;
  /** Exit code 0 = the mail server's configuration is valid. */
  configCheck: string[] | null;
  imap: ImapCheckConfig | null;
  /** Where accepted mail waits: `auto` finds the queue of the MTA among the units. */
  queue: 'auto' | 'none' | QueueConfig[];
  startTimeoutSeconds: number;
  stopTimeoutSeconds: number;
}

/** The queue of an MTA; `dir` is absolute. */
export interface QueueConfig {
  mta: 'postfix' | 'exim';
  dir: string;
}

/** A login that proves that the mail server serves. */
export interface ImapCheckConfig {
  host: string;
  port: number;
  user: string;
  /** Absolute path. */
  passwordFile: string;
  tls: 'none' | 'starttls' | 'implicit';
}

const unitName = z
  .string({ error: (issue) => `${shown(issue.input)} is not the name of a systemd unit` })
  .regex(/^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,200}\.(service|socket|target|timer|path)$/, {
    error: (issue) => `${shown(issue.input)} is not the name of a systemd unit, for example dovecot.service`,
  });

const commands = z.strictObject(
  {
    start: argv.meta({ description: 'Instead of `units`: starts the mail server.' }),
    stop: argv.meta({ description: 'Stops it.' }),
    status: argv.meta({
      description:
        'Ends with 0 = running, 3 = stopped. Stopped means that no process of the mail server is left: sessions outlive the master of Dovecot and write on.',
    }),
  },
  section,
);

const imap = z.strictObject(
  {
    host: z
      .string({ error: (issue) => `${shown(issue.input)} is not a host` })
      .regex(/^[A-Za-z0-9.:_-]{1,255}$/, { error: (issue) => `${shown(issue.input)} is not a host` })
      .default('127.0.0.1')
      .meta({ form: 'a host', description: 'Where the mail server of this node listens.' }),
    port: whole(1, 65_535).optional().meta({ otherwise: '143; 993 with `tls: implicit`', description: 'Port of IMAP.' }),
    user: z
      .string({ error: (issue) => `${shown(issue.input)} is not a user name` })
      .regex(/^\P{Cc}{1,255}$/u, { error: (issue) => `${shown(issue.input)} is not a user name` })
      .meta({
        form: 'a user name',
        description: 'A login at the end of a takeover proves that the copy is served: numbers as on disk, newest message read to its end.',
      }),
    passwordFile: absolutePath.meta({ description: 'File with the password as one line, open to nobody but its owner.' }),
    tls: oneOf(['none', 'starttls', 'implicit']).default('none').meta({ description: 'How the login is encrypted.' }),
  },
  section,
);

const queueForm = 'auto, none, or where the queue lies, for example { postfix: /var/spool/postfix }';
const queuePlace = z.union(
  [
    z.strictObject({ postfix: absolutePath }).transform(({ postfix }): QueueConfig => ({ mta: 'postfix', dir: trimmed(postfix) })),
    z.strictObject({ exim: absolutePath }).transform(({ exim }): QueueConfig => ({ mta: 'exim', dir: trimmed(exim) })),
  ],
  list(queueForm),
);
/** One place stands for a list of one: several instances of Postfix have a queue each. */
const queue = z.preprocess(
  (value) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? [value] : value),
  z.union([z.enum(['auto', 'none']), z.array(queuePlace).min(1, list(queueForm)).max(8, 'at most 8 queues')], list(queueForm)),
);

function trimmed(dir: string): string {
  return dir.replace(/(?<=.)\/+$/, '');
}

export const servicesSection = z
  .strictObject(
    {
      gate: absolutePath.default('/run/mailtwin/active').meta({
        description: 'The file that stands while this node is active; the drop-ins of `mailtwin gate install` look at it.',
      }),
      // `auto` stands for what this node has, so that both nodes may have the same file and other releases.
      units: z
        .preprocess(
          (value) => (value === 'auto' ? autoUnits() : value),
          z.array(unitName, list('auto, or a list of systemd units, for example [dovecot.service]')).max(32, 'at most 32 units'),
        )
        .default([])
        .meta({
          form: '`auto`, or a list of at most 32 systemd units',
          description:
            'The mail services, which run on the active node alone; `mailtwin gate install` holds systemd to that. `auto`: those of Dovecot, Cyrus, Courier, Postfix, Exim, Rspamd, OpenDKIM, OpenDMARC and Amavis that this node has. The two nodes may differ. Read anew before each start.',
        }),
      commands: commands.optional(),
      configCheck: argv.optional().meta({ description: 'A command that ends with 0 when the configuration of the mail server is valid.' }),
      imap: imap.optional(),
      queue: queue.default('auto').meta({
        form: '`auto`, `none`, `{ postfix: DIR }`, `{ exim: DIR }`, or a list of such',
        whole: true,
        description:
          'Where accepted mail waits, which is counted and not replicated. `auto` asks Postfix or Exim among `services.units`. A list serves several instances, or a container.',
      }),
      startTimeoutSeconds: whole(1, 3600).default(30).meta({ unit: 's', description: 'After this time a start has failed.' }),
      stopTimeoutSeconds: whole(1, 3600).default(30).meta({ unit: 's', description: 'What does not stop within this time is killed.' }),
    },
    section,
  )
  .superRefine((form, context) => {
    if (form.units.length > 0 && form.commands)
      context.addIssue({ code: 'custom', path: ['commands'], message: 'either `units` or `commands`, not both' });
    if (form.units.length === 0 && !form.commands)
      context.addIssue({
        code: 'custom',
        path: [],
        message: 'names no service: add `units: [dovecot.service]` or `commands`; `units: auto` finds those that this node has',
      });
  });

/** The keys of each part, for "did you mean". */
export const servicesKeys: Record<string, string[]> = {
  services: Object.keys(servicesSection.shape),
  'services.commands': Object.keys(commands.shape),
  'services.imap': Object.keys(imap.shape),
};

export function toServicesConfig(form: z.output<typeof servicesSection>): ServicesConfig {
  return {
    ...form,
    commands: form.commands ?? null,
    configCheck: form.configCheck ?? null,
    imap: form.imap ? { ...form.imap, port: form.imap.port ?? (form.imap.tls === 'implicit' ? 993 : 143) } : null,
  };
}
