import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { parseConfig } from '../../agent/config/load.ts';
import { digestOf, firstDay, isDigestDue } from '../../agent/observe/notices/digest.ts';
import { letterText } from '../../agent/observe/notices/letter-text.ts';
import { Outbox, outboxLimits, type Drawer, type Letter, type Way } from '../../agent/observe/notices/outbox.ts';
import type { Notice } from '../../agent/observe/notices/notice.ts';
import { look, nothingPending, type Memory, type Reading } from '../../agent/observe/notices/watch.ts';
import { tryMailServer, waysOf } from '../../agent/observe/notices/ways.ts';
import { systemClock, type Clock } from '../../agent/platform/clock.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import type { Status } from '../../protocol/control.ts';
import { HookReceiver, MailReceiver } from '../lab/mail-receiver.ts';
import { waitFor } from '../lab/waiting.ts';
import { sampleStatus } from './control-fixture.ts';

const base = `node: mail-a
role: primary
state: /var/lib/mailtwin
roots: [{ name: mail, path: /var/vmail, format: maildir }]
network: { roles: [{ name: lan, addresses: [192.0.2.10/24], gateways: [192.0.2.1] }] }
`;
const load = (notices: string) => parseConfig('m.yaml', `${base}notices: ${notices}\n`, (path) => path);
const mail = (more: string) => `{ smtp: { host: smtp.example.net, from: a@example.net, to: [b@example.net]${more} } }`;

/** Seconds pass in milliseconds. */
const fastClock: Clock = { ...systemClock, after: (ms, fn) => systemClock.after(ms / 1000, fn) };

function memoryDrawer(text: string | null = null): Drawer & { text: string | null } {
  const drawer = {
    text,
    read: () => drawer.text,
    write: (next: string) => void (drawer.text = next),
  };
  return drawer;
}

const notice = (text: string, level: Notice['level'] = 'warn'): Notice => ({
  level,
  code: 'disk',
  at: '2026-01-02T03:04:05.000Z',
  text,
  remedy: 'make room',
});

describe('the section notices', () => {
  it('has defaults, and takes its port from how TLS begins', () => {
    const { notices } = load(mail(''));
    expect(notices).toMatchObject({
      digestMinute: 420,
      graceSeconds: 60,
      webhook: null,
      smtp: { port: 587, tls: 'starttls', login: null },
    });
    expect(load(mail(', tls: implicit')).notices?.smtp?.port).toBe(465);
    expect(load('{ webhook: { url: "https://h.example/x" }, digest: off }').notices?.digestMinute).toBeNull();
  });

  it.each(['127.0.0.1', '127.8.8.8', 'localhost', '"::1"', '192.0.2.10'])(
    'refuses %s as a mail server: it is the one that is replicated',
    (host) => {
      const text = mail('').replace('smtp.example.net', host);
      expect(() => load(text)).toThrow(/notices.smtp.host: .* would go through that mail server/);
      expect(load(text.replace('from:', 'evenThroughThisHost: true, from:')).notices?.smtp?.evenThroughThisHost).toBe(true);
    },
  );

  it.each([
    ['{}', /names no way/],
    [mail(', tls: ssl'), /not one of/],
    [mail('').replace('b@example.net', '"b@example.net, c@d"'), /not a mail address/],
    ['{ webhook: { url: "ftp://x/" } }', /not a URL/],
    ['{ webhook: { url: "https://u:p@x/" } }', /secretFile/],
    ['{ webhook: { url: "https://x/" }, digest: "7 o\'clock" }', /time of day/],
  ])('refuses %s', (text, why) => {
    expect(() => load(text)).toThrow(why);
  });

  it('refuses a name that means this host when a letter is to go', async () => {
    await using receiver = await MailReceiver.start();
    const { smtp } = load(mail('').replace('smtp.example.net', 'mail-of-this-host')).notices!;
    await expect(
      tryMailServer({ ...smtp!, host: 'localhost', port: receiver.port }, { files: realFiles, serviceAddresses: [] }),
    ).rejects.toMatchObject({ code: 'notices-through-self' });
    expect(receiver.connections).toBe(0);
  });
});

