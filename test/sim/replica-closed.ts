import { joinPath, type BytePath, type Files } from '../../agent/platform/files.ts';
import { digestOf, type MailHistory } from './mail-history.ts';
import { ignoresOfMaildir } from './tree.ts';

/**
 * Holds a Maildir replica, at whatever moment, against all that its primary ever promised (I4, I5, I6, I7): one line
 * for each way in which a mail server that opened it now would show a client something false. A message that is in doubt by
 * name may be missing, or be there still, because nothing waits for it (I20): `doubted` are those places, below the root.
 */
export function checkReplicaClosed(files: Files, root: BytePath, history: MailHistory, doubted: Iterable<BytePath> = []): string[] {
  const found: string[] = [];
  const places = [...doubted];
  // Whatever name it has by now.
  const bases = new Set(places.map((path) => path.slice(path.lastIndexOf('/') + 1).split(':')[0]));
  const isInDoubt = (mailbox: BytePath) => (base: string) =>
    bases.has(base) || places.some((path) => ['new', 'cur'].some((sub) => `${joinPath(mailbox, sub)}/`.startsWith(`${path}/`)));
  const walk = (dir: BytePath): void => {
    const full = joinPath(root, dir);
    const entries = files.readdir(full) ?? [];
    for (const { name, kind } of entries) {
      const path = joinPath(dir, name);
      if (name === 'tmp' && kind === 'dir') {
        for (const left of files.readdir(joinPath(full, name)) ?? []) found.push(`${path}/${left.name}: a temporary file was replicated`);
      } else if (ignoresOfMaildir(name)) {
        found.push(`${path}: a lock or temporary file was replicated`);
      } else if (kind === 'dir' && name !== 'cur' && name !== 'new') {
        walk(path);
      }
    }
    if (entries.some((e) => e.name === 'cur' || e.name === 'new' || e.name.startsWith('dovecot.index') || e.name === 'dovecot-uidlist')) {
      found.push(...checkMailbox(files, full, history, isInDoubt(dir)).map((line) => `${dir === '' ? 'INBOX' : dir}: ${line}`));
    }
  };
  walk('');
  return found;
}

function checkMailbox(files: Files, dir: BytePath, history: MailHistory, isInDoubt: (base: string) => boolean): string[] {
  const found: string[] = [];
  const present = new Set<string>();
  for (const sub of ['new', 'cur']) {
    for (const { name } of files.readdir(`${dir}/${sub}`) ?? []) {
      const base = name.split(':')[0]!;
      if (present.has(base) && !isInDoubt(base)) found.push(`${base} is there twice`);
      present.add(base);
      const body = files.readFile(`${dir}/${sub}/${name}`, Infinity);
      if (!body || digestOf(body.data) !== history.bodyOf(base)) found.push(`${sub}/${name} has not the body that the primary had`);
    }
  }
  const isThere = (base: string) => present.has(base) || isInDoubt(base);
  const uidlist = files.readFile(`${dir}/dovecot-uidlist`, Infinity)?.data.toString('latin1');
  const listed = new Map<number, string>();
  let uidValidity: number | null = null;
  if (uidlist !== undefined) {
    const header = /^3 V(\d+) N(\d+) G\S+\n/.exec(uidlist);
    if (!header) return [...found, `uidlist header is torn: ${JSON.stringify(uidlist.slice(0, 60))}`];
    if (!uidlist.endsWith('\n')) found.push('uidlist ends inside a line');
    uidValidity = Number(header[1]);
    if (!history.knows(uidValidity)) found.push(`UIDVALIDITY ${uidValidity} was never given`);
    for (const line of uidlist.slice(header[0].length).split('\n').slice(0, -1)) {
      const [, uid, base] = /^(\d+) :(\S+)$/.exec(line) ?? [];
      if (uid === undefined || base === undefined) {
        found.push(`uidlist line is torn: ${JSON.stringify(line)}`);
        continue;
      }
      listed.set(Number(uid), base);
      found.push(...checkUid(history, uidValidity, Number(uid), base, isThere, 'uidlist'));
    }
  }
  const log = files.readFile(`${dir}/dovecot.index.log`, Infinity)?.data.toString('latin1');
  if (log !== undefined) found.push(...checkLog(log, history, uidValidity, listed, isThere));
  return found;
}

function checkUid(
  history: MailHistory,
  uidValidity: number,
  uid: number,
  base: string,
  isThere: (base: string) => boolean,
  where: string,
): string[] {
  const issued = history.find(uidValidity, uid);
  if (!issued) return [`${where}: UID ${uid} was never given`];
  if (issued.base !== base) return [`${where}: UID ${uid} names ${base}, but a client saw ${issued.base} under it`];
  if (!isThere(base) && !issued.expunged) return [`${where}: UID ${uid} names ${base}, which is not there`];
  return [];
}

function checkLog(
  log: string,
  history: MailHistory,
  uidValidity: number | null,
  listed: ReadonlyMap<number, string>,
  isThere: (base: string) => boolean,
): string[] {
  const found: string[] = [];
  const alive = new Map<number, string>();
  if (log !== '' && !log.endsWith('\n')) found.push('index log ends inside a record');
  for (const record of log.split('\n').slice(0, -1)) {
    const [, kind, uid, rest] = /^([-+f]) (\d+)(?: (\S*))?$/.exec(record) ?? [];
    if (kind === undefined) found.push(`index log record is torn: ${JSON.stringify(record)}`);
    else if (kind === '+') alive.set(Number(uid), rest ?? '');
    else if (kind === '-') alive.delete(Number(uid));
  }
  if (alive.size > 0 && uidValidity === null) return [...found, 'index log names messages, but there is no uidlist'];
  for (const [uid, base] of alive) {
    found.push(...checkUid(history, uidValidity!, uid, base, isThere, 'index log'));
    if (!listed.has(uid) && !history.find(uidValidity!, uid)?.expunged)
      found.push(`index log: UID ${uid} is not in the uidlist: the index is newer than the data`);
  }
  return found;
}
