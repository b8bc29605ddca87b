import type { ServicesConfig } from '../config/takeover-sections/services.ts';
import { OperatorError } from '../platform/errors.ts';
import type { ExecResult } from '../platform/exec.ts';
import { unitProperties } from '../platform/unit-properties.ts';
import { endHeld, holdDovecot } from './dovecot-stop.ts';
import { cannotStart, outputOf, showStates, statesWithin, type ServiceManager } from './manager.ts';
import type { ServicesParts, ServicesState, ServicesVerdict } from './services.ts';

type Limits = Pick<ServicesConfig, 'startTimeoutSeconds' | 'stopTimeoutSeconds'>;

/** Reading states is quick where systemd lives. */
const readMs = 10_000;
/**
 * A server that ends in good order has ended by then. Dovecot's master then waits five seconds more for a login that is
 * half done, and no client is served meanwhile.
 */
const hurryMs = 1250;
/** How many of a unit's last lines are told when it does not start. */
const logLines = 5;
/** What SIGKILL leaves standing after this is stuck in the kernel. */
const killedMs = 10_000;

/** Services as systemd units. What counts is the state that systemd tells, not how `systemctl` ended. */
export function systemdServices(
  units: readonly string[],
  limits: Limits,
  { exec, clock, log, processes }: Pick<ServicesParts, 'exec' | 'clock' | 'log' | 'processes'>,
): ServiceManager {
  const systemctl = async (code: 'services-start' | 'services-stop', timeoutMs: number, ...args: string[]): Promise<ExecResult> => {
    try {
      return await exec('systemctl', [...args, '--', ...units], { timeoutMs });
    } catch (error) {
      throw cannotStart('systemctl', error, code);
    }
  };

  /** Units in one of these states, with the facts that were asked for, of which systemd sends every process the SIGTERM in the end. */
  const unitsIn = async (states: readonly string[], properties = ''): Promise<{ unit: string; facts: Map<string, string> }[]> => {
    const shown = await exec('systemctl', ['show', `--property=Id,ActiveState,KillMode${properties}`, '--', ...units], {
      timeoutMs: readMs,
    });
    return unitProperties(shown.stdout).flatMap((facts, i) => {
      const unit = units[i];
      const isIn = states.includes(facts.get('ActiveState') ?? '') && facts.get('KillMode') === 'control-group';
      return isIn && unit !== undefined ? [{ unit, facts }] : [];
    });
  };

  /** Holds each Dovecot among the units; their main processes. None where that cannot be read: then it stops at its own pace. */
  const holdDovecots = async (): Promise<number[]> => {
    if (!processes) return [];
    const active = await unitsIn(['active'], ',MainPID').catch(() => []);
    const mains = active.map(({ facts }) => Number(facts.get('MainPID'))).filter((pid) => pid > 0);
    const held = await Promise.all(mains.map((main) => holdDovecot(main, { processes, clock }).catch(notEnded)));
    return mains.filter((_, i) => held[i] === true);
  };

  const notEnded = (error: unknown) => log.debug({ error: String(error) }, 'the processes of the mail server could not be ended');

  /** Sends what is left of the units that still stop the SIGTERM that systemd sends it next (systemd.kill(5), KillMode=control-group). */
  const hurry = async (): Promise<void> => {
    try {
      const slow = (await unitsIn(['deactivating'])).map(({ unit }) => unit);
      if (slow.length > 0) await exec('systemctl', ['kill', '--signal=SIGTERM', '--', ...slow], { timeoutMs: readMs });
    } catch (error) {
      log.debug({ error: String(error) }, 'the stop of the mail services could not be hurried');
    }
  };

  /** What a unit itself said last, since a start that began so many seconds ago; empty where no journal is kept. */
  const lastLines = async (unit: string, seconds: number): Promise<string> => {
    const since = `--since=-${Math.ceil(seconds) + 1}s`;
    const args = [`--unit=${unit}`, since, `--lines=${logLines}`, '--output=cat', '--quiet', '--no-pager'];
    const ran = await exec('journalctl', args, { timeoutMs: readMs }).catch(() => null);
    const text = ran?.code === 0 ? outputOf({ ...ran, stderr: '' }) : '';
    return text === '' ? '' : `${unit} said: ${text}`;
  };

  /** Seen to be stopped, and not started since by us. A switchover asks for the stop again at each of its steps, while nobody is served. */
  let isDown = false;

  const manager: ServiceManager = {
    names: units,
    async start() {
      isDown = false;
      const limitMs = limits.startTimeoutSeconds * 1000;
      const began = clock.monotonicMs();
      // Failures of another day must not count against this start (StartLimitBurst).
      await systemctl('services-start', readMs, 'reset-failed');
      const result = await systemctl('services-start', limitMs, 'start');
      const left = Math.max(0, limitMs - (clock.monotonicMs() - began));
      // A unit whose condition does not hold is skipped without an error, so the states decide.
      const states = result.code === 0 ? await statesWithin(manager, clock, left, isSettled) : await manager.states();
      if (states.every(({ state }) => state === 'running')) return;
      const took = (clock.monotonicMs() - began) / 1000;
      const down = states.filter(({ state }) => state !== 'running').map(({ name }) => name);
      const said = outputOf(result);
      const logs = (await Promise.all(down.map((unit) => lastLines(unit, took)))).filter((text) => text !== '');
      throw new OperatorError(
        'services-start',
        [
          `after ${took.toFixed(1)} s these mail services do not run: ${down.join(', ')}; ${showStates(states)}`,
          ...logs,
          ...(said === '' ? [] : [`systemctl said: ${said}`]),
        ].join('; '),
        `look at \`systemctl status ${down.join(' ')}\` and its journal, mend it or take it out of \`services.units\`, and give the command again`,
      );
    },
    async stop() {
      const limitMs = limits.stopTimeoutSeconds * 1000;
      const isOver = (states: ServicesState['units']) => states.every(({ state }) => state === 'stopped');
      const hurries: Promise<void>[] = [];
      const over = new AbortController();
      const masters = isDown ? [] : await holdDovecots();
      const late = clock.after(hurryMs, () => void hurries.push(hurry()));
      try {
        const stopped = systemctl('services-stop', limitMs, 'stop');
        // Whatever becomes of this process, systemd sees to it that a master that is held goes on.
        if (processes) for (const master of masters) hurries.push(endHeld(master, { processes, clock }, over.signal).catch(notEnded));
        await stopped;
      } finally {
        late.cancel();
        over.abort();
        // Their signals must not meet a server that is started next.
        await Promise.all(hurries);
      }
      let states = await manager.states();
      if (!isOver(states)) {
        await systemctl('services-stop', readMs, 'kill', '--signal=SIGKILL');
        // The job of `stop` is still under way, so nothing is restarted.
        states = await statesWithin(manager, clock, killedMs, isOver);
      }
      isDown = isOver(states);
      if (isDown) return;
      throw new OperatorError(
        'services-stop',
        `mail services still run, also after SIGKILL: ${showStates(states)}`,
        'stop them by hand before anything else; nothing may write into the mail store here',
        5,
      );
    },
    async states() {
      const result = await systemctl('services-start', readMs, 'show', '--property=Id,LoadState,ActiveState,SubState,TasksCurrent').catch(
        (error: unknown) => outputError(error),
      );
      return parseShow(result.stdout, units, outputOf(result));
    },
  };
  return manager;
}

