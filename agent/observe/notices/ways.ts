import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import type { NoticesConfig, SmtpConfig, WebhookConfig } from '../../config/notices.ts';
import { OperatorError } from '../../platform/errors.ts';
import type { Files } from '../../platform/files.ts';
import { isLoopback } from '../../platform/ip-address.ts';
import { readSecret } from '../../platform/secret-file.ts';
import { letterText } from './letter-text.ts';
import type { Letter, Way } from './outbox.ts';

const connectMs = 8000;
const silentMs = 15_000;
const certificateBytesMax = 1024 * 1024;

export interface WayParts {
  files: Files;
  /** Service addresses of the pair. */
  serviceAddresses: readonly string[];
}

export function waysOf(config: NoticesConfig, parts: WayParts): Way[] {
  return [...(config.smtp ? [smtpWay(config.smtp, parts)] : []), ...(config.webhook ? [webhookWay(config.webhook, parts)] : [])];
}

/** Mail through an external server (RFC 5321, 8314). Secrets and certificates are read anew for each letter. */
function smtpWay(config: SmtpConfig, parts: WayParts): Way {
  return {
    name: 'smtp',
    async send(letter) {
      await refuseOurselves(config, parts.serviceAddresses);
      const { createTransport } = await import('nodemailer');
      const transport = createTransport(smtpOptions(config, parts.files));
      try {
        const { subject, text } = letterText(letter);
        const { rejected } = await transport.sendMail({
          from: config.from,
          to: config.to,
          subject,
          text,
          // RFC 3834: no holiday note answers.
          headers: { 'Auto-Submitted': 'auto-generated' },
        });
        if (rejected.length > 0) throw new Error(`the server refused ${rejected.length} of ${config.to.length} recipients`);
      } finally {
        transport.close();
      }
    },
  };
}

function smtpOptions(config: SmtpConfig, files: Files) {
  const { host, port, tls, login, caFile } = config;
  return {
    host,
    port,
    secure: tls === 'implicit',
    requireTLS: tls === 'starttls',
    ignoreTLS: tls === 'none',
    ...(login ? { auth: { user: login.user, pass: readSecret(files, login.passwordFile, 'the password of notices.smtp') } } : {}),
    ...(caFile === null ? {} : { tls: { ca: certificates(files, caFile) } }),
    connectionTimeout: connectMs,
    greetingTimeout: connectMs,
    socketTimeout: silentMs,
    dnsTimeout: connectMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  };
}

function certificates(files: Files, path: string): Buffer {
  const file = files.readFile(Buffer.from(path, 'utf8').toString('latin1'), certificateBytesMax);
  if (!file) throw new OperatorError('notices-ca', `there is no file ${path}`, 'correct `notices.smtp.caFile`');
  return file.data;
}

/** Connects, greets and logs in, and sends nothing. */
export async function tryMailServer(config: SmtpConfig, parts: WayParts): Promise<void> {
  await refuseOurselves(config, parts.serviceAddresses);
  const { createTransport } = await import('nodemailer');
  const transport = createTransport(smtpOptions(config, parts.files));
  try {
    await transport.verify();
  } finally {
    transport.close();
  }
}

/** @throws OperatorError `notices-through-self` when the server's name means this host or a service address today. */
async function refuseOurselves({ host, evenThroughThisHost }: SmtpConfig, serviceAddresses: readonly string[]): Promise<void> {
  if (evenThroughThisHost) return;
  const own = new Set([
    ...serviceAddresses,
    ...Object.values(networkInterfaces())
      .flat()
      .map((each) => each?.address ?? ''),
  ]);
  for (const { address } of await lookup(host, { all: true }))
    if (own.has(address) || isLoopback(address))
      throw new OperatorError(
        'notices-through-self',
        `${host} is ${address}, which is this host or a service address: a notice that the mail server is gone would go through that mail server`,
        'name a mail server that is not replicated in `notices.smtp.host`, or set `evenThroughThisHost: true`',
        3,
      );
}

function webhookWay(config: WebhookConfig, { files }: WayParts): Way {
  return {
    name: 'webhook',
    async send(letter, signal) {
      const secret = config.secretFile === null ? null : readSecret(files, config.secretFile, 'the secret of notices.webhook');
      const response = await fetch(config.url, {
        method: 'POST',
        redirect: 'error',
        headers: { 'content-type': 'application/json', ...(secret === null ? {} : { [config.secretHeader]: secret }) },
        body: JSON.stringify(hookBody(letter)),
        signal: AbortSignal.any([signal, AbortSignal.timeout(config.timeoutSeconds * 1000)]),
      }).catch((error: unknown) => {
        const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : '';
        throw new Error(`${error instanceof Error ? error.message : String(error)}${cause}`);
      });
      await response.body?.cancel();
      if (!response.ok) throw new Error(`the webhook answered ${response.status}`);
    },
  };
}

/** What the webhook gets: the letter, and a text for programs that only show one (`text` is what chat servers take). */
export function hookBody(letter: Letter): Record<string, unknown> {
  const { subject, text } = letterText(letter);
  return { mailtwin: 1, ...letter, subject, text: `${subject}\n\n${text}` };
}
