import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cut } from '../../tools/cli/commands/status.ts';
import { quantile } from '../../tools/cli/demo/latency.ts';
import { treeDifferences } from '../../tools/cli/demo/same-trees.ts';
import { plural, printable, showAge, showBytes, showCount, showSeconds } from '../../tools/cli/format.ts';
import { paintFor } from '../../tools/cli/paint.ts';
import { bar, fraction, progressLine, ProgressReporter, Speed } from '../../tools/cli/progress.ts';
import { statusText } from '../../tools/cli/status-text.ts';
import type { Status } from '../../protocol/control.ts';
import { recordingTerminal } from './cli-fixture.ts';
import { sampleStatus } from './control-fixture.ts';

describe('figures', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [999_499, '999 kB'],
    [999_600, '1.0 MB'],
    [52_428_800, '52.4 MB'],
    [1.5e12, '1.5 TB'],
  ])('%d bytes are %s', (bytes, text) => expect(showBytes(bytes)).toBe(text));

  it.each([
    [0, '0 s'],
    [0.0004, '1 ms'],
    [0.25, '250 ms'],
    [0.9996, '1.0 s'],
    [9.96, '10 s'],
    [59.6, '1 min'],
    [75, '1 min 15 s'],
    [3600, '1 h'],
    [7500, '2 h 5 min'],
    [86_400 * 3 + 3600, '3 d 1 h'],
  ])('%d seconds are %s', (seconds, text) => expect(showSeconds(seconds)).toBe(text));

  it('counts', () => {
    expect(showCount(1_234_567)).toBe('1,234,567');
    expect(showCount(12)).toBe('12');
    expect(plural(1, 'mailbox', 'mailboxes')).toBe('1 mailbox');
    expect(plural(2000, 'change')).toBe('2,000 changes');
    expect(showAge('2026-01-02T03:04:05Z', Date.parse('2026-01-02T03:05:05Z'))).toBe('1 min ago');
  });

  it('makes text from elsewhere safe', () => {
    expect(printable('a\u001b[31mb\nc\u202ed é')).toBe('a\\x1b[31mb\\x0ac\\u202ed é');
  });
});

describe('progress', () => {
  it('draws a bar in eighths', () => {
    expect(bar(0, 4)).toBe('    ');
    expect(bar(0.5, 4)).toBe('██  ');
    expect(bar(0.53125, 4)).toBe('██▏ ');
    expect(bar(1, 4)).toBe('████');
    expect(bar(7, 4)).toBe('████');
  });

  it('takes bytes before files, and says when nothing is known', () => {
    expect(fraction({ label: '', files: { done: 1, total: 2 }, bytes: { done: 1, total: 4 } })).toBe(0.25);
    expect(fraction({ label: '', files: { done: 1, total: 2 }, bytes: { done: 1, total: null } })).toBe(0.5);
    expect(fraction({ label: '', files: { done: 1, total: null } })).toBeNull();
    expect(fraction({ label: '', files: { done: 0, total: 0 } })).toBeNull();
  });

  it('shows percent, files, speed and time left in one line that fits', () => {
    const speed = new Speed();
    speed.add(0, 0);
    speed.add(1000, 10_000_000);
    const line = progressLine(
      { label: 'fill', files: { done: 1000, total: 5000 }, bytes: { done: 10_000_000, total: 40_000_000 } },
      speed,
      120,
    );
    expect(line).toContain(' 25%  1,000/5,000 files  10.0 MB  10.0 MB/s  3.0 s left');
    expect(line).toContain('▕███');
    expect(progressLine({ label: 'fill', files: { done: 1000, total: 5000 } }, speed, 40).length).toBeLessThanOrEqual(40);
    expect(progressLine({ label: 'fill', files: { done: 7, total: null } }, new Speed(), 80)).toBe('fill  7 files');
  });

  it('smooths the speed and forgets a restart', () => {
    const speed = new Speed();
    for (let s = 0; s <= 60; s++) speed.add(s * 1000, s * 1000 + (s % 2) * 500);
    expect(speed.perSecond).toBeGreaterThan(900);
    expect(speed.perSecond).toBeLessThan(1100);
    speed.add(61_000, 0);
    expect(speed.perSecond).toBeGreaterThan(900);
    expect(speed.left(0, null)).toBeNull();
  });

  it('redraws on a terminal and prints now and then elsewhere', () => {
    let now = 0;
    const tty = recordingTerminal({ isTTY: true });
    const drawn = new ProgressReporter(tty, () => now);
    const plain = recordingTerminal();
    const printed = new ProgressReporter(plain, () => now);
    for (; now < 12_000; now += 50) {
      for (const reporter of [drawn, printed]) reporter.show({ label: 'fill', files: { done: now, total: 20_000 } });
    }
    drawn.end(false);
    expect(tty.out.length).toBe(121);
    expect(tty.out.at(-1)).toBe('\r\u001b[K');
    expect(plain.out).toEqual([]);
    expect(plain.err).toEqual([
      'fill 0%  0/20,000 files\n',
      'fill 25%  5,000/20,000 files  15 s left\n',
      'fill 50%  10,000/20,000 files  10 s left\n',
    ]);
  });
});