/**
 * What `systemctl show` tells of several units: one paragraph each, in the order in which they were named.
 * Exported for tests.
 */
export function parseShow(text: string, units: readonly string[], said: string): ServicesState['units'] {
  const paragraphs = unitProperties(text);
  return units.map((name, i) => {
    const facts = paragraphs.length === units.length ? paragraphs[i] : undefined;
    const active = facts?.get('ActiveState');
    if (!facts || active === undefined || active === '')
      return { name, state: 'unknown', detail: `not known (${said || 'systemd does not answer'})` };
    const load = facts.get('LoadState') ?? '';
    const tasks = Number(facts.get('TasksCurrent'));
    const isLeftOver = active !== 'active' && tasks > 0 && Number.isSafeInteger(tasks);
    const state = isLeftOver ? 'partial' : stateOf(active);
    const detail = [
      `${active} (${facts.get('SubState') ?? ''})`,
      ...(load === 'loaded' ? [] : [load]),
      ...(isLeftOver ? [`${tasks} processes left`] : []),
    ];
    return { name, state, detail: detail.join(', ') };
  });
}

function stateOf(active: string): ServicesVerdict {
  if (active === 'active' || active === 'reloading') return 'running';
  if (active === 'inactive' || active === 'failed') return 'stopped';
  // activating, deactivating, maintenance: on its way.
  return 'partial';
}

/** Nothing is on its way any more. */
function isSettled(states: ServicesState['units']): boolean {
  return states.every(({ state }) => state === 'running' || state === 'stopped');
}

function outputError(error: unknown): Pick<ExecResult, 'stdout' | 'stderr'> & ExecResult {
  if (!(error instanceof OperatorError)) throw error;
  return { code: null, signal: null, timedOut: false, stdout: '', stderr: error.message, truncated: false };
}
