import type * as imapflow from 'imapflow';
import type { ImapCheckConfig } from '../config/takeover-sections/services.ts';
import { OperatorError } from '../platform/errors.ts';
import { isLoopback } from '../platform/ip-address.ts';
import type { Files } from '../platform/files.ts';
import { readSecret } from '../platform/secret-file.ts';
import type { ServedInbox } from './served-inbox.ts';
import type { CheckResult } from './services.ts';

/** Logs in by IMAP, opens INBOX for reading, and reads its newest message to the end. Never rejects; ends when `signal` fires. */
export type LoginCheck = (imap: ImapCheckConfig, signal: AbortSignal) => Promise<CheckResult & { served?: ServedInbox }>;

const stepMs = 10_000;

/**
 * @param isWanted - Whether a login is configured: then its library is loaded beside everything else, so that a takeover
 *   needs no file of a release that an upgrade may have taken away.
 */
export function imapLogin(files: Files, isWanted: boolean): LoginCheck {
  let library: Promise<typeof imapflow> | null = null;
  const load = () => (library ??= import('imapflow'));
  // What it rejects with is told by the login that needs it.
  if (isWanted) load().catch(() => {});
  return async (imap, signal) => {
    const where = `${imap.user} at ${imap.host}:${imap.port}`;
    let pass: string;
    try {
      pass = readSecret(files, imap.passwordFile, `login of ${imap.user}`);
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      return { ok: false, evidence: `${error.message}; ${error.remedy}` };
    }
    if (signal.aborted) return { ok: false, evidence: `no time was left for the login of ${where}` };
    const loaded = await load().catch((error: unknown) => String(error));
    if (typeof loaded === 'string') return { ok: false, evidence: `the program that logs in cannot be loaded: ${loaded}` };
    const client = new loaded.ImapFlow({
      host: imap.host,
      port: imap.port,
      auth: { user: imap.user, pass },
      secure: imap.tls === 'implicit',
      ...(imap.tls === 'implicit' ? {} : { doSTARTTLS: imap.tls === 'starttls' }),
      // The certificate is for the name that clients use, never for 127.0.0.1, and on loopback nobody stands in between.
      // To any other address it is verified.
      tls: { rejectUnauthorized: !isLoopback(imap.host) },
      logger: false,
      connectionTimeout: stepMs,
      greetingTimeout: stepMs,
      socketTimeout: stepMs,
    });
    let failure: unknown = null;
    // Without a listener an error of the connection would end the agent.
    client.on('error', (error: unknown) => (failure ??= error));
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error('it took too long')), { once: true });
    });
    aborted.catch(() => {});
    try {
      await Promise.race([client.connect(), aborted]);
      const box = await Promise.race([client.mailboxOpen('INBOX', { readOnly: true }), aborted]);
      const served = { uidValidity: Number(box.uidValidity), uidNext: box.uidNext, messages: box.exists };
      const evidence = `${where} logged in, INBOX has ${box.exists} messages, UIDVALIDITY ${String(box.uidValidity)}`;
      if (box.exists === 0) return { ok: true, evidence, served };
      // What was compressed or encrypted is known to be readable only when it was read.
      const newest = await Promise.race([client.fetchOne('*', { size: true, source: true }), aborted]);
      // Another client may have removed it meanwhile.
      if (newest === false) return { ok: true, evidence, served };
      const { size, source } = newest;
      if (source === undefined || (size !== undefined && source.length !== size))
        return {
          ok: false,
          evidence: `${evidence}, and its newest message cannot be read: ${source?.length ?? 0} of ${size ?? 'an unknown number of'} bytes came`,
        };
      return { ok: true, evidence: `${evidence}, its newest message was read (${source.length} bytes)`, served };
    } catch (error) {
      return { ok: false, evidence: `the login of ${where} failed: ${reasonOf(error ?? failure).replaceAll(pass, '***')}` };
    } finally {
      client.close();
    }
  };
}

/** imapflow puts what the server said beside its own words. */
function reasonOf(error: unknown): string {
  const { responseText, code } = error as { responseText?: unknown; code?: unknown };
  const message = error instanceof Error ? error.message : String(error);
  return [message, responseText, code].filter((part) => typeof part === 'string' && part !== '').join(': ');
}
