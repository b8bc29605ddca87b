import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { afterAll, expect, test } from 'vitest';
import type { DoctorFinding } from '../../protocol/control.ts';
import { AgentPair, type LabAgent } from '../lab/agents.ts';
import { runNow } from '../lab/processes.ts';
import { waitFor } from '../lab/waiting.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-certificates-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const waitMs = 120_000;

/** A node with a mail store, and the configuration of a Dovecot with its certificate; a second one for `imap.example` if wanted. */
function nodeWith(node: string, name: string, days: number, more: string[] = []) {
  const at = join(dir, node);
  mkdirSync(join(at, 'mail'), { recursive: true });
  const make = (file: string, host: string) => {
    const paths = ['-keyout', join(at, `${file}.key`), '-out', join(at, `${file}.pem`)];
    const kind = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    runNow('openssl', [...kind, '-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`, '-days', String(days), ...paths]);
    return `ssl_cert = <${join(at, `${file}.pem`)}\nssl_key = <${join(at, `${file}.key`)}\n`;
  };
  const blocks = more.map((host) => `local_name ${host} {\n${make(host, host)}}\n`).join('');
  const dovecot = join(at, 'dovecot.conf');
  writeFileSync(dovecot, `ssl = required\n${make('mail', name)}${blocks}`);
  const runs = join(at, 'runs');
  const commands = `{ start: [touch, ${runs}], stop: [rm, -f, ${runs}], status: [sh, -c, "test -e ${runs} || exit 3"] }`;
  const services = `services: { gate: ${join(at, 'active')}, commands: ${commands}, configCheck: [doveconf, -n, -c, ${dovecot}], queue: none }\n`;
  return {
    node: `mail-${node}`,
    dir: at,
    roots: [{ name: 'mail', path: join(at, 'mail'), format: 'plain' as const }],
    config: [['# Prometheus metrics', `${services}# Prometheus metrics`]] as const,
  };
}

async function certificatesOf(agent: LabAgent): Promise<string[]> {
  const { stdout } = await agent.cli(['doctor', '--json'], { mayFail: true, timeoutMs: 120_000 });
  const { findings } = JSON.parse(stdout) as { findings: DoctorFinding[] };
  return findings.filter(({ id }) => id === 'certificate').map(({ level, summary, evidence }) => `${level} ${summary}: ${evidence}`);
}

test('each node reads the certificates that its Dovecot would show, and tells them before clients do', async () => {
  const primary = nodeWith('a', 'mail.example', 90, ['imap.example']);
  writeFileSync(join(primary.dir, 'mail', 'file'), 'text\n');
  await using pair = await AgentPair.create({ primary, standby: nodeWith('b', 'other.example', 5) });
  const { primary: a, standby: b } = pair;
  await b.start();
  await pair.filled(waitMs);
  const [onA, onB] = await Promise.all(
    [a, b].map((agent) =>
      waitFor(`${agent.node} to know both certificates`, waitMs, async () => {
        const status = await agent.status();
        return status.certificates.length > 0 && status.peer.certificate !== null ? status : null;
      }),
    ),
  );
  expect(onA?.certificates).toMatchObject([
    { name: 'default', file: join(primary.dir, 'mail.pem'), names: ['mail.example'], problem: null },
    { name: 'imap.example', names: ['imap.example'], problem: null },
  ]);
  expect(onA?.peer.certificate).toEqual({ names: ['other.example'], endsAt: onB?.certificates[0]?.endsAt });
  expect(onB?.peer.certificate?.names).toEqual(['mail.example']);
  const { text } = await b.control.ask('GET /metrics', null);
  const ends = Date.parse(onB?.certificates[0]?.endsAt ?? '') / 1000;
  expect(text).toContain(`mailtwin_certificate_expiry_timestamp_seconds{name="default"} ${ends}`);
  expect(text).toContain('mailtwin_certificate_usable{name="default"} 1');

  const differ = 'the certificates of the two nodes are for different names';
  expect(await certificatesOf(a)).toEqual([
    expect.stringMatching(/^pass the certificate of the mail server holds for 8\d more days: .*mail\.example/),
    expect.stringMatching(/^pass the certificate of the mail server for imap\.example holds for/),
    expect.stringContaining(`warn ${differ}`),
  ]);
  expect(await certificatesOf(b)).toEqual([
    expect.stringMatching(/^warn the certificate of the mail server on this node ends in 4 days/),
    expect.stringMatching(/^warn the certificates .*only on mail-b: other\.example; only on mail-a: mail\.example$/),
  ]);
  rmSync(join(dir, 'b', 'mail.key'));
  expect((await certificatesOf(b))[0]).toMatch(/^fail .* cannot be used on this node: the key .*mail\.key is missing$/);
});
