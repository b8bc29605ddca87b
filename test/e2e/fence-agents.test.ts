import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { FenceLevelConfig } from '../../agent/config/takeover-sections/fencing.ts';
import type { LevelReading } from '../../agent/fencing/fencing.ts';
import { fenceTarget, fencingOf, provesOff } from '../lab/fencing.ts';
import { Redfish } from '../lab/redfish.ts';
import { VirshHost } from '../lab/virsh-host.ts';

// The fence agents of Debian as they are, against simulated devices: what deploy/examples/fence-devices.yaml writes down.
const never = () => new AbortController().signal;
const nobody = { cooperative: async () => ({ steppedDown: false, evidence: 'no connection' }), manual: null };

/** Time enough to start an agent twice on a slow machine. A level that fails by itself does not use it up. */
const usualSeconds = 60;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'mailtwin-fence-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function read(level: FenceLevelConfig): Promise<LevelReading | undefined> {
  for await (const reading of fencingOf([level]).test(never())) return reading;
  return undefined;
}

/** True when the level proved that the node is off. */
async function proves(level: FenceLevelConfig): Promise<boolean> {
  return provesOff((await fencingOf([level]).fence(fenceTarget, nobody, () => {}, never())).receipt);
}

function redfishLevel(redfish: Redfish, password: string, timeoutSeconds: number): FenceLevelConfig {
  const secret = join(dir, 'redfish.secret');
  writeFileSync(secret, `${password}\n`, { mode: 0o600 });
  const options = {
    ip: '127.0.0.1',
    ipport: String(redfish.port),
    username: redfish.username,
    ssl_insecure: '1',
    systems_uri: '/redfish/v1/Systems/1',
  };
  return { type: 'agent', name: 'redfish', agent: 'fence_redfish', options, secrets: { password: secret }, timeoutSeconds };
}

it('fence_redfish switches a BMC off and proves it, and nothing else than off is a proof (I3)', async () => {
  await using redfish = await Redfish.start(dir);
  const level = redfishLevel(redfish, redfish.password, usualSeconds);
  expect(await read(level)).toMatchObject({ state: 'on', error: null });
  expect(await proves(level)).toBe(true);
  expect([redfish.powerState, redfish.resets]).toEqual(['Off', ['ForceOff']]);
  expect(await read(level)).toMatchObject({ state: 'off', error: null });

  // It takes the order, and stays in between.
  redfish.powerState = 'On';
  redfish.onPowerOff = () => (redfish.powerState = 'PoweringOff');
  expect(await proves(redfishLevel(redfish, redfish.password, 8))).toBe(false);
  expect(redfish.resets.every((reset) => reset === 'ForceOff')).toBe(true);

  const wrong = redfishLevel(redfish, 'another-one', usualSeconds);
  expect(await read(wrong)).toMatchObject({ state: 'unknown', error: { code: 'fence-unreadable' } });
  expect(await proves(wrong)).toBe(false);
});

it('fence_virsh destroys a domain and proves it; a domain that is not there or goes on running proves nothing (I3)', async () => {
  const host = new VirshHost(dir, 'mail-a');
  const level = (plug: string, timeoutSeconds = usualSeconds): FenceLevelConfig => ({
    type: 'agent',
    name: 'virsh',
    agent: 'fence_virsh',
    options: { ...host.options, plug },
    secrets: {},
    timeoutSeconds,
  });
  expect(await read(level('mail-a'))).toMatchObject({ state: 'on', error: null });
  expect(await read(level('mail-x'))).toMatchObject({ state: 'unknown', error: { code: 'fence-unreadable' } });
  expect(await proves(level('mail-x'))).toBe(false);

  host.afterDestroy = 'running';
  expect(await proves(level('mail-a', 8))).toBe(false);
  host.afterDestroy = 'shut off';
  expect(await proves(level('mail-a'))).toBe(true);
  expect(host.state).toBe('shut off');
  expect(host.calls.filter((call) => !call.startsWith('domstate '))).toContain('destroy mail-a');
  expect(host.calls.some((call) => /reboot|reset|start/.test(call.split(' ')[0] ?? ''))).toBe(false);
});
