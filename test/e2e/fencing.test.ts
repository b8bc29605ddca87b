import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { FenceLevelConfig } from '../../agent/config/takeover-sections/fencing.ts';
import type { FenceAsk, Fencing, LevelReading } from '../../agent/fencing/fencing.ts';
import { LabAgent } from '../lab/agents.ts';
import { Bmc } from '../lab/bmc.ts';
import { fenceTarget, fencingOf, provesOff } from '../lab/fencing.ts';
import { createLab, labObstacle } from '../lab/lab.ts';
import { isAlive, killPid } from '../lab/processes.ts';
import { waitFor } from '../lab/waiting.ts';

const nobody: FenceAsk = { cooperative: async () => ({ steppedDown: false, evidence: 'no connection' }), manual: null };

const fence = (levels: FenceLevelConfig[], ask = nobody) =>
  fencingOf(levels).fence(fenceTarget, ask, () => {}, new AbortController().signal);

async function readings(fencing: Fencing): Promise<LevelReading[]> {
  const list: LevelReading[] = [];
  for await (const reading of fencing.test(new AbortController().signal)) list.push(reading);
  return list;
}

/** What `fence_ipmilan` needs to start and to ask a BMC that answers, on a slow machine; it gives one up that is silent after 20 s. */
const silentSeconds = 15;

/** The level for a BMC, with its password in a file. */
function bmcLevel(bmc: Bmc, dir: string, timeoutSeconds = 60, more: Record<string, string> = {}): FenceLevelConfig {
  const password = join(dir, 'bmc.secret');
  writeFileSync(password, `${bmc.password}\n`, { mode: 0o600 });
  return {
    type: 'agent',
    name: 'bmc',
    agent: 'fence_ipmilan',
    options: { ...bmc.fenceOptions, ...more },
    secrets: { password },
    timeoutSeconds,
  };
}

/** A fence agent that a test writes: `act` is shell, with the value of each key in a variable. */
function script(dir: string, name: string, act: string, actions = 'on off reboot status monitor metadata'): string {
  const file = join(dir, name);
  const listed = actions.split(' ').map((action) => `<action name="${action}"/>`);
  writeFileSync(
    file,
    `#!/bin/sh
while IFS='=' read -r key value; do eval "$key=\\$value"; done
if [ "$action" = metadata ]; then
  echo '<?xml version="1.0" ?><resource-agent name="${name}"><actions>${listed.join('')}</actions></resource-agent>'
  exit 0
fi
echo "$action" >> ${file}.calls
${act}
`,
  );
  chmodSync(file, 0o755);
  return file;
}

