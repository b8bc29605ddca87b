import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { AgentPair } from '../lab/agents.ts';
import { Prometheus } from '../lab/prometheus.ts';
import { freePort } from '../lab/small-pair.ts';
import { waitFor } from '../lab/waiting.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-monitoring-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const deploy = (path: string) => readFileSync(fileURLToPath(new URL(`../../deploy/${path}`, import.meta.url)), 'utf8');
const waitMs = 90_000;

/** Queries of the dashboard as Grafana sends them when everything is chosen. */
function dashboardQueries(): string[] {
  const { panels } = JSON.parse(deploy('grafana/mailtwin.json')) as { panels: { targets?: { expr: string }[] }[] };
  return panels.flatMap(({ targets = [] }) =>
    targets.map(({ expr }) => expr.replaceAll('$pair_name', '.*').replaceAll('$instance', '.*').replaceAll('$__rate_interval', '15s')),
  );
}

test('a real Prometheus scrapes a real pair by TLS and password, every query of the dashboard has data, and alerts fire and resolve', async () => {
  const secret = join(dir, 'secret');
  writeFileSync(secret, 'scrape-me\n', { mode: 0o600 });
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  const made = spawnSync('openssl', [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    key,
    '-out',
    cert,
    '-days',
    '90',
    '-subj',
    '/CN=localhost',
    '-addext',
    'subjectAltName=IP:127.0.0.1',
  ]);
  expect(made.status, String(made.stderr)).toBe(0);
  const ports = { a: await freePort(), b: await freePort() };
  const dovecot = join(dir, 'dovecot.conf');
  writeFileSync(dovecot, `ssl = required\nssl_cert = <${cert}\nssl_key = <${key}\n`);
  const power = join(dir, 'power');
  writeFileSync(power, '#!/bin/sh\n[ -e "$0.dead" ] && exit 1\nexit 0\n', { mode: 0o755 });
  const options = (node: 'a' | 'b') => {
    const own = join(dir, node);
    const metrics = `metrics: { listen: "127.0.0.1:${ports[node]}", tls: { cert: ${cert}, key: ${key} }, auth: { user: prom, passwordFile: ${secret} } }`;
    const gate = join(own, 'gate/active');
    const always = (code: number) => JSON.stringify(['/bin/sh', '-c', `exit ${code}`]);
    // Services that are there when the gate is open; a service address of loopback's own network would need privilege.
    const queue = join(own, 'queue');
    mkdirSync(join(queue, 'deferred'), { recursive: true });
    const services = `services:\n  gate: ${gate}\n  configCheck: [doveconf, -n, -c, ${dovecot}]\n  queue: { postfix: ${queue} }\n  commands: { start: ${always(0)}, stop: ${always(0)}, status: ["/bin/sh", "-c", "[ -e ${gate} ] || exit 3"] }\n`;
    const fencing = `fencing: [{ type: command, off: [${power}], status: [${power}], timeoutSeconds: 5 }]\n`;
    return {
      node: `mail-${node}`,
      dir: own,
      roots: [{ name: 'mail', path: join(own, 'mail'), format: 'plain' as const }],
      config: [['metrics: off', `${metrics}\n${services}${fencing}takeover: { startAloneSeconds: 5 }`]] as const,
    };
  };
  mkdirSync(join(dir, 'a/mail'), { recursive: true });
  for (let i = 0; i < 1500; i++) writeFileSync(join(dir, 'a/mail', `file-${i}`), `${i}\n`);
  const pair = await AgentPair.create({ primary: options('a'), standby: options('b') });
  await using _ = pair;
  await pair.standby.start();
  await pair.filled(waitMs);
  await pair.wait();
  expect(await pair.verify(false)).toEqual([]);

  const scrape = (headers: Record<string, string>) =>
    spawnSync(
      'curl',
      [
        '-s',
        '--cacert',
        cert,
        ...Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]),
        `https://127.0.0.1:${ports.a}/metrics`,
      ],
      { encoding: 'utf8' },
    );
  expect(scrape({}).stdout).toContain('user and password');
  expect(scrape({ authorization: `Basic ${Buffer.from('prom:wrong').toString('base64')}` }).stdout).toContain('user and password');
  const text = scrape({ authorization: `Basic ${Buffer.from('prom:scrape-me').toString('base64')}` }).stdout;
  expect(text).toContain('mailtwin_active');
  const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  expect([checked.status, checked.stderr + checked.stdout]).toEqual([0, '']);

  // The shipped rules with their waiting times cut short, and the shipped scrape configuration with these targets.
  mkdirSync(join(dir, 'prom'), { recursive: true });
  writeFileSync(join(dir, 'prom/rules.yml'), deploy('prometheus/rules.yml').replaceAll(/for: \d+[smh]/g, 'for: 0s'));
  const config = deploy('prometheus/scrape.yml')
    .replaceAll(/_interval: 15s/g, '_interval: 1s')
    .replace('targets: [127.0.0.1:9720, 127.0.0.1:9721]', `targets: ["127.0.0.1:${ports.a}", "127.0.0.1:${ports.b}"]`)
    .replace('# scheme: https', 'scheme: https')
    .replace(/# tls_config: .*/, `tls_config: { ca_file: ${cert} }`)
    .replace(/# basic_auth: .*/, `basic_auth: { username: prom, password_file: ${secret} }`);
  await using prometheus = await Prometheus.start(join(dir, 'prom'), config);
  for (let i = 0; i < 20; i++) writeFileSync(join(dir, 'a/mail', `more-${i}`), `${i}\n`);
  await pair.wait();
  // A pair without network roles has none of these.
  const absent = /service_addresses_held|network_alarms/;
  // Nor has a pair that is well a warning.
  const warnings = dashboardQueries().filter((expr) => expr.includes('mailtwin_warnings'));
  for (const query of dashboardQueries().filter((expr) => !absent.test(expr) && !warnings.includes(expr)))
    await waitFor(`data for ${query}`, waitMs, async () => (await prometheus.query(query)).length > 0);
  const firing = (name: string, wanted: boolean) =>
    waitFor(`${name} ${wanted ? 'to fire' : 'to resolve'}`, waitMs, async () => (await prometheus.firing()).includes(name) === wanted);
  // The services are looked at every 15 s. That a busy machine makes an agent stand still is told after ten minutes, and here at once.
  await waitFor('a quiet pair', waitMs, async () => (await prometheus.firing()).every((name) => name === 'MailtwinStandsStill'));

  await pair.standby.stop();
  await firing('MailtwinPeerLost', true);
  await firing('MailtwinScrapeStale', true);
  for (const query of warnings) await waitFor(`data for ${query}`, waitMs, async () => (await prometheus.query(query)).length > 0);
  await pair.standby.start();
  await firing('MailtwinPeerLost', false);
  await firing('MailtwinScrapeStale', false);

  writeFileSync(`${power}.dead`, '');
  await pair.primary.cli(['fence', 'test'], { mayFail: true });
  await firing('MailtwinFencePathDead', true);
  rmSync(`${power}.dead`);
  await pair.primary.cli(['fence', 'test'], { mayFail: true });
  await firing('MailtwinFencePathDead', false);

  await pair.wait();
  for (let i = 0; i < 1500; i++) rmSync(join(dir, 'a/mail', `file-${i}`));
  await firing('MailtwinMassDeletionHeld', true);
  await pair.primary.cli(['allow-delete', '--all']);
  await firing('MailtwinMassDeletionHeld', false);
});
