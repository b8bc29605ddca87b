import type { ServicesConfig } from '../config/takeover-sections/services.ts';
import type { Clock } from '../platform/clock.ts';
import type { Exec } from '../platform/exec.ts';
import type { Files } from '../platform/files.ts';
import type { Log } from '../platform/log.ts';
import { commandServices } from './command-services.ts';
import { Gate } from './gate.ts';
import type { LoginCheck } from './imap-login.ts';
import { outputOf, type ServiceManager } from './manager.ts';
import { systemdServices } from './systemd-services.ts';

export type ServicesVerdict = 'running' | 'stopped' | 'partial' | 'unknown';

export interface ServicesState {
  state: ServicesVerdict;
  units: { name: string; state: ServicesVerdict; detail: string }[];
}

export interface CheckResult {
  ok: boolean;
  /** What was seen, for people; one line, without secrets. */
  evidence: string;
}

/** The mail services of this host, which run while this node is active, and the gate before them. */
export interface Services {
  /** False: the agent starts, stops and gates nothing, and the checks say so. */
  readonly configured: boolean;
  /** Null when not configured. At the start of the agent the wiring closes it where this node is not active. */
  readonly gate: Gate | null;
  /**
   * Opens the gate, starts, and waits until everything runs. When it fails, what started goes on running and the gate
   * stays open: the caller decides, usually by `stop`.
   *
   * @throws OperatorError `services-start`.
   */
  start(): Promise<void>;
  /**
   * Closes the gate, stops, and waits until nothing runs; what does not stop in time is killed.
   *
   * @throws OperatorError `services-stop` (exit code 5) when something still runs; the gate is closed then, too.
   */
  stop(): Promise<void>;
  state(): Promise<ServicesState>;
  /** The mail server's own check of its configuration; well when none is configured. */
  checkConfig(): Promise<CheckResult>;
  /** Logs in by IMAP and opens INBOX for reading; well when none is configured. Never rejects. */
  checkLogin(signal: AbortSignal): Promise<CheckResult & { ms: number }>;
}

export interface ServicesParts {
  config: ServicesConfig | null;
  exec: Exec;
  files: Files;
  clock: Clock;
  log: Log;
  /** Handed in: imap-login.ts. */
  login: LoginCheck;
}

const configCheckMs = 30_000;
/** A login that takes longer serves nobody. */
const loginMs = 20_000;

export function createServices(parts: ServicesParts): Services {
  const { config, clock, exec, log } = parts;
  if (config === null) return noServices;
  const gate = new Gate(parts.files, Buffer.from(config.gate, 'utf8').toString('latin1'));
  const manager: ServiceManager = config.commands
    ? commandServices(config.commands, config, parts)
    : systemdServices(config.units, config, parts);

  return {
    configured: true,
    gate,
    async start() {
      gate.open();
      log.info({ services: manager.names }, 'starting the mail services');
      await manager.start();
    },
    async stop() {
      gate.close();
      log.info({ services: manager.names }, 'stopping the mail services');
      await manager.stop();
    },
    async state() {
      const units = await manager.states();
      return { state: verdictOf(units.map(({ state }) => state)), units };
    },
    async checkConfig() {
      const [program, ...args] = config.configCheck ?? [];
      if (program === undefined) return { ok: true, evidence: 'no check of the mail server is configured' };
      try {
        const result = await exec(program, args, { timeoutMs: configCheckMs });
        const said = outputOf(result, 'stderr');
        const end = result.timedOut ? 'took too long' : `ended with ${result.code ?? result.signal}`;
        return { ok: result.code === 0, evidence: `${program} ${end}${said === '' ? '' : `: ${said}`}` };
      } catch (error) {
        return { ok: false, evidence: `${program} cannot be started: ${error instanceof Error ? error.message : String(error)}` };
      }
    },
    async checkLogin(signal) {
      if (config.imap === null) return { ok: true, evidence: 'no login is configured', ms: 0 };
      const started = clock.monotonicMs();
      const over = new AbortController();
      const timer = clock.after(loginMs, () => over.abort());
      try {
        const result = await parts.login(config.imap, AbortSignal.any([signal, over.signal]));
        return { ...result, ms: Math.round(clock.monotonicMs() - started) };
      } finally {
        // A command that is done must not wait for it.
        timer.cancel();
      }
    },
  };
}

/** All run, all are stopped, some do; or one cannot be read. */
function verdictOf(states: readonly ServicesVerdict[]): ServicesVerdict {
  const [first] = states;
  if (first === undefined || states.includes('unknown')) return 'unknown';
  return states.every((state) => state === first) ? first : 'partial';
}

const nothing = { ok: true, evidence: 'no mail services are configured' };
const noServices: Services = {
  configured: false,
  gate: null,
  start: async () => {},
  stop: async () => {},
  state: async () => ({ state: 'unknown', units: [] }),
  checkConfig: async () => nothing,
  checkLogin: async () => ({ ...nothing, ms: 0 }),
};