const scriptLevel = (agent: string, timeoutSeconds = 60, secrets: Record<string, string> = {}): FenceLevelConfig => ({
  type: 'agent',
  name: agent.replace(/^.*\//, ''),
  agent,
  options: {},
  secrets,
  timeoutSeconds,
});
const calls = (agent: string): string => (existsSync(`${agent}.calls`) ? readFileSync(`${agent}.calls`, 'utf8') : '');

describe.skipIf(labObstacle() !== null)('fencing', () => {
  it('ends a host through fence_ipmilan and its BMC, and proves it by the state (I3)', async () => {
    await using lab = await createLab({ hosts: 1 });
    const host = lab.host(0);
    const running = [host.start('sleep', ['1000']), host.start('sleep', ['1001'])];
    await using bmc = await Bmc.start({
      address: '10.77.0.254',
      onPowerOff: () => running.forEach(({ pid }) => killPid(pid)),
    });
    const fencing = fencingOf([bmcLevel(bmc, lab.dir)]);
    expect(await readings(fencing)).toMatchObject([{ level: 1, state: 'on', error: null }]);
    expect(running.every(({ pid }) => isAlive(pid))).toBe(true);

    const { receipt } = await fence([bmcLevel(bmc, lab.dir)]);
    expect(running.some(({ pid }) => isAlive(pid))).toBe(false);
    expect(provesOff(receipt)).toBe(true);
    expect(receipt).toMatchObject({ target: 'mail-a', by: 'mail-b', epoch: 2, type: 'agent', name: 'bmc' });
    expect(JSON.stringify(receipt)).not.toContain(bmc.password);
    expect(await readings(fencing)).toMatchObject([{ state: 'off', error: null }]);
    // Off is off: fencing a node that is off is no failure.
    expect(provesOff((await fence([bmcLevel(bmc, lab.dir)])).receipt)).toBe(true);
    expect(bmc.failures).toEqual([]);
  });

  it('does not take a BMC for a proof that says off was done while the host keeps its power, nor one that does not answer', async () => {
    await using lab = await createLab({ hosts: 1 });
    const refuse = () => Promise.reject(new Error('the relay sticks'));
    await using bmc = await Bmc.start({ address: '10.77.0.254', onPowerOff: refuse });
    const stuck = await fence([bmcLevel(bmc, lab.dir, 60, { power_wait: '0', power_timeout: '2' })]);
    expect(stuck.receipt).toBeNull();
    expect(stuck.tried).toMatchObject([{ error: expect.anything() as unknown }]);
    expect(bmc.failures.length).toBeGreaterThan(0);

    bmc.pause();
    const started = performance.now();
    const silent = await fence([bmcLevel(bmc, lab.dir, silentSeconds), { type: 'manual', name: 'by hand', timeoutSeconds: 1 }], {
      ...nobody,
      manual: { node: 'mail-a', by: 'jo', evidence: 'stood before it and pulled both cords' },
    });
    expect(silent.tried.map(({ state, error }) => [state, error?.code])).toEqual([
      ['unknown', 'fence-timeout'],
      ['off', undefined],
    ]);
    expect(performance.now() - started).toBeLessThan(120_000);
    expect(provesOff(silent.receipt)).toBe(true);
    expect(silent.receipt).toMatchObject({ type: 'manual', level: 2 });
  });

  it('goes from a level that fails, hangs, lies or only power-cycles to the next, and kills what hangs with all it started', async () => {
    await using lab = await createLab({ hosts: 1 });
    const { dir } = lab;
    const cycles = script(dir, 'fence_cycles', 'exit 0', 'reboot status monitor metadata');
    const fails = script(dir, 'fence_fails', 'echo "no such plug" >&2; exit 1');
    const hangs = script(dir, 'fence_hangs', `sleep 1000 & echo $! >> ${dir}/sleepers; wait`);
    const lies = script(dir, 'fence_lies', '[ "$action" = off ] && echo "Success: Powered OFF"; exit 0');
    const works = script(
      dir,
      'fence_works',
      `if [ "$action" = off ]; then touch ${dir}/is-off; exit 0; fi; [ -e ${dir}/is-off ] && exit 2; exit 0`,
    );
    // Two of them use up their time.
    const levels = [cycles, fails, hangs, lies, works].map((agent) => scriptLevel(agent, agent === hangs ? 8 : agent === lies ? 5 : 60));
    const { receipt, tried } = await fence(levels);
    expect(tried.map(({ name, state, error }) => [name, state, error?.code])).toEqual([
      ['fence_cycles', 'unknown', 'fence-agent-unfit'],
      ['fence_fails', 'unknown', 'fence-unreadable'],
      ['fence_hangs', 'unknown', 'fence-timeout'],
      ['fence_lies', 'on', 'fence-still-on'],
      ['fence_works', 'off', undefined],
    ]);
    expect(tried[1]?.error?.detail).toContain('no such plug');
    expect(provesOff(receipt)).toBe(true);
    expect(receipt).toMatchObject({ level: 5, name: 'fence_works' });
    expect(calls(cycles)).toBe('');
    expect(calls(fails)).toBe('off\nstatus\noff\nstatus\n');
    expect([cycles, fails, hangs, lies, works].map(calls).join('')).not.toMatch(/reboot|cycle/);
    const sleepers = readFileSync(join(dir, 'sleepers'), 'utf8').trim().split('\n').map(Number);
    expect(sleepers.length).toBeGreaterThanOrEqual(2);
    await waitFor('the hanging agent to be gone', 60_000, () => !sleepers.some(isAlive));
  });

  it('never shows a secret in an argument list or an environment, nor in evidence', async () => {
    await using lab = await createLab({ hosts: 1 });
    const { dir } = lab;
    const secret = `pw-${randomUUID()}`;
    const secretPath = join(dir, 'secret');
    writeFileSync(secretPath, `${secret}\n`, { mode: 0o600 });
    const chatty = `echo "connecting with $password and $(printf 'admin:%s' "$password" | base64 -w0)" >&2\ntouch ${dir}/started\nwhile [ ! -e ${dir}/go ]; do sleep 0.05; done\n`;
    const slow = script(dir, 'fence_slow', `${chatty}[ "$action" = status ] && exit 2; exit 0`);
    const said: string[] = [];
    const work = fencingOf([scriptLevel(slow, 60, { password: secretPath })]).fence(
      fenceTarget,
      nobody,
      (text) => void said.push(text),
      new AbortController().signal,
    );
    await waitFor('the slow agent', 60_000, () => existsSync(join(dir, 'started')));
    const seen: string[] = [];
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      for (const file of ['cmdline', 'environ']) {
        try {
          const text = readFileSync(`/proc/${pid}/${file}`, 'latin1');
          seen.push(file === 'cmdline' && text.includes('fence_slow') ? 'the agent' : '');
          if (text.includes(secret)) seen.push(`${file} of ${pid}`);
        } catch {
          // It has ended.
        }
      }
    }
    writeFileSync(join(dir, 'go'), '');
    const outcome = await work;
    expect([...new Set(seen)].filter((each) => each !== '')).toEqual(['the agent']);
    expect(provesOff(outcome.receipt)).toBe(true);
    expect(outcome.receipt?.evidence).toContain('connecting with ***');
    const everything = JSON.stringify({ outcome, said });
    expect(everything).not.toContain(secret);
    expect(everything).not.toContain(Buffer.from(secret).toString('base64').slice(4, 20));

    chmodSync(secretPath, 0o644);
    expect((await readings(fencingOf([scriptLevel(slow, 60, { password: secretPath })])))[0]?.error).toMatchObject({
      code: 'secret-file',
      detail: expect.stringContaining('open to every user') as string,
    });
  });

  it('knows from their metadata which real agents can prove that a node is off', async () => {
    const check = async (agent: string, options: Record<string, string> = {}) => {
      const level: FenceLevelConfig = { type: 'agent', name: agent, agent, options, secrets: {}, timeoutSeconds: 60 };
      return fencingOf([level])
        .check(new AbortController().signal)
        .then(
          () => 'fit',
          (error: { code: string }) => error.code,
        );
    };
    expect(await check('fence_ipmilan')).toBe('fit');
    expect(await check('fence_apc_snmp')).toBe('fit');
    expect(await check('fence_sbd')).toBe('fence-agent-unfit');
    expect(await check('fence_sbd', { method: 'onoff' })).toBe('fit');
    expect(await check('fence_kdump')).toBe('fence-agent-unfit');
    expect(await check('fence_scsi')).toBe('fence-agent-unfit');
    expect(await check('fence_no_such_agent')).toBe('fence-agent-missing');
  });
});

