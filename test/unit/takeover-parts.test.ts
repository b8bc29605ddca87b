import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { acceptanceHtml, acceptanceReport, acceptanceText, compareMarks, type MailboxMark } from '../../agent/failover/acceptance.ts';
import { AuditLog, verifyAuditLog } from '../../agent/failover/audit-log.ts';
import { runHook, type HookParts } from '../../agent/failover/hooks.ts';
import { migrateStatus, type MigrateFacts } from '../../agent/failover/migrate-status.ts';
import { makePlan } from '../../agent/failover/plan.ts';
import { marginMax, uidMargin } from '../../agent/failover/uid-margin.ts';
import { openAppendFile } from '../../agent/platform/append-file.ts';
import { exec } from '../../agent/platform/exec.ts';
import { silentLog } from '../../agent/platform/log.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'mailtwin-takeover-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const by = { uid: 1000, user: 'anna', tty: 'pts/0', sudoUser: null };

describe('the audit log', () => {
  const path = () => join(dir, 'audit.ndjson');
  const write = (...whats: string[]) => {
    const file = openAppendFile(path());
    const log = new AuditLog(file, 'mail-b');
    for (const what of whats) log.append({ wallMs: 0, what, by, facts: { what } });
    file.close();
  };
  const read = () => verifyAuditLog(readFileSync(path(), 'utf8'));

  it('says who did what, is readable by its owner alone, and goes on over restarts', () => {
    write('begun', 'done');
    write('begun again');
    const { entries, broken } = read();
    expect(broken).toBeNull();
    expect(entries.map(({ number, what, by: who, at }) => [number, what, who.user, at])).toEqual([
      [1, 'begun', 'anna', '1970-01-01T00:00:00.000Z'],
      [2, 'done', 'anna', '1970-01-01T00:00:00.000Z'],
      [3, 'begun again', 'anna', '1970-01-01T00:00:00.000Z'],
    ]);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
  });

  it('shows a line that was changed, taken away, put in or moved, and takes none after it', () => {
    write('a', 'b', 'c', 'd');
    const lines = readFileSync(path(), 'utf8').trimEnd().split('\n');
    const [a = '', b = '', c = '', d = ''] = lines;
    for (const [changed, line] of [
      [[a, b.replace('anna', 'otto'), c, d], 3],
      [[a, c, d], 2],
      [[b, c, d], 1],
      [[a, c, b, d], 2],
      [[a, b, b, c, d], 3],
      [[a, 'x', c, d], 2],
    ] as const) {
      writeFileSync(path(), `${changed.join('\n')}\n`);
      expect(read().broken?.line).toBe(line);
      expect(() => write('e')).toThrow(/audit log/);
    }
  });

  it('goes on after a power cut inside a line', () => {
    write('a', 'b');
    appendFileSync(path(), '{"number":3,"wh');
    write('c');
    expect(read()).toMatchObject({ broken: null, entries: [{ what: 'a' }, { what: 'b' }, { what: 'c' }] });
  });
});

describe('a hook', () => {
  const plan = makePlan({
    id: 't1',
    kind: 'failover',
    node: 'mail-b',
    target: 'mail-a',
    wallMs: 0,
    guards: [],
    overrides: [],
    predictedLoss: { mailboxes: null, messages: null, seconds: null, changes: null },
    basis: {
      role: 'standby',
      epoch: 3,
      seenEpoch: 3,
      peerRole: null,
      peerEpoch: null,
      peerConnected: false,
      position: '',
      addressesAnswered: null,
      configDigest: '',
    },
    epochBurned: 0,
  });
  const parts = (hook: string[], hookTimeoutSeconds = 5): HookParts => ({
    config: { hooks: { 'before-fence': hook }, hookTimeoutSeconds },
    exec,
    log: silentLog,
    path: process.env['PATH'] ?? '',
  });

  it('gets phase, kind, epoch and nodes, and nothing else of the environment', async () => {
    await runHook(
      parts([process.execPath, '-e', `require('fs').writeFileSync(process.argv[1], JSON.stringify(process.env))`, join(dir, 'env')]),
      'before-fence',
      plan,
    );
    const env = JSON.parse(readFileSync(join(dir, 'env'), 'utf8')) as Record<string, string>;
    expect(env).toMatchObject({
      MAILTWIN_PHASE: 'before-fence',
      MAILTWIN_KIND: 'failover',
      MAILTWIN_EPOCH: '4',
      MAILTWIN_NODE: 'mail-b',
      MAILTWIN_TARGET: 'mail-a',
      MAILTWIN_TAKEOVER: 't1',
    });
    expect(Object.keys(env).filter((name) => !name.startsWith('MAILTWIN_') && name !== 'PATH')).toEqual([]);
  });

  it('that is not configured is not run', async () => {
    await runHook(parts(['/nowhere']), 'after-fence', plan);
  });

  it.each([
    ['ends with another code', ['/bin/sh', '-c', 'exit 7'], 'ended with code 7'],
    ['cannot be started', ['/nowhere/hook'], 'cannot be started'],
  ])('that %s is an error with its reason', async (_what, hook, says) => {
    await expect(runHook(parts(hook), 'before-fence', plan)).rejects.toMatchObject({
      code: 'hook-failed',
      message: expect.stringContaining(says) as string,
    });
  });

  it('that takes too long is ended', async () => {
    await expect(runHook(parts(['/bin/sleep', '60'], 0.2), 'before-fence', plan)).rejects.toMatchObject({
      message: expect.stringContaining('did not end') as string,
    });
  });
});

