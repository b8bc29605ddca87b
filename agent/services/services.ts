import type { ServicesConfig } from '../config/takeover-sections/services.ts';
import type { Clock } from '../platform/clock.ts';
import type { Exec } from '../platform/exec.ts';
import type { Files } from '../platform/files.ts';
import type { Log } from '../platform/log.ts';
import type { Processes } from '../platform/processes.ts';
import { commandServices } from './command-services.ts';
import { Gate } from './gate.ts';
import type { LoginCheck } from './imap-login.ts';
import { judgeUnits, type UnitFault } from './judge-units.ts';
import { judgeServed, type CopiedInbox, type ServedInbox } from './served-inbox.ts';
import { outputOf, type ServiceManager } from './manager.ts';
import { systemdServices } from './systemd-services.ts';

export type ServicesVerdict = 'running' | 'stopped' | 'partial' | 'unknown';

export interface ServicesState {
  state: ServicesVerdict;
  units: { name: string; state: ServicesVerdict; detail: string }[];
}

export interface CheckResult {
  ok: boolean;
  /** Nothing of the kind is configured. */
  skipped?: true;
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
  /** What would keep the units from starting here, found without starting one; null when systemd does not answer. */
  judgeUnits(): Promise<UnitFault[] | null>;
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
  /** Those that systemd speaks of; absent where they are not this host's: a Dovecot stops at its own pace then. */
  processes?: Processes;
  /** Handed in: imap-login.ts. */
  login: LoginCheck;
  /** Where a user's INBOX lies, and what is there; absent: a login is not compared with the copy. */
  copied?: (user: string) => Promise<CopiedInbox | { unknown: string }>;
  /**
   * The section as the file has it now, read before services start, so that a mended list of units needs no restart of
   * the agent; null = it cannot be read, or has no section any more, and what was read last goes on.
   */
  reread?: () => ServicesConfig | null;
}

const configCheckMs = 30_000;
/** A login that takes longer serves nobody. */
const loginMs = 20_000;

export function createServices(parts: ServicesParts): Services {
  const { clock, exec, log } = parts;
  if (parts.config === null) return noServices;
  let config = parts.config;
  const gate = new Gate(parts.files, Buffer.from(config.gate, 'utf8').toString('latin1'));
  const managerOf = (of: ServicesConfig): ServiceManager =>
    of.commands ? commandServices(of.commands, of, parts) : systemdServices(of.units, of, parts);
  let manager = managerOf(config);
  /** What an earlier list may have started and the present one does not name any more. */
  let left: string[] = [];
  const refresh = (): void => {
    const read = parts.reread?.() ?? null;
    // The gate is in the units' own files, and was closed or opened where it lay at the start.
    if (read === null || read.gate !== config.gate || JSON.stringify(read) === JSON.stringify(config)) return;
    left = [...new Set([...left, ...config.units])].filter((unit) => !read.units.includes(unit));
    config = read;
    manager = managerOf(read);
    log.info({ services: manager.names }, 'the section `services` was read anew');
  };

  return {
    configured: true,
    gate,
    async start() {
      refresh();
      gate.open();
      log.info({ services: manager.names }, 'starting the mail services');
      await manager.start();
    },
    async stop() {
      gate.close();
      log.info({ services: manager.names }, 'stopping the mail services');
      if (left.length > 0) await systemdServices(left, config, parts).stop();
      left = [];
      await manager.stop();
    },
    async state() {
      const units = await manager.states();
      return { state: verdictOf(units.map(({ state }) => state)), units };
    },
    async judgeUnits() {
      refresh();
      return config.commands ? [] : await judgeUnits(config.units, config.gate, exec);
    },
    async checkConfig() {
      const [program, ...args] = config.configCheck ?? [];
      if (program === undefined) return { ok: true, skipped: true, evidence: 'no check of the mail server is configured' };
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
      if (config.imap === null) return { ok: true, skipped: true, evidence: 'no login is configured', ms: 0 };
      const started = clock.monotonicMs();
      const over = new AbortController();
      const timer = clock.after(loginMs, () => over.abort());
      try {
        const { user } = config.imap;
        const before = await parts.copied?.(user);
        const { served, ...result } = await parts.login(config.imap, AbortSignal.any([signal, over.signal]));
        const after = served && before ? await parts.copied?.(user) : undefined;
        return { ...(served ? withCopy(result, served, before, after) : result), ms: Math.round(clock.monotonicMs() - started) };
      } finally {
        // A command that is done must not wait for it.
        timer.cancel();
      }
    },
  };
}

type Copied = CopiedInbox | { unknown: string } | undefined;

/** A login is well only where it shows the copy. */
function withCopy(result: CheckResult, served: ServedInbox, before: Copied, after: Copied): CheckResult {
  const why = [before, after].find((each) => each !== undefined && 'unknown' in each);
  if (!before || !after || why || 'unknown' in before || 'unknown' in after)
    return { ...result, evidence: `${result.evidence}${why ? `; not compared with the copy: ${why.unknown}` : ''}` };
  const judged = judgeServed(served, before, after);
  return { ok: result.ok && judged.ok, evidence: `${result.evidence}; ${judged.evidence}` };
}

/** All run, all are stopped, some do; or one cannot be read. */
function verdictOf(states: readonly ServicesVerdict[]): ServicesVerdict {
  const [first] = states;
  if (first === undefined || states.includes('unknown')) return 'unknown';
  return states.every((state) => state === first) ? first : 'partial';
}

const nothing = { ok: true, skipped: true as const, evidence: 'no mail services are configured' };
const noServices: Services = {
  configured: false,
  gate: null,
  start: async () => {},
  stop: async () => {},
  state: async () => ({ state: 'unknown', units: [] }),
  judgeUnits: async () => [],
  checkConfig: async () => nothing,
  checkLogin: async () => ({ ...nothing, ms: 0 }),
};
