import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChangeLoop, changesAtRate, realisticWeights, type ChangeKind } from '../../tools/mailgen/change.ts';
import { splitName } from '../../tools/mailgen/filename.ts';
import { flavours, mailboxDir, readMailboxes, type Flavour } from '../../tools/mailgen/layout.ts';
import { makeStore } from '../../tools/mailgen/make.ts';
import { MessageMaker } from '../../tools/mailgen/message.ts';
import { Random } from '../../tools/mailgen/random.ts';
import { formatUidList, parseUidList } from '../../tools/mailgen/uidlist.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'mailgen-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

/** Every file with its content, mode and (for messages) mtime. */
function digest(root: string): string[] {
  const lines: string[] = [];
  const walk = (at: string) => {
    for (const name of readdirSync(at).sort()) {
      const path = join(at, name);
      const stat = lstatSync(path);
      if (stat.isDirectory()) {
        lines.push(`${relative(root, path)}/`);
        walk(path);
      } else {
        const mtime = /\/(cur|new)\//.test(path) ? stat.mtimeMs : '';
        lines.push(`${relative(root, path)} ${stat.mode} ${mtime} ${createHash('sha256').update(readFileSync(path)).digest('hex')}`);
      }
    }
  };
  walk(root);
  return lines;
}

/** What must hold in a store at rest: the uidlist names exactly the messages that are there, each once, in rising order. */
function checkStore(root: string, flavour: Flavour): { messages: number; mailboxes: number } {
  const seen = { messages: 0, mailboxes: 0 };
  for (const user of readdirSync(root)) {
    const userDir = join(root, user);
    const validities = new Set<number>();
    for (const path of readMailboxes(flavour, userDir)) {
      const mailbox = mailboxDir(flavour, userDir, path);
      const text = readFileSync(join(mailbox, 'dovecot-uidlist'), 'latin1');
      expect(text.endsWith('\n')).toBe(true);
      const list = parseUidList(text);
      validities.add(list.uidValidity);
      const uids = list.entries.map((entry) => entry.uid);
      expect(uids).toEqual([...new Set(uids)].sort((a, b) => a - b));
      const files = [...readdirSync(join(mailbox, 'new')), ...readdirSync(join(mailbox, 'cur'))];
      expect(files.map((name) => splitName(name).base).sort()).toEqual(list.entries.map((entry) => entry.base).sort());
      for (const sub of ['new', 'cur']) {
        for (const name of readdirSync(join(mailbox, sub))) {
          const data = readFileSync(join(mailbox, sub, name));
          const lines = data.reduce((count, byte) => count + (byte === 10 ? 1 : 0), 0);
          expect(name).toContain(`,S=${data.length},W=${data.length + lines}`);
          expect(name.includes(':2,')).toBe(sub === 'cur');
        }
      }
      expect(readdirSync(join(mailbox, 'tmp'))).toEqual([]);
      expect(readdirSync(mailbox).filter((name) => /\.(lock|tmp)$/.test(name))).toEqual([]);
      seen.messages += files.length;
      seen.mailboxes++;
    }
    expect(validities.size, 'a UIDVALIDITY was given twice').toBe(readMailboxes(flavour, userDir).length);
    const counter = readFileSync(join(userDir, 'dovecot-uidvalidity'), 'latin1');
    expect(existsSync(join(userDir, `dovecot-uidvalidity.${counter}`))).toBe(true);
    expect(Math.max(...validities)).toBeLessThanOrEqual(parseInt(counter, 16));
    expect(readFileSync(join(userDir, 'subscriptions'), 'latin1')).toMatch(/^V\t2\n\n/);
  }
  return seen;
}

