import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startControlServer, type ControlServer } from '../../agent/control/server.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { AgentEntry } from '../../protocol/control.ts';
import { runCli } from './cli-fixture.ts';
import { fakeAgent, sampleStatus } from './control-fixture.ts';

let dir: string;
let server: ControlServer | undefined;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'mailtwin-bundle-'))));
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(dir, { recursive: true, force: true });
});

const secrets = ['hook-arg-9', 'url-token-7', 'pdu-arg-5', 'hunter2', 'tok-12345', 's3cr3t-community', 'bmc-pass'];
const names = ['anna', 'Geheimprojekt', '1700000001.M1P1.host'];
const config = `# an old password: hunter2
node: mail-a
fencing:
  - { type: agent, agent: fence_x, options: { ip: 192.0.2.9, password: bmc-pass, community: s3cr3t-community }, secrets: { password: /etc/mailtwin/bmc.secret } }
api_token: tok-12345
pdu: { off: [/usr/local/sbin/pdu, pdu-arg-5], status: [/usr/local/sbin/pdu, pdu-arg-5] }
hooks: { before-fence: [/usr/local/bin/tell, hook-arg-9] }
webhook: { url: https://me:hunter2@hooks.example.net/url-token-7?t=url-token-7 }
`;
const entry: Partial<AgentEntry> = {
  stateDirOf: async () => dir,
  supportFiles: async () => [
    { name: 'versions.txt', text: 'mailtwin 0.1.0\n' },
    { name: 'config.yaml', text: config },
    {
      name: 'log.ndjson',
      text: `{"level":"warn","path":"anna/.Geheimprojekt/cur/1700000001.M1P1.host:2,S","msg":"in doubt"}\nplain: anna/.Geheimprojekt/cur/1700000001.M1P1.host gone, anna@example.test\n`,
    },
    { name: 'audit.ndjson', text: '{"what":"failover","by":{"user":"root"},"password":"hunter2"}\n' },
  ],
  async *doctor() {
    yield { id: 'config', level: 'pass', summary: 'it is well', evidence: '', remedy: '' };
  },
};

function unpack(file: string): Map<string, string> {
  execFileSync('tar', ['xzf', file, '-C', dir]);
  const listed = execFileSync('tar', ['tzf', file], { encoding: 'utf8' }).trim().split('\n');
  return new Map(
    listed.map((path) => [path.replace('mailtwin-support/', ''), execFileSync('cat', [join(dir, path)], { encoding: 'utf8' })]),
  );
}

it('holds what support needs, no secret, and no name of a user or a message', async () => {
  const status = sampleStatus({
    replication: { ...sampleStatus().replication, unproven: [{ root: 'mail', path: 'anna/.Geheimprojekt', reason: 'cannot be read' }] },
  });
  server = await startControlServer({ stateDir: dir, api: fakeAgent({ status: () => status }), log: silentLog });
  const out = join(dir, 'bundle.tar.gz');
  const ran = await runCli(['support-bundle', '--out', out], entry);
  expect([ran.code, ran.err]).toEqual([0, '']);
  const files = unpack(out);
  expect([...files.keys()].toSorted()).toEqual([
    'MANIFEST.txt',
    'audit.ndjson',
    'config.yaml',
    'doctor.json',
    'log.ndjson',
    'metrics.txt',
    'nics.json',
    'status.json',
    'takeover.json',
    'versions.txt',
  ]);
  const all = [...files.values()].join('\n');
  for (const planted of [...secrets, ...names]) expect(all, planted).not.toContain(planted);
  expect(files.get('config.yaml')).toContain('password: /etc/mailtwin/bmc.secret');
  expect(files.get('config.yaml')).toContain('ip: 192.0.2.9');
  expect(files.get('config.yaml')).toContain('url: https://hooks.example.net/[removed]');
  expect(files.get('config.yaml')).toContain('/usr/local/sbin/pdu');
  expect(files.get('log.ndjson')).toMatch(/"path":"#[0-9a-f]{12}"/);
  for (const name of files.keys()) if (name !== 'MANIFEST.txt') expect(files.get('MANIFEST.txt')).toContain(name);
});

it('can leave the names in, and never the secrets', async () => {
  server = await startControlServer({ stateDir: dir, api: fakeAgent(), log: silentLog });
  const out = join(dir, 'bundle.tar.gz');
  expect((await runCli(['support-bundle', '--out', out, '--with-names'], entry)).code).toBe(0);
  const all = [...unpack(out).values()].join('\n');
  for (const name of names) expect(all).toContain(name);
  for (const secret of secrets) expect(all, secret).not.toContain(secret);
});

it('is made without a running agent, too, and says what is not in it', async () => {
  const out = join(dir, 'bundle.tar.gz');
  expect((await runCli(['support-bundle', '--out', out], entry)).code).toBe(0);
  const manifest = unpack(out).get('MANIFEST.txt') ?? '';
  expect(manifest).toMatch(/Not in it:[^]*status\.json/);
});
