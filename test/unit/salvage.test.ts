import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { SalvagePut } from '../../protocol/salvage.ts';
import { maildirFormat } from '../../agent/mailstore/maildir.ts';
import { plainFormat } from '../../agent/mailstore/plain.ts';
import type { Kv } from '../../agent/platform/kv.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { keywordsOf, lettersFor, readKeywords, systemFlags } from '../../agent/replicate/salvage/keywords.ts';
import { Placer } from '../../agent/replicate/salvage/place.ts';
import { SalvageRecords } from '../../agent/replicate/salvage/records.ts';
import { VacatedPlaces } from '../../agent/replicate/salvage/vacated.ts';

describe('keywords of a salvaged message', () => {
  const there = readKeywords(Buffer.from('0 $Forwarded\n1 NonJunk\n3 Mit Umlaut\u00e4\n'));
  const here = readKeywords(Buffer.from('0 NonJunk\n1 Later\n'));

  it('are carried by name, because the letters differ between mailboxes', () => {
    expect(keywordsOf('FSab', here)).toEqual(['NonJunk', 'Later']);
    expect(lettersFor(['NonJunk', 'Later'], there)).toEqual({ letters: 'b', dropped: ['Later'] });
  });

  it('come in the order of the alphabet, each once, apart from the system flags', () => {
    expect(lettersFor(['Mit Umlaut\u00e4', '$Forwarded', '$Forwarded'], there).letters).toBe('ad');
    expect(systemFlags('TSaFSb')).toBe('FST');
  });

  it('are taken from no line that Dovecot would not take', () => {
    expect(readKeywords(Buffer.from('26 TooMany\nx y\n\n5 Fine\n'))).toEqual(new Map([['f', 'Fine']]));
  });
});