describe('what changed', () => {
  const reading = (change: Partial<Status> = {}, more: Partial<Reading> = {}): Reading => ({
    status: sampleStatus({ warnings: [], ...change }),
    fence: null,
    takeover: null,
    alarms: [],
    ...more,
  });
  const options = { graceMs: 60_000, freeBytesMin: 1 };
  const play = (readings: [number, Reading][], memory: Memory | null = null) => {
    let state = { memory, pending: nothingPending };
    return readings.map(([seconds, each]) => {
      const next = look(state.memory, state.pending, each, { ...options, nowMs: seconds * 1000 });
      state = next;
      return next.notices.map(({ level, code }) => `${level} ${code}`);
    });
  };
  const lost = { warnings: [{ code: 'peer-lost', text: 'the peer is not connected', remedy: 'look' }] };

  it('says nothing when an agent begins, and tells a role that changed at once', () => {
    expect(
      play([
        [0, reading()],
        [2, reading()],
        [4, reading({ role: 'standby', active: false })],
        [6, reading({ role: 'fenced', active: false })],
        [64, reading({ role: 'fenced', active: false })],
      ]),
    ).toEqual([[], [], ['info role'], ['bad role'], ['warn active']]);
  });

  it('tells a lost peer after the grace, once, and its return', () => {
    expect(
      play([
        [0, reading()],
        [10, reading(lost)],
        [60, reading(lost)],
        [70, reading(lost)],
        [500, reading(lost)],
        [510, reading()],
        [571, reading()],
        [600, reading()],
      ]),
    ).toEqual([[], [], [], ['warn peer-lost'], [], [], ['good peer-lost'], []]);
  });

  it('says nothing of a peer that is away for less than the grace, and one notice for a line that flaps', () => {
    const flaps = Array.from({ length: 40 }, (_, i): [number, Reading] => [i * 20, reading(i % 2 ? lost : {})]);
    expect(play(flaps).flat()).toEqual([]);
    const told: [number, Reading][] = [
      [0, reading()],
      [1, reading(lost)],
      [62, reading(lost)],
      ...flaps.map(([s, r]): [number, Reading] => [100 + s, r]),
    ];
    expect(play(told).flat()).toEqual(['warn peer-lost']);
  });

  it('does not tell again after a restart what was told before', () => {
    const first = look(null, nothingPending, reading(lost), { ...options, nowMs: 0 });
    const told = look(first.memory, first.pending, reading(lost), { ...options, nowMs: 60_000 });
    expect(told.notices).toHaveLength(1);
    const kept = JSON.parse(JSON.stringify(told.memory)) as Memory;
    expect(
      play(
        [
          [0, reading(lost)],
          [1000, reading(lost)],
        ],
        kept,
      ).flat(),
    ).toEqual([]);
  });

  it('tells a held deletion, differences, a dead fence path, a full disk and a takeover', () => {
    const held = { warnings: [{ code: 'mass-delete', text: 'held', remedy: 'allow-delete' }] };
    const roots = [{ name: 'mail', path: '/m', format: 'maildir', files: 1, bytes: 1, freeBytes: 1, missing: 0 }];
    const bad = reading(
      { ...held, roots, lastVerify: { at: '2026-01-03T00:00:00.000Z', result: 'different', deep: true, differences: 3, leftOut: 0 } },
      {
        fence: { broken: 1, total: 1, detail: 'BMC: silent' },
        takeover: { id: 't1', kind: 'failover', outcome: 'done', summary: 'serves' },
      },
    );
    expect(
      play([
        [0, reading()],
        [1, bad],
        [61, bad],
      ]),
    ).toEqual([[], ['good takeover', 'bad verify'], ['bad mass-delete', 'bad fence-path', 'warn disk']]);
  });
});

