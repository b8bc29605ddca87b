import type { Config } from '../config/config.ts';
import { formatByName } from '../mailstore/format-by-name.ts';
import { marksOf } from '../mailstore/mailbox-walk.ts';
import { errnoCode, type BytePath, type Files } from '../platform/files.ts';
import type { Exec } from '../platform/exec.ts';
import type { CopiedInbox } from '../services/served-inbox.ts';

const askMs = 10_000;

/**
 * Where Dovecot says that a user's INBOX lies, and what is there: so that a login proves that the copy is served, and not
 * an empty mailbox in another place. Null with the reason where nobody can be asked, as with another mail server.
 */
export function copiedInbox(config: Config, files: Files, exec: Exec): (user: string) => Promise<CopiedInbox | { unknown: string }> {
  const call = config.services?.configCheck ?? [];
  const at = /(^|\/)(doveconf|dovecot|doveadm)$/.test(call[0] ?? '') ? call.indexOf('-c') : -1;
  const file = at < 0 ? [] : call.slice(at, at + 2);
  return async (user) => {
    const args = [...file, 'mailbox', 'path', '-u', user, 'INBOX'];
    const ran = await exec('doveadm', args, { timeoutMs: askMs }).catch(() => null);
    if (ran === null) return { unknown: 'there is no doveadm that tells where the INBOX lies' };
    const path = ran.stdout.trim().split('\n').at(-1) ?? '';
    if (ran.code !== 0 || !path.startsWith('/')) return { unknown: 'doveadm does not tell where the INBOX lies' };
    const dir = Buffer.from(path, 'utf8').toString('latin1');
    const root = config.roots.find(({ path: top }) => dir === top || dir.startsWith(`${top}/`));
    try {
      return { path, root: root?.name ?? null, ...(root?.format === 'maildir' ? numbersIn(files, dir) : null) };
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
      return { unknown: `${path} cannot be read (${errnoCode(error)})` };
    }
  };
}

/** What is on disk. A message is counted once, also while it is moved from `new` to `cur`. */
function numbersIn(files: Files, dir: BytePath): Pick<CopiedInbox, 'uidValidity' | 'uidNext' | 'messages'> | null {
  const names = namesIn(files, dir);
  if (names === null) return null;
  const messages = new Set(
    ['new', 'cur'].flatMap((each) => [...(namesIn(files, `${dir}/${each}`) ?? [])].map((name) => name.replace(/:.*$/s, ''))),
  );
  const marks = marksOf(files, formatByName('maildir'), { mailbox: '', dir, names, hasMessages: true, isMailbox: true });
  return { uidValidity: marks?.uidValidity ?? null, uidNext: marks?.uidNext ?? null, messages: messages.size };
}

function namesIn(files: Files, dir: BytePath): Set<string> | null {
  const entries = files.readdir(dir);
  return entries && new Set(entries.flatMap(({ name, kind }) => (kind === 'file' && !name.startsWith('.') ? [name] : [])));
}