describe('status text', () => {
  const now = Date.parse('2026-01-02T03:04:05.000Z');
  const text = (status = sampleStatus()) => statusText(status, paintFor(false, {}), now, 100);

  it('reads as a whole', () => {
    expect(text()).toBe(
      [
        'mail-a  primary, active, epoch 3  at 2026-01-02T03:04:05.000Z',
        '  verdict       all is well',
        '  peer          mail-b  connected, standby, epoch 3, 10.0.0.2:7420, heard 500 ms ago',
        '  phase         streaming',
        '  lag           250 ms, 2 changes, 4.1 kB',
        '  possible loss 250 ms, 2 changes, 2 messages of 4.1 kB in 1 mailbox',
        '  unproven      none',
        '  last verify   clean, 3 h 4 min ago',
        '  scrub         nothing found damaged, 25 % of a pass, not all of it was read yet',
        '  watcher       fanotify, 1 watch',
        '  root          mail  /var/vmail (maildir): 5,000 files, 52.4 MB, 10.7 GB free',
      ].join('\n'),
    );
  });

  it('shows what waits in the queues of both nodes, and where nobody delivers it', () => {
    const base = sampleStatus();
    const queue = { mta: 'postfix', messages: 42, more: false, at: base.at, why: '', oldestAt: '2026-01-02T02:04:05.000Z' };
    const other = { ...queue, node: 'mail-b', messages: 0, oldestAt: null };
    const lines = (change: object) =>
      text({ ...base, ...change })
        .split('\n')
        .filter((line) => line.includes('mail queue'));
    expect(lines({ queues: [{ ...queue, node: 'mail-a' }, other] })).toEqual([
      '  mail queue    42 messages wait in the queue of mail-a, which is not replicated, the oldest came 1 h ago  counted just now',
      '  mail queue    no messages wait in the queue of mail-b  counted just now',
    ]);
    expect(lines({ active: false, queues: [{ ...queue, node: 'mail-a' }, other] })[0]).toContain(
      '; nobody delivers them, as this node is not active',
    );
    expect(
      lines({
        active: false,
        queues: [
          { ...queue, node: 'mail-a', messages: 0 },
          { ...queue, node: 'mail-b' },
        ],
      }).join(),
    ).not.toContain('nobody');
  });

  it('shows trouble with its remedy', () => {
    const base = sampleStatus();
    const shown = text({
      ...base,
      peer: { ...base.peer, connected: false, lastError: 'wrong\u001b[2J pair', clockSkewSeconds: -90 },
      replication: {
        ...base.replication,
        phase: 'initial',
        lagSeconds: null,
        lagChanges: null,
        lagBytes: null,
        unproven: Array.from({ length: 7 }, (_, i) => ({ root: 'mail', path: `d${i}`, reason: 'overflow' })),
        fill: { filesDone: 50, filesTotal: 100, bytesDone: 500, bytesTotal: 1000 },
        held: { code: 'mass-delete', detail: '900 of 1,000 files' },
      },
      possibleLoss: { seconds: null, changes: null, mailboxes: null, messages: null, bytes: null, complete: true },
      lastVerify: { at: base.at, result: 'different', deep: true, differences: 3, leftOut: 0 },
      leftOut: [
        {
          reason: 'special',
          text: 'socket, fifo or device',
          count: 2,
          kept: 0,
          unexpected: 0,
          examples: ['mail/s'],
          since: base.at,
          places: [],
        },
      ],
      warnings: [{ code: 'clock-skew', text: 'clocks differ', remedy: 'start NTP' }],
    });
    for (const part of [
      'not connected, standby',
      'its clock is 1 min 30 s behind (wrong\\x1b[2J pair)',
      'initial fill',
      ' 50%  50/100 files',
      'held          mass-delete: 900 of 1,000 files',
      'lag           unknown',
      'possible loss unknown',
      '7 places',
      'and 2 more',
      '3 differences, just now, deep',
      'left out      2 × socket',
      'warning       clock-skew: clocks differ\n                what to do: start NTP',
    ])
      expect(shown).toContain(part);
  });

  it('names the releases where they differ, and only then', () => {
    const base = sampleStatus();
    const peer = { ...base.peer, agentVersion: base.agentVersion, mailServer: 'dovecot 2.3.21' };
    const of = (change: Partial<Status['peer']>) => text({ ...base, mailServer: 'dovecot 2.3.21', peer: { ...peer, ...change } });
    expect(of({ agentVersion: '9.9.9' })).toContain(`versions      mailtwin ${base.agentVersion} here, 9.9.9 there\n`);
    expect(of({ mailServer: 'dovecot 2.3.19' })).toContain('versions      mail server dovecot 2.3.21 here, dovecot 2.3.19 there\n');
    expect(of({})).not.toContain('versions');
    expect(of({ agentVersion: null, mailServer: null })).not.toContain('versions');
  });

  it('says none only when nothing is behind, and unpaired when there is no peer', () => {
    const base = sampleStatus();
    const shown = text({
      ...base,
      peer: { ...base.peer, node: null },
      replication: { ...base.replication, phase: 'unpaired', lagSeconds: 0, lagChanges: 0, lagBytes: 0 },
      lastVerify: null,
    });
    expect(shown).toContain('lag           none');
    expect(shown).toContain('peer          none yet');
    expect(shown).toContain('last verify   never');
  });

  it('colours only a terminal without NO_COLOR', () => {
    expect(paintFor(true, {}).bad('x')).toBe('\u001b[31mx\u001b[0m');
    for (const paint of [paintFor(false, {}), paintFor(true, { NO_COLOR: '1' }), paintFor(true, { TERM: 'dumb' })])
      expect(paint.bad('x')).toBe('x');
    expect(paintFor(true, { NO_COLOR: '' }).bad('x')).not.toBe('x');
  });

  it('cuts a line without breaking its colours', () => {
    expect(cut('\u001b[31mabcdef\u001b[0m', 4)).toBe('\u001b[31mabc\u001b[0m');
  });
});