describe('the daily digest', () => {
  it('is due once a day, at its time or as soon after it as the agent runs', () => {
    expect(isDigestDue('2026-01-01', { day: '2026-01-02', minute: 419 }, 420)).toBe(false);
    expect(isDigestDue('2026-01-01', { day: '2026-01-02', minute: 420 }, 420)).toBe(true);
    expect(isDigestDue('2026-01-02', { day: '2026-01-02', minute: 900 }, 420)).toBe(false);
    expect(isDigestDue('2026-01-01', { day: '2026-01-05', minute: 900 }, 420)).toBe(true);
    expect(isDigestDue(null, { day: '2026-01-02', minute: 900 }, 420)).toBe(false);
    expect(isDigestDue(firstDay({ day: '2026-01-02', minute: 10 }, 420), { day: '2026-01-02', minute: 420 }, 420)).toBe(true);
    expect(isDigestDue(firstDay({ day: '2026-01-02', minute: 500 }, 420), { day: '2026-01-02', minute: 501 }, 420)).toBe(false);
  });

  it.each([
    // Europe/Berlin: on 2026-03-29 there is no 02:30, on 2026-10-25 there are two.
    ['2026-03-28T20:00:00Z', '2026-03-29T20:00:00Z', 1],
    ['2026-10-24T20:00:00Z', '2026-10-25T20:00:00Z', 1],
    ['2026-03-27T20:00:00Z', '2026-03-31T20:00:00Z', 4],
  ])('comes once for each day between %s and %s also when clocks change', (from, to, times) => {
    const berlin = new Intl.DateTimeFormat('sv-SE', { timeZone: 'Europe/Berlin', dateStyle: 'short', timeStyle: 'short' });
    let last = '2026-01-01';
    let sent = 0;
    let first = true;
    for (let at = Date.parse(from); at < Date.parse(to); at += 600_000) {
      const [day = '', time = ''] = berlin.format(at).split(' ');
      if (first) last = day;
      first = false;
      const [hours = 0, minutes = 0] = time.split(':').map(Number);
      if (!isDigestDue(last, { day, minute: hours * 60 + minutes }, 150)) continue;
      last = day;
      sent++;
    }
    expect(sent).toBe(times);
  });

  it('tells roles, lag, verification, disk and services', () => {
    const status = sampleStatus({
      queues: [{ node: 'mail-a', mta: 'postfix', messages: 42, more: false, oldestAt: null, at: sampleStatus().at, why: '' }],
      certificates: [{ name: 'default', file: '/etc/x.pem', names: ['mail.example'], endsAt: '2026-09-03T03:04:05.000Z', problem: null }],
    });
    const { isWell, lines } = digestOf({ status, services: 'running', fence: 'bmc: reads on', findings: null, told: 2 });
    const text = lines.join('\n');
    expect(text).toMatch(/node +mail-a: primary/);
    for (const word of ['lag', 'verify', 'disk', 'services   running', 'fencing    bmc: reads on', 'notices    2'])
      expect(text).toContain(word);
    expect(text).toContain('mail queue 42 messages wait in the queue of mail-a, which is not replicated');
    expect(text).toContain('certificate default: until 2026-09-03');
    expect(isWell).toBe(sampleStatus().warnings.length === 0);
  });
});

describe('a letter', () => {
  it('lets no name begin a line or a header of its own', () => {
    const letter: Letter = {
      kind: 'notices',
      node: 'mail-a',
      leftOut: 3,
      notices: [notice('evil\r\nBcc: x@y\u2028name'), notice('worse', 'bad')],
    };
    const { subject, text } = letterText(letter);
    expect(subject).toBe('[mailtwin mail-a] ACT: worse (and 1 more)');
    expect(text).toContain('evil Bcc: x@y name');
    expect(text).toContain('3 older notices');
  });
});

describe('the outbox', () => {
  const outboxOf = (way: Way, drawer: Drawer) => {
    const outbox = new Outbox({ way, node: 'mail-a', drawer, clock: fastClock, log: silentLog });
    onTestFinished(() => outbox.stop());
    outbox.start();
    return outbox;
  };

  it('tries again until the other side takes it, also after a restart, and sends what gathered as one', async () => {
    const drawer = memoryDrawer();
    const failing: Way = { name: 'smtp', send: () => Promise.reject(new Error('no route')) };
    const first = outboxOf(failing, drawer);
    first.add([notice('one')]);
    await waitFor('a failure', 30_000, () => first.lastError !== null);
    first.add([notice('two')]);
    await first.stop();
    const taken: Letter[] = [];
    const second = outboxOf({ name: 'smtp', send: async (letter) => void taken.push(letter) }, drawer);
    await waitFor('the letter', 30_000, () => second.waiting === 0);
    expect(taken).toMatchObject([{ kind: 'notices', notices: [{ text: 'one' }, { text: 'two' }] }]);
  });

  it('never grows beyond its bound, and says how many gave way (I12)', async () => {
    const drawer = memoryDrawer();
    const outbox = outboxOf({ name: 'webhook', send: () => Promise.reject(new Error('down')) }, drawer);
    for (let i = 0; i < 30; i++) outbox.add(Array.from({ length: 20 }, (_, n) => notice(`${i}.${n}`)));
    expect(outbox.waiting).toBe(outboxLimits.noticesMax);
    expect(JSON.parse(drawer.text ?? '')).toMatchObject({ leftOut: 400 });
    await outbox.stop();
  });

  it('sends a few letters at once and then one a minute, so that a storm is not a storm of letters', async () => {
    const sent: number[] = [];
    const clock: Clock = { ...fastClock, monotonicMs: () => systemClock.monotonicMs() * 1000 };
    const way: Way = { name: 'smtp', send: async () => void sent.push(clock.monotonicMs()) };
    const outbox = new Outbox({ way, node: 'mail-a', drawer: memoryDrawer(), clock, log: silentLog });
    onTestFinished(() => outbox.stop());
    outbox.start();
    for (let i = 0; sent.length < 8; i++) {
      outbox.add([notice(`storm ${i}`)]);
      await systemClock.yield();
    }
    expect(sent[7]! - sent[0]!).toBeGreaterThan(2 * 60_000);
  });

  it('does not lose what comes in while a letter is under way', async () => {
    let release = () => {};
    const sent: string[] = [];
    const way: Way = {
      name: 'smtp',
      async send(letter) {
        if (sent.length === 0) await new Promise<void>((resolve) => (release = resolve));
        sent.push(...(letter.kind === 'notices' ? letter.notices.map(({ text }) => text) : []));
      },
    };
    const outbox = outboxOf(way, memoryDrawer());
    outbox.add([notice('one')]);
    await waitFor('the way', 30_000, () => String(release) !== '() => {}');
    outbox.add([notice('two')]);
    release();
    await waitFor('both', 30_000, () => outbox.waiting === 0);
    expect(sent).toEqual(['one', 'two']);
  });
});

