import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MailboxMarks } from '../../agent/mailstore/format.ts';
import { formatByName } from '../../agent/mailstore/format-by-name.ts';
import { readIndexHeader } from '../../agent/mailstore/index-header.ts';
import { appendToLog } from '../../agent/mailstore/index-log-write.ts';
import { decodeSize, readIndexLog } from '../../agent/mailstore/index-log.ts';
import { linkStaysInside } from '../../agent/mailstore/links.ts';
import { checkUidlist, namedMessages, raiseUidNext } from '../../agent/mailstore/uidlist.ts';
import { lettersFor, readKeywords } from '../../agent/replicate/salvage/keywords.ts';
import { encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import type { SimRandom } from '../sim/sim-random.ts';
import type { Decoder } from './decoder.ts';
import { mutateText } from './text.ts';
import { mutateBytes } from './values.ts';

const format = formatByName('maildir');
const dir = fileURLToPath(new URL('../fixtures/maildir/', import.meta.url));
const names = { uidlist: 'dovecot-uidlist', index: 'dovecot.index', log: 'dovecot.index.log', log2: 'dovecot.index.log.2' } as const;
type Part = keyof typeof names;
const parts = Object.keys(names) as Part[];
/** What a Dovecot left of its mailboxes. */
const mailboxes = readdirSync(dir, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => Object.fromEntries(parts.map((part) => [part, readFileSync(`${dir}${name}/${names[part]}`)])) as Record<Part, Buffer>);
const all = (part: Part) => mailboxes.map((mailbox) => mailbox[part]);
const lists = [
  ...all('uidlist').map((list) => list.toString('latin1')),
  '1 1700000000 12\n3 a.host\n11 b.host\n',
  '3 V1700000000 N9 G0123456789abcdef0123456789abcdef\n1 W12 :a.host\n8 :b.host:2,S\n',
];

/** Numbers that the wire and the standby's store take. @throws otherwise. */
function tell({ uidValidity, uidNext, highestModseq }: MailboxMarks): void {
  encode({ type: 'watermarks', items: [['mail', 'INBOX', uidValidity, uidNext, highestModseq]] });
}

const uidlist: Decoder = {
  name: 'dovecot-uidlist',
  from: 'users',
  make: (random) => (random.chance(0.02) ? Buffer.from(random.pick(lists), 'latin1') : mutateText(random, random.pick(lists), lists)),
  take(data) {
    const facts = checkUidlist(data);
    let last = 0;
    for (const { uid, base } of namedMessages(data)) {
      if (uid <= last || uid >= limits.uidMax || base.includes('/') || base.includes('\0'))
        throw new Error(`UID ${uid} after ${last}: ${base}`);
      last = uid;
    }
    if (!facts.ok) return 'refused';
    if (facts.length > data.length) throw new Error('more is whole than there is');
    const marks = format.marks({ uidlist: data });
    if (marks) tell(marks);
    const wanted = Math.min(facts.uidNext + 1000, 0xffff_fffe);
    const raised = checkUidlist(raiseUidNext(data.subarray(0, facts.length), wanted));
    if (!raised.ok || raised.uidNext < Math.min(wanted, facts.uidNext + 1000) || raised.uidValidity !== facts.uidValidity)
      throw new Error('it was raised to something else');
    return 'accepted';
  },
};

/** A log in parts: its header and its records. */
function recordsOf(log: Buffer): Buffer[] {
  const found = [log.subarray(0, log.readUInt16LE(2))];
  for (let at = log.readUInt16LE(2); at + 8 <= log.length;) {
    const size = decodeSize(log.readUInt32BE(at));
    if (size < 8 || at + size > log.length) break;
    found.push(log.subarray(at, at + size));
    at += size;
  }
  return found;
}

function encodedSize(bytes: number): number {
  const size = Math.floor(bytes / 4);
  return (0x80808080 | (size & 0x7f) | ((size & 0x3f80) << 1) | ((size & 0x1fc000) << 2) | ((size & 0xfe00000) << 3)) >>> 0;
}

const recordTypes = [0x0000cd91, 2, 4, 0x20, 0x40, 0x400, 0x800, 0x0000ed90, 0x8000, 0x80000, 0x100000, 0, 0xffffffff];
const words = [0, 1, 2, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 24, 28, 8, 12];

/** Changes a log by its records: twice, away, in another order, of another type, of another length, with numbers at borders. */
function mutateLog(random: SimRandom): Buffer {
  const records = recordsOf(random.pick([...all('log'), ...all('log2')])).map((record) => Buffer.from(record));
  for (let left = 1 + random.int(4); left > 0; left--) {
    const at = 1 + random.int(Math.max(1, records.length - 1));
    const record = records[at] ?? records[0];
    if (!record) continue;
    const field = 8 + 4 * random.int(Math.max(1, Math.floor((record.length - 8) / 4)));
    switch (random.int(8)) {
      case 0:
        records.splice(at, 1);
        break;
      case 1:
        records.splice(at, 0, Buffer.from(record));
        break;
      case 2:
        records.splice(random.int(records.length + 1), 0, ...records.splice(at, 1));
        break;
      case 3:
        if (at > 0 && record.length >= 8) record.writeUInt32LE((random.pick(recordTypes) | (random.chance(0.5) ? 0x10000000 : 0)) >>> 0, 4);
        break;
      case 4:
        if (field + 4 <= record.length) record.writeUInt32LE(random.pick(words), field);
        break;
      case 5: {
        const cut = Buffer.from(record.subarray(0, 8 + 4 * random.int(Math.max(1, record.length / 4))));
        if (cut.length >= 8) cut.writeUInt32BE(encodedSize(cut.length), 0);
        records[at] = cut;
        break;
      }
      case 6:
        if (record.length >= 4) record.writeUInt32BE(random.pick([encodedSize(random.pick([4, 8, 12, 1 << 20])), ...words]), 0);
        break;
      default: {
        const head = records[0];
        if (head && head.length >= 24) head.writeUInt32LE(random.pick(words), 4 * random.int(Math.floor(head.length / 4)));
      }
    }
  }
  return Buffer.concat(records);
}

const log: Decoder = {
  name: 'dovecot.index.log',
  from: 'users',
  make(random) {
    if (random.chance(0.02)) return random.pick(all('log'));
    const data = mutateLog(random);
    return random.chance(0.25) ? mutateBytes(random, data, all('log')) : data;
  },
  take(data) {
    const facts = readIndexLog(data);
    format.removals({ log: data })?.has(5);
    if (!facts) return 'refused';
    if (facts.length > data.length || facts.highestModseq > limits.modseqMax) throw new Error(JSON.stringify(facts).slice(0, 300));
    const highest = Math.min(facts.highestModseq + 1000, limits.modseqMax);
    const longer = appendToLog(data, highest);
    const raised = longer && readIndexLog(longer);
    if (longer && (!raised || raised.highestModseq < highest || raised.length !== longer.length))
      throw new Error(`what was added is not read: ${JSON.stringify({ ...raised, appended: 0, expunged: 0 })}`);
    return 'accepted';
  },
};

function mutateIndex(random: SimRandom): Buffer {
  const data = Buffer.from(random.pick(all('index')));
  for (let left = 1 + random.int(4); left > 0; left--) {
    const at = random.chance(0.5) ? 4 * random.int(Math.min(80, Math.floor(data.length / 4))) : random.int(Math.max(1, data.length - 4));
    if (at + 4 <= data.length) data.writeUInt32LE(random.chance(0.7) ? random.pick(words) : random.int(600), at);
  }
  return random.chance(0.3) ? mutateBytes(random, data, all('index')) : data;
}

const index: Decoder = {
  name: 'dovecot.index',
  from: 'users',
  make: (random) => (random.chance(0.02) ? random.pick(all('index')) : mutateIndex(random)),
  take(data) {
    const header = readIndexHeader(data);
    const whole = format.wholeLength('dovecot.index', data);
    if ((header !== null) !== whole.ok || (header && header.length > data.length)) throw new Error(JSON.stringify({ header, whole }));
    const marks = format.marks({ index: data });
    if (marks) tell(marks);
    return header ? 'accepted' : 'refused';
  },
};

/** The four files of a mailbox, each behind its length; some changed, some missing. */
const mailbox: Decoder = {
  name: 'files of a mailbox',
  from: 'users',
  make(random) {
    const files = random.pick(mailboxes);
    const changed: Record<Part, (random: SimRandom) => Buffer> = {
      uidlist: (one) => uidlist.make(one),
      index: mutateIndex,
      log: (one) => log.make(one),
      log2: (one) => log.make(one),
    };
    return Buffer.concat(
      parts.flatMap((part) => {
        const data = random.chance(0.1) ? Buffer.alloc(0) : random.chance(0.4) ? changed[part](random) : files[part];
        const length = Buffer.alloc(4);
        length.writeUInt32BE(data.length);
        return [length, data];
      }),
    );
  },
  take(input) {
    const files: Partial<Record<Part, Buffer>> = {};
    let at = 0;
    for (const part of parts) {
      const length = input.readUInt32BE(at);
      if (length > 0) files[part] = input.subarray(at + 4, at + 4 + length);
      at += 4 + length;
    }
    const marks = format.marks(files);
    if (!marks) return 'refused';
    tell(marks);
    return 'accepted';
  },
};

const keywordTexts = ['0 $Forwarded\n1 Junk\n2 NonJunk\n25 last\n', '0 a\n0 b\n26 c\n'];
const keywords: Decoder = {
  name: 'dovecot-keywords',
  from: 'users',
  make: (random) => mutateText(random, random.pick(keywordTexts), keywordTexts),
  take(data) {
    const byLetter = readKeywords(data);
    for (const [letter, keyword] of byLetter) if (!/^[a-z]$/.test(letter) || keyword === '') throw new Error(`${letter} ${keyword}`);
    const { letters } = lettersFor([...byLetter.values()], byLetter);
    if (!/^[a-z]*$/.test(letters)) throw new Error(letters);
    return byLetter.size > 0 ? 'accepted' : 'refused';
  },
};

const paths = [
  'example.org/user/Maildir/cur/1700000000.M1P2.host,S=100,W=105:2,FSab',
  'user/.Sent.2024/dovecot-uidlist',
  'user/dovecot.index.log.2',
  'user/new/1700000000.M1P2.host',
  'user/tmp/x',
  'user/dovecot-uidvalidity.5f3c1a2b',
  'user/maildirfolder',
  'user/.nfs0000001',
  'subscriptions',
];
const pathNames: Decoder = {
  name: 'name below a root',
  from: 'users',
  make: (random) => (random.chance(0.02) ? Buffer.from(random.pick(paths)) : mutateText(random, random.pick(paths), paths)),
  take(input) {
    const path = input.toString('latin1');
    let isIgnored = false;
    for (const kind of ['file', 'dir', 'symlink', null] as const) {
      const class_ = format.classify(path, kind);
      if (typeof class_.applyOrder !== 'number' || !Number.isFinite(class_.applyOrder)) throw new Error(JSON.stringify(class_));
      isIgnored ||= class_.ignored;
    }
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (!name.startsWith(format.baseOf(name))) throw new Error('a base that is not the beginning of its name');
    format.sealOrder(name);
    format.locks(path);
    return isIgnored ? 'refused' : 'accepted';
  },
};

const targets = [
  'a/b\0../c',
  'x\0y',
  'a/b/c\0../../d',
  'a\0.',
  'a/b\0../../..',
  'a\0/etc',
  'a/b/c\0../../../../../etc/passwd',
  'a/b\0c/../../../d',
];
const links: Decoder = {
  name: 'target of a link',
  from: 'users',
  make: (random) => (random.chance(0.05) ? Buffer.from(random.pick(targets)) : mutateText(random, random.pick(targets), targets)),
  take(input) {
    const [link = '', ...rest] = input.toString('latin1').split('\0');
    const target = rest.join('\0');
    if (!linkStaysInside(link, target)) return 'refused';
    if (target.includes('\0')) throw new Error('a target with NUL');
    // A link whose own path leads out is none: names are checked before.
    if (link.split('/').some((part) => part === '' || part === '.' || part === '..')) return 'accepted';
    const reached = posix.resolve('/far/up/root', posix.dirname(link), target);
    if (reached !== '/far/up/root' && !reached.startsWith('/far/up/root/')) throw new Error(`it leads to ${reached}`);
    return 'accepted';
  },
};

export const fileDecoders: readonly Decoder[] = [uidlist, log, index, mailbox, keywords, pathNames, links];