describe('the margin of UIDs (I5)', () => {
  const mark = (atMs: number, uidNext: number, highestModseq = uidNext * 2) => ({ atMs, uidNext, highestModseq });

  it('is the least one without history, and grows with rate and silence', () => {
    expect(uidMargin({ history: [], nowMs: 0, marginMin: 1000, storeMessages: 0 })).toEqual({ uids: 1000, modseqs: 10_000 });
    // 100 UIDs a second, 60 s of silence: twice what that makes.
    const history = [mark(0, 1), mark(10_000, 1001)];
    expect(uidMargin({ history, nowMs: 70_000, marginMin: 1000, storeMessages: 0 })).toEqual({ uids: 12_000, modseqs: 240_000 });
  });

  it('takes the fastest stretch, not the mean: a quiet night does not hide a busy minute', () => {
    const history = [mark(0, 1), mark(36_000_000, 1), mark(36_001_000, 1001)];
    expect(uidMargin({ history, nowMs: 36_011_000, marginMin: 1, storeMessages: 0 }).uids).toBe(20_000);
  });

  it('covers whatever was issued in the silence at up to twice the fastest rate seen, and is bounded', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(500), { minLength: 1, maxLength: 20 }), fc.nat(600), (steps, silence) => {
        let uidNext = 1;
        const history = [mark(0, uidNext), ...steps.map((more, i) => mark((i + 1) * 1000, (uidNext += more)))];
        const { uids } = uidMargin({ history, nowMs: (steps.length + silence) * 1000, marginMin: 1000, storeMessages: 0 });
        expect(uids).toBeGreaterThanOrEqual(Math.min(marginMax, Math.max(1000, 2 * Math.max(...steps) * silence)));
        expect(uids).toBeLessThanOrEqual(marginMax);
      }),
    );
  });

  it('never falls below the least when the clock or the marks go back', () => {
    expect(uidMargin({ history: [mark(9000, 100), mark(8000, 50)], nowMs: 0, marginMin: 1000, storeMessages: 0 })).toEqual({
      uids: 1000,
      modseqs: 10_000,
    });
  });

  it('covers a copy of the whole store into a mailbox that was quiet, however short nobody heard of the primary', () => {
    const history = [mark(0, 2), mark(1000, 2)];
    const { uids, modseqs } = uidMargin({ history, nowMs: 1000, marginMin: 100_000, storeMessages: 400_000 });
    expect(uids).toBeGreaterThan(400_000);
    expect(modseqs).toBeGreaterThan(400_000);
  });
});

