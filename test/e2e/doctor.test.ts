import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import type { DoctorFinding, DoctorReport } from '../../protocol/control.ts';
import { servicePassword, type Appliance } from '../lab/appliance.ts';
import { AppliancePair } from '../lab/appliance-pair.ts';
import { run, runNow } from '../lab/processes.ts';
import { waitFor } from '../lab/waiting.ts';

const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

async function doctor(node: Appliance): Promise<{ code: number | null; failures: DoctorFinding[]; all: DoctorFinding[] }> {
  const { code, stdout } = await node.agent.cli(['doctor', '--json'], { mayFail: true, timeoutMs: 120_000 });
  const all = (JSON.parse(stdout) as { findings: DoctorFinding[] }).findings;
  return { code, failures: all.filter(({ level }) => level === 'fail'), all };
}

const expectWell = async (node: Appliance) => expect(await doctor(node)).toMatchObject({ code: 0, failures: [] });
/** Does what a finding says, on its node. */
const mend = (node: Appliance, command: string) => run('sh', ['-c', command], { namespace: node.namespace });
/** The kernel's own link-local addresses become valid by themselves. */
const addresses = (node: Appliance) => runNow('ip', ['-n', node.namespace, '-o', 'address', 'show']).replaceAll(' tentative', '');
/** At once, because the agent runs it every few seconds. */
function replaceScript(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o755 });
  renameSync(`${file}.new`, file);
}

test.skipIf(process.getuid?.() !== 0)(
  'doctor on a pair that serves: nothing fails, each fault is named, and its command mends it',
  async () => {
    await using pair = new AppliancePair({ base });
    await pair.start();
    const { a, b, network } = pair;
    for (const node of [a, b]) {
      const before = addresses(node);
      const { code, failures, all } = await doctor(node);
      expect([code, failures]).toEqual([0, []]);
      const passed = all.filter(({ level }) => level === 'pass').map(({ id }) => id);
      expect(passed).toEqual(
        expect.arrayContaining([
          'secrets',
          'role',
          'takeover',
          'own-address',
          'network-role',
          'service-addresses',
          'fence-level',
          'services',
        ]),
      );
      // The agent has asked the segment, and the login is for the active node alone.
      expect(all.find(({ id }) => id === 'network-role')?.evidence).toContain('10.77.0.254');
      expect(all.some(({ id, level }) => id === 'login' && level === 'pass')).toBe(node === a);
      expect(addresses(node)).toBe(before);
    }

    // A mail server that somebody started there by hand, and that the agent's own looks cannot bring to rest.
    const service = join(dirname(b.store), 'mail-service');
    const whole = readFileSync(service, 'utf8');
    replaceScript(service, whole.replace('  stop)\n', '  stop)\n    exit 1\n'));
    await mend(b, `${service} start > /dev/null 2>&1`);
    const second = await doctor(b);
    expect(second.failures).toMatchObject([{ id: 'services', evidence: expect.stringMatching(/running/) as string }]);
    replaceScript(service, whole);
    await mend(b, (second.failures[0]?.remedy ?? '').replace(/;.*$/, ''));
    await expectWell(b);

    // The password of the login, for every user and then another one.
    const secret = join(dirname(a.store), 'probe.secret');
    chmodSync(secret, 0o644);
    const open = await doctor(a);
    expect(open.failures.map(({ id }) => id)).toEqual(['secrets', 'login']);
    expect(open.failures[0]?.evidence).toContain(`${secret} has mode 0644`);
    await mend(a, (open.failures[0]?.remedy ?? '').replace(/,.*$/, ''));
    await expectWell(a);
    writeFileSync(secret, 'another-one\n');
    const refused = await doctor(a);
    expect(refused.failures).toMatchObject([
      { id: 'login', evidence: expect.stringMatching(/AUTHENTICATIONFAILED|Authentication failed/) as string },
    ]);
    expect(JSON.stringify(refused.all)).not.toContain('another-one');
    writeFileSync(secret, `${servicePassword}\n`);

    // A service address on the node that is not active.
    runNow('ip', ['-n', b.namespace, 'address', 'add', '10.77.0.100/24', 'dev', 'eth0', 'nodad']);
    const held = await doctor(b);
    expect(held.code).toBe(1);
    expect(held.failures).toMatchObject([{ id: 'service-addresses', evidence: '10.77.0.100 on eth0' }]);
    await mend(b, held.failures[0]?.remedy ?? '');
    await expectWell(b);

    // The cable of the standby.
    network.cut('b');
    await waitFor('the loss of the carrier', 120_000, async () =>
      (await doctor(b)).failures.some(({ id, evidence }) => id === 'network-role' && evidence.includes('eth0')),
    );
    network.mend('b');
    await waitFor('the cable to be in again', 120_000, async () => (await doctor(b)).failures.length === 0);

    // Without an agent the levels are read by the doctor itself, and a BMC that is gone is not taken for one that was read.
    await b.agent.stop();
    const alone = await doctor(b);
    expect(alone.failures).toEqual([]);
    expect(alone.all.find(({ id }) => id === 'fence-level')).toMatchObject({
      level: 'pass',
      summary: expect.stringMatching(/reads on$/) as string,
    });
    await a.bmc.stop();
    const dead = await doctor(b);
    expect(dead.failures).toMatchObject([
      { id: 'fence-level', remedy: expect.stringMatching(/ping 10\.77\.0\.254.*mailtwin fence test/) as string },
    ]);
    expect(JSON.stringify(dead.all)).not.toContain('bmc-secret-1');
  },
);

test.skipIf(process.getuid?.() !== 0)('the agent examines a whole appliance for its page, the segments of its ports included', async () => {
  await using pair = new AppliancePair({ base });
  await pair.start();
  const { b } = pair;
  const file = join(dirname(b.store), 'mailtwin.yaml');
  writeFileSync(file, readFileSync(file, 'utf8').replace('metrics: off', 'metrics: 127.0.0.1:9799'));
  await b.agent.stop();
  await b.agent.start();
  await waitFor('the peer', 60_000, async () => (await b.agent.status()).peer.connected);
  const { stdout } = await run('curl', ['-sS', 'http://127.0.0.1:9799/doctor.json'], { namespace: b.namespace });
  const { findings } = JSON.parse(stdout) as DoctorReport;
  expect(findings.filter(({ level }) => level === 'fail')).toEqual([]);
  expect(findings.find(({ id }) => id === 'network-role')).toMatchObject({
    level: 'pass',
    evidence: expect.stringContaining('10.77.0.254') as string,
  });
  expect(findings.find(({ id }) => id === 'services')).toMatchObject({ level: 'pass' });
});