describe('what an active node takes of a salvage', () => {
  const dir = mkdtempSync(join(tmpdir(), 'mailtwin-salvage-'));
  const staging = mkdtempSync(join(tmpdir(), 'mailtwin-salvage-'));
  mkdirSync(join(staging, 'stage'));
  afterAll(() => [dir, staging].forEach((made) => rmSync(made, { recursive: true, force: true })));
  for (const part of ['user/cur', 'user/new', 'user/tmp', 'queue']) mkdirSync(join(dir, part), { recursive: true });
  symlinkSync('/tmp', join(dir, 'link'));
  const stored = new Map<string, Buffer>();
  const kv = {
    get: (key: Buffer) => stored.get(key.toString('hex')),
    commit: (writes: [Buffer, Buffer | null][]) =>
      writes.forEach(([key, value]) => (value === null ? stored.delete(key.toString('hex')) : stored.set(key.toString('hex'), value))),
    flushed: async () => {},
  } as unknown as Kv;
  const root = { name: 'mail', path: dir, staging: '', format: maildirFormat };
  const placer = () => new Placer(realFiles, new SalvageRecords(kv), () => staging);
  const me = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const put = (change: Partial<SalvagePut>, text = 'x\n'): SalvagePut => ({
    ask: 'put',
    root: 'mail',
    id: createHash('sha256').update(JSON.stringify(change)).digest(),
    target: { kind: 'message', mailbox: 'user', flags: '', keywords: [], messageSize: null, virtualSize: null },
    mtimeNs: '1700000000000000000',
    mode: 0o600,
    ...me,
    size: text.length,
    sha256: createHash('sha256').update(text).digest(),
    offset: 0,
    data: Buffer.from(text),
    ...change,
  });

  it('never leaves its root, goes through no link, and writes over nothing (I11, I16)', async () => {
    const file = (path: string) => put({ target: { kind: 'file', path } });
    await expect(placer().put(root, file('../outside'))).rejects.toThrow('not a file name');
    await expect(placer().put(root, file('link/outside'))).rejects.toMatchObject({ code: 'salvage-path' });
    await expect(
      placer().put(
        root,
        put({ target: { kind: 'message', mailbox: 'link', flags: '', keywords: [], messageSize: null, virtualSize: null } }),
      ),
    ).rejects.toMatchObject({
      code: 'salvage-path',
    });
    await expect(
      placer().folder(root, { ask: 'folder', root: 'mail', kind: 'dir', path: 'a/../../b', mode: 0o700, ...me }),
    ).rejects.toThrow('not a file name');
    writeFileSync(join(dir, 'queue/taken'), 'of the active node\n');
    const plain = { ...root, format: plainFormat };
    await expect(placer().put(plain, file('queue/taken'))).rejects.toMatchObject({ code: 'salvage-taken' });
    expect(readdirSync(join(dir, 'queue')).filter((name) => !name.startsWith('.'))).toEqual(['taken']);
  });

  it('is what was sent, or nothing (I8)', async () => {
    await expect(placer().put(root, put({ sha256: Buffer.alloc(32) }))).rejects.toMatchObject({ code: 'salvage-content' });
    await expect(placer().put(root, put({ offset: 1 }))).rejects.toMatchObject({ code: 'salvage-order' });
    expect(['new', 'cur', 'tmp'].flatMap((place) => readdirSync(join(dir, 'user', place)))).toEqual([]);
  });

  it("bears the server's sizes of the message, never those of the file", async () => {
    const named = (messageSize: number | null, virtualSize: number | null) =>
      placer().put(root, put({ target: { kind: 'message', mailbox: 'user', flags: '', keywords: [], messageSize, virtualSize } }));
    expect((await named(4711, 4800)).path).toMatch(/\.mailtwin,S=4711,W=4800$/);
    expect((await named(4711, null)).path).toMatch(/\.mailtwin,S=4711$/);
    expect((await named(null, null)).path).toMatch(/\.mailtwin$/);
  });

  it('makes a folder as Maildir++ has it, once', async () => {
    const ask = { ask: 'folder' as const, root: 'mail', kind: 'mailbox' as const, path: 'user/.New.Deep', mode: 0o700, ...me };
    expect(await placer().folder(root, ask)).toEqual({ answer: 'folder', state: 'made' });
    expect(readdirSync(join(dir, 'user/.New.Deep')).toSorted()).toEqual(['cur', 'maildirfolder', 'new', 'tmp']);
    expect(await placer().folder(root, ask)).toEqual({ answer: 'folder', state: 'was-there' });
  });

  it('makes room for a plain file and nothing more', async () => {
    const ask = { ask: 'folder' as const, root: 'mail', kind: 'dir' as const, path: 'queue/deferred/A', mode: 0o700, ...me };
    expect(await placer().folder(root, ask)).toEqual({ answer: 'folder', state: 'made' });
    expect(readdirSync(join(dir, 'queue/deferred/A'))).toEqual([]);
  });

  it('gives way when somebody took the name meanwhile, and says so at the next run (I16)', async () => {
    const plain = { ...root, format: plainFormat };
    const ask = put({ target: { kind: 'file', path: 'queue/raced' } });
    const raced = { ...realFiles, renameNew: (from: string, to: string) => (writeFileSync(to, 'theirs\n'), realFiles.renameNew(from, to)) };
    const records = new SalvageRecords(kv);
    await expect(new Placer(raced, records, () => staging).put(plain, ask)).rejects.toMatchObject({ code: 'salvage-taken' });
    expect(records.get(ask.id)).toBeNull();
    expect(readdirSync(join(dir, 'queue')).filter((name) => name.startsWith('.'))).toEqual([]);
    await expect(placer().put(plain, ask)).rejects.toMatchObject({ code: 'salvage-taken' });
  });

  it('tells a message that was moved from one more of the same content (I16)', () => {
    mkdirSync(join(dir, 'user/.A/cur'), { recursive: true });
    writeFileSync(join(dir, 'user/.A/cur/1.here:2,S'), 'x');
    const vacated = new VacatedPlaces(realFiles);
    // Read since: the same message under new flags is still there.
    expect(vacated.take(root, ['user/.A/new/1.here'])).toBeNull();
    expect(vacated.take(root, ['user/.A/cur/1.here:2,', 'user/.A/cur/2.gone:2,'])).toBe('user/.A/cur/2.gone:2,');
    // One empty place explains one message.
    expect(vacated.take(root, ['user/.A/cur/1.here:2,', 'user/.A/cur/2.gone:2,'])).toBeNull();
    expect(vacated.take(root, ['user/.Gone/cur/3.h'])).toBe('user/.Gone/cur/3.h');
  });
});