describe('the acceptance report', () => {
  const mark = (mailbox: string, change: Partial<MailboxMark> = {}): MailboxMark => ({
    mailbox,
    uidValidity: 7,
    uidNext: 10,
    highestModseq: 20,
    messages: 9,
    digest: 'd',
    ...change,
  });

  it('names what is wrong mailbox by mailbox (I4, I5)', () => {
    const before = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => mark(name));
    const after = [
      mark('a'),
      mark('b', { uidValidity: 8 }),
      mark('c', { uidNext: 9 }),
      mark('d', { highestModseq: 19 }),
      mark('e', { messages: 11, digest: 'x', uidNext: 1012 }),
      mark('f', { digest: 'x' }),
      mark('new'),
    ];
    expect(compareMarks(before, after).map(({ mailbox, verdict }) => `${mailbox} ${verdict}`)).toEqual([
      'a same',
      'b wrong',
      'c wrong',
      'd wrong',
      'e grown',
      'f changed',
      'g wrong',
      'new changed',
    ]);
  });

  const report = (results = compareMarks([mark('a')], [mark('a')])) =>
    acceptanceReport({ pair: 'p', from: 'mail-a', to: 'mail-b', madeAt: '2026-01-02T09:05:00.000Z', downtimeSeconds: 2.14, results });

  it('says in its first lines whether it is accepted', () => {
    expect(acceptanceText(report())).toContain(
      'accepted: 1 mailboxes, 1 the same, 0 with new mail, 0 changed by their users; clients waited 2.1 s',
    );
    const wrong = compareMarks([mark('a'), mark('b')], [mark('a'), mark('b', { uidValidity: 8 })]);
    expect(acceptanceText(report(wrong))).toContain('NOT ACCEPTED: 1 of 2 mailboxes are wrong');
    expect(acceptanceText(report(wrong))).toMatch(/^wrong +b +9 {2}UIDVALIDITY was 7 and is 8/m);
  });

  it('in HTML lets no name of a mailbox become markup, and loads nothing', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (name, pair) => {
        const html = acceptanceHtml({ ...report(compareMarks([mark(`${name}<img src=x onerror=alert(1)>"'&`)], [])), pair });
        expect(html).not.toMatch(/<img|<script|src=x(?! onerror=alert\(1\)&gt;)/);
        expect(
          html
            .match(/<[a-z!/][^>]*>/g)
            ?.filter((tag) => !/^<(!doctype html|\/?(html|meta|title|style|h1|p|strong|table|tr|td|th)[^>]*)>$/.test(tag)),
        ).toEqual([]);
      }),
    );
    expect(acceptanceHtml(report())).not.toMatch(/https?:|url\(|<link|<script/);
  });
});

describe('the status of a move', () => {
  const same = (name: string, role: 'primary' | 'standby') => ({
    node: `mail-${name}`,
    role,
    releases: { system: 'debian 12', mailServer: 'dovecot 2.3.19', storageVersion: null },
  });
  const ready: MigrateFacts = {
    paired: true,
    fill: { complete: true, filesDone: 10, filesTotal: 10, bytesDone: 10, bytesTotal: 10 },
    bytesPerSecond: 1e6,
    replication: { connected: true, phase: 'streaming', lagChanges: 2, lagBytes: 2e6, lagSeconds: 1 },
    roles: [{ name: 'lan', mapped: true, proven: true }],
    versions: { agentOlder: false, agentNewer: false, serverOlder: false, text: '' },
    verify: { result: 'clean', secondsAgo: 3600 },
    role: 'standby',
    serviceSeconds: 1.5,
    upgrade: { own: same('b', 'standby'), peer: null, formats: ['maildir'], copyComplete: true, unfinished: null, findings: [] },
  };
  const next = (change: Partial<MigrateFacts>) => migrateStatus({ ...ready, ...change }).next?.id ?? null;

  it('says what remains, in order, and how long the last delta takes', () => {
    expect(migrateStatus(ready)).toMatchObject({
      next: { id: 'switched', command: 'mailtwin switchover' },
      downtimeSeconds: 4.5,
      fillSeconds: null,
    });
    expect(next({ role: 'primary' })).toBeNull();
    expect(next({ verify: { result: 'clean', secondsAgo: 90_000 } })).toBe('verified');
    expect(next({ verify: null })).toBe('verified');
    expect(next({ versions: { ...ready.versions!, serverOlder: true, text: 'older' } })).toBe('versions');
    expect(next({ roles: [{ name: 'lan', mapped: true, proven: false }] })).toBe('nics');
    expect(next({ replication: null })).toBe('caught-up');
    expect(next({ replication: { ...ready.replication!, lagSeconds: 60 } })).toBe('caught-up');
    expect(next({ fill: { ...ready.fill!, complete: false } })).toBe('filled');
    expect(next({ paired: false })).toBe('paired');
  });

  it('tells the rest of the fill from its rate, and nothing where the rate is not known (I18)', () => {
    const fill = { complete: false, filesDone: 1, filesTotal: null, bytesDone: 1e6, bytesTotal: 61e6 };
    expect(migrateStatus({ ...ready, fill }).fillSeconds).toBe(60);
    expect(migrateStatus({ ...ready, fill, bytesPerSecond: null })).toMatchObject({ fillSeconds: null, downtimeSeconds: null });
    expect(migrateStatus({ ...ready, serviceSeconds: null }).downtimeSeconds).toBeNull();
  });
});
