import type { MailstoreFormat } from '../../agent/mailstore/format.ts';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';

/**
 * The Maildir format with the simulated mail server's own index log, which is text: everything about names, order and
 * the uidlist is the real thing.
 */
export function simFormat(name: 'maildir' | 'plain'): MailstoreFormat {
  const real = formatByName(name);
  if (name === 'plain') return real;
  return Object.assign(Object.create(real) as MailstoreFormat, {
    wholeLength: (file: string, data: Buffer) =>
      file.startsWith('dovecot.index') ? { ok: true, length: data.lastIndexOf(0x0a) + 1 } : real.wholeLength(file, data),
    marks: (files: { uidlist?: Buffer }) => real.marks(files.uidlist ? { uidlist: files.uidlist } : {}),
  });
}