describe('the ways', () => {
  const dir = mkdtempSync(join(tmpdir(), 'mailtwin-ways-'));
  const secret = join(dir, 'secret');
  writeFileSync(secret, 's3cret-word\n', { mode: 0o600 });
  const parts = { files: realFiles, serviceAddresses: [] };
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  it('speaks SMTP with a login', async () => {
    await using receiver = await MailReceiver.start();
    const config = load(
      mail(`, port: ${receiver.port}, tls: none, evenThroughThisHost: true, login: { user: twin, passwordFile: ${secret} }`).replace(
        'smtp.example.net',
        '127.0.0.1',
      ),
    ).notices!;
    const [way] = waysOf(config, parts);
    await way?.send({ kind: 'notices', node: 'mail-a', notices: [notice('the disk is full')], leftOut: 0 }, new AbortController().signal);
    expect(receiver.mails).toHaveLength(1);
    const taken = receiver.mails[0]!;
    expect(taken).toMatchObject({ from: 'a@example.net', to: ['b@example.net'], user: 'twin:s3cret-word' });
    expect(taken.text).toMatch(/^Subject: \[mailtwin mail-a\] WARN: the disk is full$/m);
    expect(taken.text).toMatch(/^Auto-Submitted: auto-generated$/m);
    expect(taken.text).not.toContain('s3cret');
    receiver.refusing = true;
    await expect(way?.send({ kind: 'test', node: 'mail-a', at: '' }, new AbortController().signal)).rejects.toThrow(/421/);
  });

  it('does not speak without TLS where TLS is wanted', async () => {
    await using receiver = await MailReceiver.start();
    const config = load(
      mail(`, port: ${receiver.port}, tls: starttls, evenThroughThisHost: true`).replace('smtp.example.net', '127.0.0.1'),
    ).notices!;
    const [way] = waysOf(config, parts);
    await expect(way?.send({ kind: 'test', node: 'mail-a', at: '' }, new AbortController().signal)).rejects.toThrow();
    expect(receiver.mails).toEqual([]);
  });

  it('posts JSON with the secret in a header, and takes an error for an error', async () => {
    await using receiver = await HookReceiver.start();
    const [way] = waysOf(load(`{ webhook: { url: "${receiver.url}", secretFile: ${secret} } }`).notices!, parts);
    const { signal } = new AbortController();
    await way?.send({ kind: 'notices', node: 'mail-a', notices: [notice('x', 'bad')], leftOut: 0 }, signal);
    expect(receiver.posts[0]).toMatchObject({
      headers: { 'x-mailtwin-secret': 's3cret-word' },
      body: { mailtwin: 1, kind: 'notices', node: 'mail-a', notices: [{ code: 'disk', level: 'bad' }] },
    });
    receiver.status = 500;
    await expect(way?.send({ kind: 'test', node: 'mail-a', at: '' }, signal)).rejects.toThrow(/500/);
  });
});
