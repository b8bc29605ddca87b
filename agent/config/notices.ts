import { z } from 'zod';
import { isLoopback, parseIp, sameIp, type IpAddress } from '../platform/ip-address.ts';
import type { Problem } from './places.ts';
import { absolutePath, list, oneOf, section, shown, truth, unit, whole } from './schema-parts.ts';
import { parseTimeOfDay } from './values.ts';

/** The section `notices` after reading and checking: who is told when something changes. */
export interface NoticesConfig {
  smtp: SmtpConfig | null;
  webhook: WebhookConfig | null;
  /** When the daily digest goes, in minutes of the local day; null = no digest. */
  digestMinute: number | null;
  /** A condition must last this long before it is told, and be over this long before its end is told. */
  graceSeconds: number;
}

export interface SmtpConfig {
  host: string;
  port: number;
  tls: 'none' | 'starttls' | 'implicit';
  /** Certificates to trust instead of the system's; absolute path. */
  caFile: string | null;
  login: { user: string; passwordFile: string } | null;
  from: string;
  to: string[];
  /** The server may be this host or a service address: what is told of its death then dies with it. */
  evenThroughThisHost: boolean;
}

export interface WebhookConfig {
  url: string;
  /** A file whose line is sent in `secretHeader`. */
  secretFile: string | null;
  secretHeader: string;
  timeoutSeconds: number;
}

const address = z
  .string({ error: (issue) => `${shown(issue.input)} is not a mail address` })
  .regex(/^[^\s@<>,;"\\]{1,64}@[A-Za-z0-9.:[\]-]{1,255}$/, {
    error: (issue) => `${shown(issue.input)} is not a mail address such as admin@example.net`,
  });
const host = z
  .string({ error: (issue) => `${shown(issue.input)} is not a host` })
  .regex(/^[A-Za-z0-9.:_-]{1,255}$/, { error: (issue) => `${shown(issue.input)} is not a host` });
const login = z.strictObject(
  {
    user: z
      .string({ error: (issue) => `${shown(issue.input)} is not a user name` })
      .regex(/^\P{Cc}{1,255}$/u, { error: (issue) => `${shown(issue.input)} is not a user name` })
      .meta({ form: 'a user name', description: 'Login at that server.' }),
    passwordFile: absolutePath.meta({ description: 'File with the password as one line, open to nobody but its owner.' }),
  },
  section,
);

const smtp = z.strictObject(
  {
    host: host.meta({ form: 'a host', description: 'The mail server that takes notices; not the one that is replicated.' }),
    port: whole(1, 65_535).optional().meta({
      otherwise: '587; 465 with `tls: implicit`, 25 with `tls: none`',
      description: 'Its port.',
    }),
    tls: oneOf(['none', 'starttls', 'implicit']).default('starttls').meta({ description: 'How the connection is encrypted.' }),
    caFile: absolutePath.optional().meta({
      otherwise: 'those of the system',
      description: 'File with the certificates to trust, as PEM.',
    }),
    login: login.optional(),
    from: address.meta({ form: 'a mail address', description: 'Sender of the letters.' }),
    to: z.array(address, list('a list of mail addresses')).min(1, 'names nobody').max(20, 'at most 20 addresses').meta({
      form: 'a list of at most 20 mail addresses',
      description: 'Who is told.',
    }),
    evenThroughThisHost: truth.default(false).meta({
      description: 'With `true` the server may be this host or a service address. What it should tell may then die with it.',
    }),
  },
  section,
);

const webhook = z.strictObject(
  {
    url: z
      .string({ error: (issue) => `${shown(issue.input)} is not a URL` })
      .refine((text) => /^https?:/.test(text) && URL.canParse(text), {
        error: (issue) => `${shown(issue.input)} is not a URL such as https://example.net/hook`,
      })
      .refine((text) => !URL.canParse(text) || new URL(text).password === '', {
        error: 'a secret does not belong into the URL: use `secretFile`',
      })
      .meta({ form: 'a URL', description: 'Gets a POST of JSON for each letter.' }),
    secretFile: absolutePath.optional().meta({ description: 'File with one line that is sent in `secretHeader`.' }),
    secretHeader: z
      .string({ error: (issue) => `${shown(issue.input)} is not the name of a header` })
      .regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/, { error: (issue) => `${shown(issue.input)} is not the name of a header` })
      .default('X-Mailtwin-Secret')
      .meta({ form: 'the name of a header', description: 'Header that carries the secret.' }),
    timeoutSeconds: whole(1, 20).default(10).meta({
      unit: 's',
      description: 'After this time the webhook has failed, and is tried again.',
    }),
  },
  section,
);

const isOff = (value: unknown) => value === 'off' || value === false;
const digest = z.preprocess(
  (value) => (isOff(value) ? null : value),
  z.union([z.null(), unit(parseTimeOfDay, '"off" or a time of day, for example "07:00"')]),
);

export const noticesSection = z
  .strictObject(
    {
      smtp: smtp.optional(),
      webhook: webhook.optional(),
      digest: digest.prefault('07:00').meta({
        form: '`off`, or a time of day, for example "07:00"',
        description: 'Local time of the daily digest.',
      }),
      graceSeconds: whole(0, 3600).default(60).meta({
        unit: 's',
        description: 'A condition is told when it has lasted this long, and its end likewise.',
      }),
    },
    section,
  )
  .refine((form) => form.smtp !== undefined || form.webhook !== undefined, { error: 'names no way: add `smtp` or `webhook`' });

/** The keys of each part, for "did you mean". */
export const noticesKeys: Record<string, string[]> = {
  notices: Object.keys(noticesSection.shape),
  'notices.smtp': Object.keys(smtp.shape),
  'notices.smtp.login': Object.keys(login.shape),
  'notices.webhook': Object.keys(webhook.shape),
};

const defaultPorts = { none: 25, starttls: 587, implicit: 465 } as const;

export function toNoticesConfig(form: z.output<typeof noticesSection>): NoticesConfig {
  const { smtp: mail, webhook: hook } = form;
  return {
    smtp: mail ? { ...mail, port: mail.port ?? defaultPorts[mail.tls], caFile: mail.caFile ?? null, login: mail.login ?? null } : null,
    webhook: hook ? { ...hook, secretFile: hook.secretFile ?? null } : null,
    digestMinute: form.digest,
    graceSeconds: form.graceSeconds,
  };
}

interface Form {
  notices?: z.output<typeof noticesSection> | undefined;
  network?: { roles: { addresses: { address: IpAddress }[] }[] } | undefined;
}

/** A server that the file itself shows to be this host or a service address. What a name resolves to is checked when it is used. */
export function checkNotices({ notices, network }: Form): Problem[] {
  const mail = notices?.smtp;
  if (!mail || mail.evenThroughThisHost) return [];
  const ip = parseIp(mail.host);
  const service = ip !== null && (network?.roles ?? []).some((role) => role.addresses.some(({ address: each }) => sameIp(each, ip)));
  if (!service && !isLoopback(mail.host)) return [];
  return [
    {
      path: ['notices', 'smtp', 'host'],
      what: `${mail.host} is ${service ? 'a service address of the pair' : 'this host'}: a notice that the mail server is gone would go through that mail server`,
      remedy: 'Name a mail server that is not replicated, or set `evenThroughThisHost: true`.',
    },
  ];
}