describe.skipIf(labObstacle() !== null)('mailtwin fence test', () => {
  it('reads each level through the running agent, changes nothing, and says by its exit code whether one can be read', async () => {
    await using lab = await createLab({ hosts: 1 });
    await using bmc = await Bmc.start({ address: '10.77.0.254' });
    const { dir } = lab;
    const counts = script(dir, 'fence_counts', 'exit 0');
    const password = join(dir, 'bmc.secret');
    writeFileSync(password, `${bmc.password}\n`, { mode: 0o600 });
    const options = JSON.stringify(bmc.fenceOptions);
    const level = (agent: string, more = '') =>
      `  - { type: agent, name: ${agent.replace(/^.*\//, '')}, agent: ${agent}, timeoutSeconds: ${silentSeconds}${more} }\n`;
    const fencing = `fencing:\n${level('fence_ipmilan', `, options: ${options}, secrets: { password: ${password} }`)}${level(counts)}  - { type: cooperative }\n  - { type: manual }\n`;
    const store = join(dir, 'mail');
    mkdirSync(store);
    const agent = new LabAgent('primary', {
      node: 'mail-a',
      dir: join(dir, 'a'),
      roots: [{ name: 'mail', path: store }],
      config: [['log:\n  #', `${fencing}\nlog:\n  #`]],
    });
    try {
      await agent.init();
      await agent.start();
      const tested = await agent.cli(['fence', 'test', '--json'], { timeoutMs: 120_000 });
      const { readings: read } = JSON.parse(tested.stdout) as { readings: LevelReading[] };
      expect(read.map(({ level: n, name, state, error }) => [n, name, state, error])).toEqual([
        [1, 'fence_ipmilan', 'on', null],
        [2, 'fence_counts', 'on', null],
        [3, 'step-down', 'unknown', null],
        [4, 'by hand', 'unknown', null],
      ]);
      expect(bmc.isOn).toBe(true);
      expect(calls(counts)).toMatch(/^(status\n)+$/);
      expect((await agent.cli(['fence', 'test'])).stdout).toMatch(/1 {2}on .*fence_ipmilan[\s\S]*2 of 2 automatic fence levels can read/);

      bmc.pause();
      writeFileSync(counts, '#!/bin/sh\nexit 1\n');
      const blind = await agent.cli(['fence', 'test', '--json'], { mayFail: true, timeoutMs: 120_000 });
      expect(blind.code).toBe(1);
      expect((JSON.parse(blind.stdout) as { readings: LevelReading[] }).readings.map(({ error }) => error?.code ?? null)).toEqual([
        'fence-timeout',
        'fence-unreadable',
        null,
        null,
      ]);
      expect(agent.output).not.toContain(bmc.password);
    } finally {
      await agent.kill9();
    }
  });
});
