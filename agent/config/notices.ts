import { z } from 'zod';
import { isLoopback, parseIp, sameIp, type IpAddress } from '../platform/ip-address.ts';
import type { Problem } from './places.ts';
import { absolutePath, list, oneOf, section, shown, unit, whole } from './schema-parts.ts';
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
const truth = z.boolean({ error: (issue) => `${shown(issue.input)} is not true or false` });
const login = z.strictObject(
  {
    user: z
      .string({ error: (issue) => `${shown(issue.input)} is not a user name` })
      .regex(/^\P{Cc}{1,255}$/u, { error: (issue) => `${shown(issue.input)} is not a user name` }),
    passwordFile: absolutePath,
  },
  section,
);

const smtp = z.strictObject(
  {
    host,
    port: whole(1, 65_535).optional(),
    tls: oneOf(['none', 'starttls', 'implicit']).default('starttls'),
    caFile: absolutePath.optional(),
    login: login.optional(),
    from: address,
    to: z.array(address, list('a list of mail addresses')).min(1, 'names nobody').max(20, 'at most 20 addresses'),
    evenThroughThisHost: truth.default(false),
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
      }),
    secretFile: absolutePath.optional(),
    secretHeader: z
      .string({ error: (issue) => `${shown(issue.input)} is not the name of a header` })
      .regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/, { error: (issue) => `${shown(issue.input)} is not the name of a header` })
      .default('X-Mailtwin-Secret'),
    timeoutSeconds: whole(1, 20).default(10),
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
      digest: digest.default(7 * 60),
      graceSeconds: whole(0, 3600).default(60),
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
