import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { ServicesConfig } from '../../agent/config/takeover-sections/services.ts';
import type { Exec, ExecResult } from '../../agent/platform/exec.ts';
import { sleep } from '../../agent/platform/clock.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { Processes } from '../../agent/platform/processes.ts';
import { realFiles } from '../../agent/platform/real-files.ts';
import { createServices, type Services } from '../../agent/services/services.ts';
import { failedConditions, judgeUnits } from '../../agent/services/judge-units.ts';
import { parseShow } from '../../agent/services/systemd-services.ts';
import { SimClock } from '../sim/sim-clock.ts';

const dir = mkdtempSync(join(tmpdir(), 'mailtwin-services-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const show = (active: string, sub: string, tasks = '[not set]', load = 'loaded') =>
  `Id=x.service\nLoadState=${load}\nActiveState=${active}\nSubState=${sub}\nTasksCurrent=${tasks}\n`;

const base = {
  units: [],
  commands: null,
  configCheck: null,
  imap: null,
  queue: 'none' as const,
  startTimeoutSeconds: 30,
  stopTimeoutSeconds: 30,
};

/** A systemd, or commands, of one service each; `answer` says what a call does. */
class Bench {
  readonly sim = new SimClock();
  readonly gate = join(dir, `gate-${Math.random()}`, 'deep', 'active');
  /** Each call, and whether the gate stood at that moment. */
  readonly calls: string[] = [];
  readonly services: Services;

  constructor(
    change: Partial<ServicesConfig>,
    answer: (args: readonly string[]) => Partial<ExecResult> | Promise<Partial<ExecResult>>,
    processes?: Processes,
  ) {
    const exec: Exec = async (program, args) => {
      this.calls.push(`${program} ${args.join(' ')}${existsSync(this.gate) ? ' [gate]' : ''}`);
      return { code: 0, signal: null, timedOut: false, stdout: '', stderr: '', truncated: false, ...(await answer([program, ...args])) };
    };
    this.services = createServices({
      config: { ...base, gate: this.gate, ...change },
      exec,
      files: realFiles,
      clock: this.sim.host(0),
      log: silentLog,
      ...(processes && { processes }),
      login: async () => ({ ok: true, evidence: 'in' }),
    });
  }

  async settle<T>(work: Promise<T>): Promise<T> {
    let isOver = false;
    const end = () => void (isOver = true);
    work.then(end, end);
    await this.sim.runWhile(() => !isOver, 600_000);
    return work;
  }
}

describe('services as systemd units', () => {
  it('open the gate before they start, and close it before they stop', async () => {
    let active = 'inactive';
    const bench = new Bench({ units: ['dovecot.service'] }, (args) => {
      if (args[1] === 'start') active = 'active';
      if (args[1] === 'stop') active = 'inactive';
      return args[1] === 'show' ? { stdout: show(active, 'x') } : {};
    });
    expect(await bench.services.state()).toMatchObject({ state: 'stopped' });
    await bench.settle(bench.services.start());
    expect(await bench.services.state()).toMatchObject({ state: 'running', units: [{ name: 'dovecot.service' }] });
    await bench.settle(bench.services.stop());
    const acts = bench.calls.filter((call) => /systemctl (start|stop)/.test(call));
    expect(acts).toEqual(['systemctl start -- dovecot.service [gate]', 'systemctl stop -- dovecot.service']);
    expect(existsSync(bench.gate)).toBe(false);
    bench.services.gate?.close();
  });

  it('have not started when systemd skipped one without an error', async () => {
    const bench = new Bench({ units: ['dovecot.service'] }, (args) => (args[1] === 'show' ? { stdout: show('inactive', 'dead') } : {}));
    await expect(bench.settle(bench.services.start())).rejects.toMatchObject({
      code: 'services-start',
      message: expect.stringContaining('dovecot.service is inactive (dead)') as string,
    });
  });

  it('are waited for while they start, and given up when the time is over', async () => {
    const bench = new Bench({ units: ['a.service'], startTimeoutSeconds: 5 }, (args) =>
      args[1] === 'show' ? { stdout: show('activating', 'start') } : {},
    );
    await expect(bench.settle(bench.services.start())).rejects.toMatchObject({ code: 'services-start' });
    expect(bench.sim.now).toBeGreaterThanOrEqual(5000);
    const late = new Bench({ units: ['a.service'] }, (args) =>
      args[1] === 'show' ? { stdout: show(late.sim.now > 3000 ? 'active' : 'activating', 'x') } : {},
    );
    await late.settle(late.services.start());
    expect(late.sim.now).toBeGreaterThan(3000);
  });

  it('are killed when they do not stop, and it is said when something still runs', async () => {
    let active = 'deactivating';
    const bench = new Bench({ units: ['a.service'] }, (args) => {
      if (args[1] === 'kill') active = 'failed';
      return args[1] === 'show' ? { stdout: show(active, 'x') } : args[1] === 'stop' ? { code: null, timedOut: true } : {};
    });
    await bench.settle(bench.services.stop());
    expect(bench.calls).toContain('systemctl kill --signal=SIGKILL -- a.service');

    const stuck = new Bench({ units: ['a.service'] }, (args) => (args[1] === 'show' ? { stdout: show('failed', 'failed', '2') } : {}));
    await expect(stuck.settle(stuck.services.stop())).rejects.toMatchObject({
      code: 'services-stop',
      exitCode: 5,
      message: expect.stringContaining('2 processes left') as string,
    });
  });

  it('are hurried while they stop, with the signal that systemd sends next, where it sends it', async () => {
    const units = ['dovecot.service', 'own.service', 'quick.service'];
    const modes = ['control-group', 'mixed', 'control-group'];
    let stopMs = 3000;
    let endsAtMs = 0;
    const bench = new Bench({ units }, async (args) => {
      const { now } = bench.sim;
      if (args[1] === 'stop') {
        endsAtMs = now + stopMs;
        await sleep(bench.sim.host(0), stopMs);
      }
      const state = now < endsAtMs ? 'deactivating' : 'inactive';
      return { stdout: modes.map((mode, i) => `${show(i < 2 ? state : 'inactive', 'x')}KillMode=${mode}\n`).join('\n') };
    });
    const kills = () => bench.calls.filter((call) => call.includes('kill'));
    await bench.settle(bench.services.stop());
    expect(kills()).toEqual(['systemctl kill --signal=SIGTERM -- dovecot.service']);
    // A stop that ends in time is left alone, also afterwards.
    stopMs = 1000;
    await bench.settle(bench.services.stop());
    await bench.sim.runWhile(() => true, 60_000);
    expect(kills()).toHaveLength(1);
  });

  it('are not said to have stopped while the signal that hurries them is on its way', async () => {
    const bench = new Bench({ units: ['dovecot.service'] }, async (args) => {
      if (args[1] === 'stop') await sleep(bench.sim.host(0), 1300);
      if (args[1] === 'show' && args[2]?.includes('KillMode')) {
        await sleep(bench.sim.host(0), 2000);
        return { stdout: `${show('deactivating', 'x')}KillMode=control-group\n` };
      }
      return args[1] === 'show' ? { stdout: show('inactive', 'x') } : {};
    });
    await bench.settle(bench.services.stop());
    const atEnd = bench.calls.length;
    expect(bench.calls.some((call) => call.includes('kill'))).toBe(true);
    await bench.sim.runWhile(() => true, 60_000);
    expect(bench.calls).toHaveLength(atEnd);
  });

  it('are a Dovecot whose processes end at once: it is held before systemd is asked to stop it', async () => {
    const units = ['dovecot.service', 'own.service', 'postfix.service', 'down.service'];
    const facts = ['control-group 11', 'mixed 12', 'control-group 13', 'control-group 0'].map((each) => each.split(' '));
    const events: string[] = [];
    let isHeld = false;
    const processes: Processes = {
      children: () => [],
      program: (pid) => (pid === 13 ? '/usr/lib/postfix/sbin/master' : '/usr/sbin/dovecot'),
      state: () => (isHeld ? 'stopped' : 'waits'),
      isPending: () => true,
      signal(pid, signal) {
        events.push(`${signal} ${pid}`);
        isHeld = signal === 'SIGSTOP';
        if (signal === 'SIGCONT') throw new Error('not permitted');
      },
    };
    const bench: Bench = new Bench(
      { units },
      async (args) => {
        if (args[1] === 'stop') {
          events.push('stop');
          await sleep(bench.sim.host(0), 300);
          events.push('stopped');
        }
        const active = events.includes('stopped') ? 'inactive' : 'active';
        return { stdout: facts.map(([mode, pid]) => `${show(active, 'x')}KillMode=${mode}\nMainPID=${pid}\n`).join('\n') };
      },
      processes,
    );
    // What goes wrong there is no reason to call the services running.
    await bench.settle(bench.services.stop());
    expect(events).toEqual(['SIGSTOP 11', 'stop', 'SIGCONT 11', 'stopped']);
    expect(isHeld).toBe(false);
    // The steps of a switchover ask again: that costs no more than the stop and the look at what came of it.
    const before = bench.calls.length;
    await bench.settle(bench.services.stop());
    expect(bench.calls.slice(before).map((call) => call.split(' ')[1])).toEqual(['stop', 'show']);
  });

  it('are partial, or unknown, when systemd says so', () => {
    const units = ['a.service', 'b.service'];
    const states = (text: string) => parseShow(text, units, 'no bus').map(({ state }) => state);
    expect(states(`${show('active', 'running', '7')}\n${show('inactive', 'dead', '[not set]', 'not-found')}`)).toEqual([
      'running',
      'stopped',
    ]);
    expect(states(`${show('active', 'exited', '18446744073709551615')}\n${show('failed', 'failed', '18446744073709551615')}`)).toEqual([
      'running',
      'stopped',
    ]);
    expect(states(show('active', 'running'))).toEqual(['unknown', 'unknown']);
    expect(states('')).toEqual(['unknown', 'unknown']);
    expect(parseShow('', ['a.service'], 'no bus')[0]?.detail).toMatch(/no bus/);
  });
});

describe('services as commands', () => {
  const commands = { start: ['/srv/ctl', 'start'], stop: ['/srv/ctl', 'stop'], status: ['/srv/ctl', 'status'] };

  it('are what their status says', async () => {
    let code = 3;
    const bench = new Bench({ commands }, (args) => {
      if (args[1] === 'start') code = 0;
      if (args[1] === 'stop') code = 3;
      return args[1] === 'status' ? { code } : {};
    });
    expect((await bench.services.state()).state).toBe('stopped');
    await bench.settle(bench.services.start());
    expect((await bench.services.state()).state).toBe('running');
    await bench.settle(bench.services.stop());
    code = 1;
    expect(await bench.services.state()).toMatchObject({ state: 'unknown', units: [{ name: 'ctl' }] });
    expect(bench.calls.filter((call) => /start|stop/.test(call))).toEqual(['/srv/ctl start [gate]', '/srv/ctl stop']);
  });

  it('have failed when the command did, or the status does not follow', async () => {
    const broken = new Bench({ commands }, (args) => (args[1] === 'start' ? { code: 1, stderr: 'no such user' } : { code: 3 }));
    await expect(broken.settle(broken.services.start())).rejects.toMatchObject({
      code: 'services-start',
      message: expect.stringContaining('no such user') as string,
    });
    const stays = new Bench({ commands }, () => ({}));
    await expect(stays.settle(stays.services.stop())).rejects.toMatchObject({ code: 'services-stop', exitCode: 5 });
    expect(existsSync(stays.gate)).toBe(false);
  });
});

describe('the checks of the mail server', () => {
  const commands = { start: ['a'], stop: ['a'], status: ['a'] };

  it('say what the configuration check said', async () => {
    const bad = new Bench({ commands, configCheck: ['doveconf', '-n'] }, () => ({ code: 89, stderr: 'doveconf: Fatal: line 3\n' }));
    expect(await bad.services.checkConfig()).toEqual({ ok: false, evidence: 'doveconf ended with 89: doveconf: Fatal: line 3' });
    const good = new Bench({ commands, configCheck: ['doveconf', '-n'] }, () => ({ stdout: 'lots of output' }));
    expect(await good.services.checkConfig()).toEqual({ ok: true, evidence: 'doveconf ended with 0' });
  });

  it('are well, and do nothing, where nothing is configured', async () => {
    const none = createServices({
      config: null,
      exec: () => Promise.reject(new Error('nothing is to be called')),
      files: realFiles,
      clock: new SimClock().host(0),
      log: silentLog,
      login: () => Promise.reject(new Error('nothing is to be called')),
    });
    await none.start();
    await none.stop();
    expect(none).toMatchObject({ configured: false, gate: null });
    expect(await none.checkConfig()).toMatchObject({ ok: true });
    expect(await none.checkLogin(new AbortController().signal)).toMatchObject({ ok: true });
  });
});

describe('units that are judged before they are started', () => {
  const gate = '/run/mailtwin/active';
  const unit = (id: string, conflicts = '', load = 'loaded') =>
    `Id=${id}\nLoadState=${load}\nConflicts=shutdown.target ${conflicts}\nConflictedBy=\n`;
  const judge = (shown: string[], said: Record<string, string> = {}) => {
    const units = shown.map((text) => /^Id=(.*)$/m.exec(text)?.[1] ?? '');
    const exec: Exec = async (program, args) => {
      const stdout = program === 'systemctl' ? shown.join('\n') : '';
      const stderr = said[args[1]?.replace('--unit=', '') ?? ''] ?? '';
      return { code: 0, signal: null, timedOut: false, stdout, stderr, truncated: false };
    };
    return judgeUnits(units, gate, exec);
  };

  it('are well where nothing but the gate is missing', async () => {
    const said = `dovecot.service: ConditionPathExists=${gate} failed.\nConditions failed.\n`;
    expect(await judge([unit('dovecot.service'), unit('postfix.service', 'exim4.service')], { 'dovecot.service': said })).toEqual([]);
  });

  it('as on Debian 13: the instance conflicts with the service, and has no files of its own', async () => {
    const said = 'postfix@-.service: AssertPathExists=/etc/postfix-/main.cf failed.\nAsserts failed.\n';
    expect(await judge([unit('postfix.service', 'postfix@-.service'), unit('postfix@-.service')], { 'postfix@-.service': said })).toEqual([
      expect.objectContaining({ what: expect.stringContaining('postfix.service and postfix@-.service cannot run together') as string }),
      expect.objectContaining({ unit: 'postfix@-.service', evidence: 'AssertPathExists=/etc/postfix-/main.cf failed' }),
    ]);
  });

  it('name what is masked, missing, or cannot be loaded', async () => {
    const found = await judge([unit('a.service', '', 'masked'), unit('b.service', '', 'not-found'), unit('c.service', '', 'bad-setting')]);
    expect(found?.map(({ what }) => what)).toEqual([
      'a.service is masked, so it cannot be started',
      'there is no unit b.service on this node',
      'c.service cannot be loaded',
    ]);
    expect(await judgeUnits(['a.service'], gate, () => Promise.reject(new Error('no such program')))).toBeNull();
  });

  it('hold where one of several alternatives does', () => {
    const line = (value: string, end: string) => `x.service: ConditionPathExists=|${value} ${end}.`;
    expect(failedConditions(`${line('/a', 'failed')}\n${line('/b', 'succeeded')}`, gate)).toEqual([]);
    expect(failedConditions(`${line('/a', 'failed')}\n${line('/b', 'failed')}`, gate)).toHaveLength(2);
    // A condition that is turned round is another one, also with the gate's own path.
    expect(failedConditions(`x.service: ConditionPathExists=!${gate} failed.`, gate)).toHaveLength(1);
  });

  it('start from the list as it is in the file now, and what an earlier list started is stopped too', async () => {
    const running = new Set<string>();
    let units = ['dovecot.service', 'postfix@-.service'];
    const section = () => ({ ...base, gate: join(dir, 'reread', 'active'), units });
    const sim = new SimClock();
    const exec: Exec = async (_program, [verb = '', ...args]) => {
      const named = args.filter((each) => each.endsWith('.service'));
      for (const each of named) {
        if (verb === 'start' && !each.includes('@')) running.add(each);
        if (verb === 'stop') running.delete(each);
      }
      const stdout = verb === 'show' ? named.map((each) => show(running.has(each) ? 'active' : 'failed', 'x')).join('\n') : '';
      return { code: 0, signal: null, timedOut: false, stdout, stderr: '', truncated: false };
    };
    const login = async () => ({ ok: true, evidence: '' });
    const services = createServices({
      config: section(),
      exec,
      files: realFiles,
      clock: sim.host(0),
      log: silentLog,
      login,
      reread: section,
    });
    await expect(services.start()).rejects.toMatchObject({
      message: expect.stringMatching(/do not run: postfix@-\.service;/) as string,
      remedy: expect.stringContaining('systemctl status postfix@-.service') as string,
    });
    units = ['postfix.service'];
    await services.start();
    expect([...running]).toEqual(['dovecot.service', 'postfix.service']);
    await services.stop();
    expect([...running]).toEqual([]);
  });
});