describe.each(flavours)('a %s store', (flavour) => {
  it('comes out the same for the same seed, and different for another', () => {
    const options = { messages: 300, users: 3, mailboxesPerUser: 12, flavour };
    makeStore({ ...options, seed: 'a', dir: join(dir, '1') });
    makeStore({ ...options, seed: 'a', dir: join(dir, '2') });
    makeStore({ ...options, seed: 'b', dir: join(dir, '3') });
    expect(digest(join(dir, '2'))).toEqual(digest(join(dir, '1')));
    expect(digest(join(dir, '3'))).not.toEqual(digest(join(dir, '1')));
  });

  it('has what was asked for, and lists that fit its files', () => {
    const made = makeStore({ seed: 4, dir: join(dir, 's'), messages: 501, users: 2, mailboxesPerUser: 27, flavour });
    expect(made).toMatchObject({ users: ['user0001', 'user0002'], mailboxes: 54, directories: 217, messages: 501 });
    expect(checkStore(join(dir, 's'), flavour)).toEqual({ messages: 501, mailboxes: 54 });
  });

  it('stays sound through every kind of change, the same for the same seed', () => {
    const kinds = new Set<ChangeKind>();
    for (const name of ['1', '2']) {
      makeStore({ seed: 5, dir: join(dir, name), messages: 120, users: 2, mailboxesPerUser: 6, flavour });
      const loop = new ChangeLoop({ seed: 6, dir: join(dir, name), flavour });
      for (let i = 0; i < 1500; i++) {
        const change = loop.changeOnce();
        kinds.add(change.kind);
        const gone = change.kind === 'expunge' || change.kind === 'folder-delete';
        expect(existsSync(change.path), `${change.kind} ${change.path}`).toBe(!gone);
        expect(change.atMs).toBeGreaterThan(0);
      }
    }
    expect([...kinds].sort()).toEqual(Object.keys(realisticWeights).sort());
    checkStore(join(dir, '1'), flavour);
    expect(digest(join(dir, '2'))).toEqual(digest(join(dir, '1')));
  });

  it('can be changed by a second run with the same seed', () => {
    makeStore({ seed: 5, dir: join(dir, 's'), messages: 20, users: 1, mailboxesPerUser: 3, flavour });
    for (let run = 0; run < 2; run++) {
      const loop = new ChangeLoop({ seed: 6, dir: join(dir, 's'), flavour, fsync: true });
      for (let i = 0; i < 100; i++) loop.changeOnce();
    }
    checkStore(join(dir, 's'), flavour);
  });
});

it('makes messages of realistic sizes, no two alike', () => {
  const maker = new MessageMaker(new Random('sizes'));
  const sizes: number[] = [];
  const hashes = new Set<string>();
  for (let i = 0; i < 8000; i++) {
    const { bytes } = maker.make(1_700_000_000 + i, 'someone@example.org');
    sizes.push(bytes.length);
    hashes.add(createHash('sha256').update(bytes).digest('hex'));
  }
  sizes.sort((a, b) => a - b);
  expect(hashes.size).toBe(8000);
  expect(sizes[4000]).toBeGreaterThan(3500);
  expect(sizes[4000]).toBeLessThan(4800);
  const mean = sizes.reduce((a, b) => a + b, 0) / sizes.length;
  expect(mean).toBeGreaterThan(5500);
  expect(mean).toBeLessThan(9000);
  expect(sizes.at(-1)).toBeGreaterThan(1024 * 1024);
});

it('does only the kinds that have a weight, at the rate asked for', async () => {
  makeStore({ seed: 1, dir: join(dir, 's'), messages: 10, users: 1, mailboxesPerUser: 2 });
  const loop = new ChangeLoop({ seed: 2, dir: join(dir, 's'), weights: { deliver: 1 } });
  const started = performance.now();
  const kinds: string[] = [];
  for await (const change of changesAtRate(loop, 200, 0.2)) kinds.push(change.kind);
  expect(kinds).toEqual(Array.from({ length: 40 }, () => 'deliver'));
  expect(performance.now() - started).toBeGreaterThan(190);
});

it('reads a uidlist with extensions and a stale N, and refuses what is none', () => {
  const list = parseUidList('3 V7 N1 G0123456789abcdef0123456789abcdef\n1 :a\n6 W12 Gxy :b:c\n');
  expect(list).toEqual({
    uidValidity: 7,
    uidNext: 7,
    guid: '0123456789abcdef0123456789abcdef',
    entries: [
      { uid: 1, base: 'a' },
      { uid: 6, base: 'b:c' },
    ],
  });
  expect(parseUidList(formatUidList(list))).toEqual(list);
  expect(() => parseUidList('1 2 3\n')).toThrow('not a uidlist');
});

it('refuses a directory that is not empty, and one without maildirs', () => {
  makeStore({ seed: 1, dir: join(dir, 's'), messages: 1 });
  expect(() => makeStore({ seed: 1, dir: join(dir, 's'), messages: 1 })).toThrow('not empty');
  expect(() => new ChangeLoop({ seed: 1, dir })).toThrow('holds no maildir');
});
