import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { startObserveServer, type ObserveServer } from '../../agent/observe/http.ts';
import { createMetrics } from '../../agent/observe/metrics.ts';
import { pageRoutes } from '../../agent/observe/page.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { DoctorFinding, Status } from '../../protocol/control.ts';
import { Browser } from '../lab/browser.ts';
import { AgentPair } from '../lab/agents.ts';
import { freePort } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';
import { sampleStatus } from '../unit/control-fixture.ts';

/** MAILTWIN_SCREENSHOTS keeps what was seen. */
const shots = process.env['MAILTWIN_SCREENSHOTS'] ?? null;
const dir = mkdtempSync(join(tmpdir(), 'mailtwin-page-'));
const closers: ObserveServer[] = [];
afterAll(async () => {
  for (const server of closers) await server.close();
  rmSync(dir, { recursive: true, force: true });
});
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

async function serve(status: () => Status, findings: () => DoctorFinding[]): Promise<string> {
  let ms = 0;
  const guards = [
    { guard: 'fence-path', level: 'pass', summary: 'a level can read the power', evidence: 'fence_ipmilan reads on', remedy: '' },
    {
      guard: 'last-verify',
      level: 'warn',
      summary: 'it was never verified',
      evidence: 'no verification',
      remedy: 'run `mailtwin verify` on the primary',
    },
    {
      guard: 'peer-state',
      level: 'fail',
      summary: '<img src=x onerror=alert(1)>',
      evidence: 'heard 1 s ago',
      remedy: 'use `mailtwin switchover`',
    },
  ];
  const server = await startObserveServer({
    listen: { host: '127.0.0.1', port: 0 },
    metrics: createMetrics({ status, wallMs: Date.now, processMetrics: false }),
    status,
    routes: pageRoutes({
      status,
      events: () => [
        { level: 'bad', code: 'peer', at: '2026-01-02T03:04:05.000Z', text: 'the peer <i>is gone</i>', remedy: 'look at it' },
        { level: 'info', code: 'role', at: '2026-01-02T03:04:00.000Z', text: 'this node is primary', remedy: '' },
      ],
      plan: async () => ({ guards, steps: [{ title: 'make sure that mail-a is off' }] }),
      doctor: async () => ({ at: '2026-01-02T03:04:05.000Z', findings: findings() }),
      // Nothing is too young to be made anew.
      monotonicMs: () => (ms += 100_000),
    }),
    log: silentLog,
  });
  closers.push(server);
  return `http://127.0.0.1:${server.port}`;
}

const appliance: Status['appliance'] = {
  services: { state: 'running', at: '2026-01-02T03:04:05.000Z' },
  addresses: { configured: 1, held: ['192.0.2.10'], at: '2026-01-02T03:04:05.000Z' },
  nics: [
    { role: 'lan', port: 'eth0', carrier: true },
    { role: 'dmz', port: 'eth1', carrier: false },
  ],
  fencing: [
    {
      level: 1,
      type: 'agent',
      name: 'fence_ipmilan 192.0.2.9',
      state: 'on',
      evidence: 'Status: ON',
      at: '2026-01-02T03:04:05.000Z',
      error: null,
    },
  ],
  alarms: [],
  takeover: { running: false, unfinished: null },
};
const well = () => sampleStatus({ at: new Date().toISOString(), appliance });
const ill = () =>
  sampleStatus({
    at: new Date().toISOString(),
    appliance,
    peer: { ...sampleStatus().peer, connected: false },
    warnings: [
      {
        code: 'peer-lost',
        text: 'the peer is not connected: <b>connect ECONNREFUSED</b>',
        remedy: 'see whether the other node runs and answers',
      },
    ],
    queues: [{ node: 'mail-b', mta: 'postfix', messages: 42, more: true, oldestAt: null, at: '2026-01-02T03:04:05.000Z', why: '' }],
    replication: {
      ...sampleStatus().replication,
      unproven: [{ root: 'mail', path: '<script>alert(1)</script>', reason: 'cannot be read' }],
      lagging: [{ root: 'mail', path: '<b>hot</b>.db', seconds: 400, reason: 'it is written all the time' }],
      laggingCount: 3,
    },
  });