describe('demo', () => {
  it('takes quantiles by nearest rank', () => {
    const values = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect(quantile(values, 0.5)).toBe(50);
    expect(quantile(values, 0.99)).toBe(99);
    expect(quantile(values, 1)).toBe(100);
    expect(quantile([], 0.5)).toBeNull();
  });

  it('sees every kind of difference between two trees, and none in what is left out', () => {
    const dir = mkdtempSync(join(tmpdir(), 'mailtwin-trees-'));
    try {
      for (const side of ['a', 'b']) {
        mkdirSync(join(dir, side, 'cur'), { recursive: true });
        for (const name of ['same', 'content', 'mtime']) {
          writeFileSync(join(dir, side, 'cur', name), name === 'content' ? side : name);
          utimesSync(join(dir, side, 'cur', name), 1, name === 'mtime' && side === 'b' ? 2 : 1);
        }
        symlinkSync(side, join(dir, side, 'link'));
      }
      writeFileSync(join(dir, 'a', 'only'), '');
      writeFileSync(join(dir, 'b', 'more'), '');
      writeFileSync(join(dir, 'a', 'dovecot-uidlist.lock'), '');
      mkdirSync(join(dir, 'b', 'tmp'));
      const found = treeDifferences(join(dir, 'a'), join(dir, 'b')).map((line) => line.replaceAll(`${dir}/`, ''));
      expect(found.sort()).toEqual([
        'content differs: a/cur/content',
        'link differs: a/link',
        'missing on the standby: a/only',
        'mtime differs: a/cur/mtime',
        'only on the standby: b/more',
      ]);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
