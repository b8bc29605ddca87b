import type { BytePath, FileKind } from '../platform/files.ts';
import type { Classified } from './format.ts';
import { applyOrders, groupFile, indexPart, listFileOrder, type GroupFile } from './maildir-names.ts';

/**
 * Decides by names alone, which is all there is for a path that has gone.
 *
 * `cur` and `new` hold messages wherever they lie: Dovecot refuses folders called cur, new or tmp in every layout. A
 * *user* may be called so in a root of many users, and then the directory holds home and control files; those are known
 * by their names. For the same reason a `tmp` directory is itself replicated and entered, and only files directly in
 * it that look like deliveries under way are left out: what lies deeper is judged by its own directory.
 */

const ignored: Classified = Object.freeze({
  ignored: true,
  class: 'plain',
  mailbox: null,
  applyOrder: applyOrders.alone,
  immutable: false,
});
const plain: Classified = Object.freeze({ ignored: false, class: 'plain', mailbox: null, applyOrder: applyOrders.alone, immutable: false });

const trashPrefix = '..DOVECOT-T';

interface Place {
  kind: 'messages' | 'tmp' | 'trash' | 'other';
  dir: BytePath;
  message: Classified;
}

// Names come directory by directory. A map of many places was slower than making each anew.
let lastPlace: Place = makePlace('');

export function classifyMaildir(path: BytePath, kind: FileKind | null): Classified {
  const slash = path.lastIndexOf('/');
  const place = placeOf(path, slash);
  const name = slash < 0 ? path : path.slice(slash + 1);
  if (place.kind === 'messages') {
    if (kind === 'dir') return plain;
    const first = name.charCodeAt(0);
    // Servers never take a name that begins with a dot for a message; only NFS' own are sure to be nothing else.
    if (first === dot && isNfsLeftover(name)) return ignored;
    if (first !== letterC && first !== letterD && first !== letterS) return place.message;
    return inNamedLikeMessages(place, name, kind);
  }
  if (place.kind === 'trash' || isTrash(name)) return ignored;
  if (kind === 'dir') return plain;
  if (place.kind === 'tmp' && isDeliveryUnderWay(name, kind)) return ignored;
  return besideMessages(place.dir, name, kind);
}

const dot = 0x2e;
const letterC = 0x63;
const letterD = 0x64;
const letterS = 0x73;

function placeOf(path: BytePath, slash: number): Place {
  if (slash < 0 ? lastPlace.dir === '' : lastPlace.dir.length === slash && path.startsWith(lastPlace.dir)) return lastPlace;
  lastPlace = makePlace(slash < 0 ? '' : path.slice(0, slash));
  return lastPlace;
}

function makePlace(dir: BytePath): Place {
  const slash = dir.lastIndexOf('/');
  const mailbox = slash < 0 ? '' : dir.slice(0, slash);
  const message: Classified = { ignored: false, class: 'message', mailbox, applyOrder: applyOrders.message, immutable: true };
  const last = dir.slice(slash + 1);
  if (dir.includes(trashPrefix) && dir.split('/').some(isTrash)) return { kind: 'trash', dir, message };
  if (last === 'cur' || last === 'new') return { kind: 'messages', dir, message };
  // Scripts that are being uploaded: part of a user's Sieve directory, not of a maildir.
  if (last === 'tmp' && mailbox !== 'sieve' && !mailbox.endsWith('/sieve')) return { kind: 'tmp', dir, message };
  return { kind: 'other', dir, message };
}

/** A user or domain called `cur` or `new`: its directory may hold control files, whose exact names no message has. */
function inNamedLikeMessages(place: Place, name: string, kind: FileKind | null): Classified {
  const group = groupFile(name);
  if (group) return inGroup(group, place.dir);
  if (listFileOrder(name) !== null || transientNames.has(name)) return besideMessages(place.dir, name, kind);
  return place.message;
}

function besideMessages(dir: BytePath, name: string, kind: FileKind | null): Classified {
  const group = groupFile(name);
  if (group) return inGroup(group, dir);
  if (isTransient(name, kind)) return ignored;
  const listOrder = listFileOrder(name);
  if (listOrder !== null) return { ignored: false, class: 'control', mailbox: null, applyOrder: listOrder, immutable: false };
  return plain;
}

function inGroup(file: GroupFile, mailbox: BytePath): Classified {
  return { ignored: false, class: file.class, mailbox, applyOrder: file.applyOrder, immutable: false };
}

/** `..DOVECOT-TRASHED` (Maildir++) or `..DOVECOT-TrasH` (nested folders): a folder on its way out. */
function isTrash(name: string): boolean {
  return name.startsWith(trashPrefix);
}

/** The kernel's NFS client renames an open file that is deleted: `.nfs` and at least 16 hex digits. */
function isNfsLeftover(name: string): boolean {
  return name.startsWith('.nfs') && /^\.nfs[0-9a-f]{16,}$/.test(name);
}

/** Of a name that is gone, only the shape that every delivery agent's unique names have is taken for one. */
function isDeliveryUnderWay(name: string, kind: FileKind | null): boolean {
  if (kind === null) return /^[0-9]{9,}\./.test(name);
  if (name.charCodeAt(0) === dot) return isNfsLeftover(name);
  return groupFile(name) === null && listFileOrder(name) === null && !name.startsWith('dovecot') && !name.startsWith('maildir');
}

const serverPrefixes = ['dovecot', '.dovecot', 'courier', 'mailboxes.lock', 'maildir', 'subscriptions', '.subscriptions'];

/** Locks and files half written, by server. A folder has none of these names. */
const transientNames = new Set(
  [
    'dovecot-uidlist',
    'dovecot-keywords',
    'dovecot-uidvalidity',
    'dovecot.index',
    'dovecot.index.log',
    'dovecot.list.index',
    'dovecot.list.index.log',
    'dovecot.mailbox.log',
    'mailboxes',
    'subscriptions',
    'maildirsize',
    '.dovecot.lda-dupes',
  ].flatMap((name) => [`${name}.lock`, `${name}.tmp`, `${name}.newlock`]),
);

/**
 * Directories never come here: a folder may well be called `.Old.lock` or `.temp.Invoices`, a domain
 * `courier.lockers.example`. A name that is gone may have been one of them, and only the servers' exact names count.
 */
function isTransient(name: string, kind: FileKind | null): boolean {
  if (indexPart(name) === 'cache') return true;
  const lock = name.includes('.lock');
  const half = name.endsWith('.tmp') || name.endsWith('.newlock');
  const dotted = name.charCodeAt(0) === dot;
  if (!lock && !half && !dotted) return false;
  if (kind === null) return transientNames.has(name);
  if (half || name.endsWith('.lock')) return true;
  // Dovecot makes a lock under a name of its own, X.lockHOST.PID.*, and links or renames it.
  if (lock && serverPrefixes.some((prefix) => name.startsWith(prefix))) return true;
  return dotted && (name.startsWith('.temp.') || isNfsLeftover(name));
}