const passed: DoctorFinding = { id: 'config', level: 'pass', summary: 'the configuration is well', evidence: '', remedy: '' };
const wrong: DoctorFinding[] = [
  passed,
  {
    id: 'verify',
    level: 'warn',
    summary: 'it was never verified that both nodes hold the same',
    evidence: '',
    remedy: 'run `mailtwin verify`',
  },
  {
    id: 'secrets',
    level: 'fail',
    summary: 'every user can reach a file of secrets: `services.imap.passwordFile`',
    evidence: '/etc/mailtwin/<b>probe</b>.secret has mode 0644, owner 0, group 0',
    remedy: 'chmod 600 /etc/mailtwin/probe.secret, and change the secret if others could have read it',
  },
];

test('the status page in a real browser: desktop and phone, light and dark, German and English, no complaint, readable, by keyboard alone', async () => {
  let status = well;
  const url = await serve(
    () => status(),
    () => (status === ill ? wrong : [passed]),
  );
  for (const language of ['en', 'de'] as const) {
    await using browser = await Browser.start(language === 'de' ? 'de-DE' : 'en-US');
    for (const [what, width, height, isDark, path, isIll] of [
      ['desktop', 1280, 900, false, '/', false],
      ['phone', 390, 844, false, '/', false],
      ['phone-dark', 390, 844, true, '/', true],
      ['desktop-dark', 1280, 900, true, '/', true],
      ['checklist', 1280, 900, false, '/checklist', false],
      ['checklist-phone', 390, 844, false, '/checklist', false],
    ] as const) {
      status = isIll ? ill : well;
      await browser.look(width, height, isDark);
      await browser.open(`${url}${path}`);
      expect(await browser.evaluate('document.documentElement.lang')).toBe(language);
      const isDe = language === 'de';
      const examined = isIll ? '<b>probe</b>' : isDe ? 'Es wurde kein Fehler gefunden.' : 'No fault was found.';
      const text = await waitFor('the examination', 60_000, async () => {
        const shown = await browser.evaluate<string>('document.body.innerText');
        return path === '/checklist' || shown.includes(examined) ? shown : undefined;
      });
      if (path === '/') expect(text).toContain(isDe ? 'Prüfung der Einrichtung' : 'Check of the set-up');
      if (isIll) {
        // The failure comes first, with what was seen and what to do, in the agent's words.
        expect(text).toMatch(
          isDe
            ? /nicht bestanden: every user[^]*Beleg: \/etc[^]*Was zu tun ist: chmod 600[^]*Warnung: it was never/
            : /failed: every user[^]*Evidence: \/etc[^]*What to do: chmod 600[^]*warning: it was never/,
        );
        expect(text).not.toContain('the configuration is well');
      }
      if (path === '/') expect(text).toContain(language === 'de' ? 'Was jetzt zu tun ist' : 'What to do next');
      // What comes from outside is text, and nothing is wider than the window.
      if (path === '/') expect(text).toContain('the peer <i>is gone</i>: look at it');
      if (isIll) expect(text).toContain('<b>connect ECONNREFUSED</b>');
      if (isIll) expect(text).toMatch(isDe ? /Im Rückstand \(3\)[^]*<b>hot<\/b>\.db/i : /Lagging behind \(3\)[^]*<b>hot<\/b>\.db/i);
      if (isIll)
        expect(text).toMatch(
          isDe
            ? /Mail-Queue von mail-b\s+mindestens 42 .*nicht repliziert/i
            : /Mail queue of mail-b\s+at least 42 messages, not replicated/i,
        );
      expect(await browser.evaluate('document.querySelectorAll("main img, main script, main b").length')).toBe(0);
      expect(await browser.evaluate<number>('document.documentElement.scrollWidth - window.innerWidth'), what).toBeLessThanOrEqual(0);
      await browser.evaluate(axe);
      const { violations } = await browser.evaluate<{ violations: { id: string; nodes: { html: string }[] }[] }>('axe.run()');
      expect(violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes[0]?.html}`)).toEqual([]);
      if (shots !== null) {
        mkdirSync(shots, { recursive: true });
        writeFileSync(join(shots, `${what}-${language}.png`), await browser.screenshot());
      }
    }
    // By keyboard: the first stop is the way past the navigation, and each stop can be seen.
    await browser.open(`${url}/`);
    const stops: string[] = [];
    for (let i = 0; i < 3; i++) {
      await browser.key('Tab', 9);
      stops.push(await browser.evaluate<string>('document.activeElement.getAttribute("href")'));
      expect(await browser.evaluate<string>('getComputedStyle(document.activeElement).outlineStyle')).toBe('solid');
    }
    expect(stops).toEqual(['#main', './', 'checklist']);
    await browser.key('Enter', 13);
    await waitFor('the checklist', 60_000, () =>
      browser.evaluate<boolean>('location.pathname === "/checklist" && document.querySelectorAll("table tbody tr").length === 3'),
    );
    expect(browser.complaints()).toEqual([]);
  }
});

test('the page of a real standby follows what happens, and is served to nobody without a password on a LAN', async () => {
  const ports = { a: await freePort(), b: await freePort() };
  const options = (node: 'a' | 'b', host: string) => ({
    node: `mail-${node}`,
    dir: join(dir, node),
    roots: [{ name: 'mail', path: join(dir, node, 'mail'), format: 'plain' as const }],
    config: [['metrics: off', `metrics: "${host}:${ports[node]}"\nfencing: [{ type: manual }]`]] as const,
  });
  mkdirSync(join(dir, 'a/mail'), { recursive: true });
  writeFileSync(join(dir, 'a/mail/file'), 'x\n');
  const jump = new URL('../fixtures/later/jump.mjs', import.meta.url).href;
  const environment = { ...process.env, NODE_OPTIONS: `--import=${jump}`, JUMP_MS: '61000' };
  const pair = await AgentPair.create({ primary: options('a', '0.0.0.0'), standby: { ...options('b', '127.0.0.1'), environment } });
  await using _ = pair;
  await pair.standby.start();
  await pair.filled(60_000);
  expect((await fetch(`http://127.0.0.1:${ports.a}/`)).status).toBe(404);
  expect((await fetch(`http://127.0.0.1:${ports.a}/metrics`)).status).toBe(200);
  await using browser = await Browser.start('en-US');
  await browser.open(`http://127.0.0.1:${ports.b}/`);
  const shows = (text: string) =>
    waitFor(`the page to show ${text}`, 60_000, async () => (await browser.evaluate<string>('document.body.innerText')).includes(text));
  await shows('mail-a');
  await shows('streaming');
  await shows('only a person can prove that a dead node is off');
  expect(await browser.evaluate<string>('document.body.innerText')).not.toContain('other users can read the key');
  const key = join(pair.standby.stateDir, 'node.key');
  chmodSync(key, 0o644);
  // The agent looks once a minute, and a minute has passed by its clock; the page asks by itself.
  process.kill(pair.standby.pid, 'SIGUSR2');
  await waitFor('the connection, after a silence as it seems', 60_000, async () => (await pair.standby.status()).peer.connected);
  await waitFor('the page to show the fault', 60_000, async () =>
    (await browser.evaluate<string>('document.body.innerText')).includes(`chmod 600 ${key}`),
  );
  expect(await browser.evaluate<string>('document.getElementById("verdict").className')).not.toBe('good');
  chmodSync(key, 0o600);
  await pair.primary.kill9();
  await shows('The other node is not heard');
  await browser.open(`http://127.0.0.1:${ports.b}/checklist`);
  await shows('peer-state');
  expect(browser.complaints()).toEqual([]);
});
