import type { MailstoreFormat } from './format.ts';
import { maildirFormat } from './maildir.ts';
import { plainFormat } from './plain.ts';

/** The format of a root as the configuration names it. */
export function formatByName(name: MailstoreFormat['name']): MailstoreFormat {
  return name === 'maildir' ? maildirFormat : plainFormat;
}
