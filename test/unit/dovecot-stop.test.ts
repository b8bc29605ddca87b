import { describe, expect, it } from 'vitest';
import type { Processes, ProcessState } from '../../agent/platform/processes.ts';
import { endHeld, holdDovecot, patienceMs } from '../../agent/services/dovecot-stop.ts';
import { SimClock } from '../sim/sim-clock.ts';

const master = 100;

/** A Dovecot whose master is told to end at some time, and whose processes take theirs to end. */
class Server implements Processes {
  readonly sim = new SimClock();
  /** Each signal, in order, with the time. */
  readonly signals: { name: string; signal: string; at: number }[] = [];
  readonly #all = new Map<number, { name: string; endsAfterMs: number; deafUntilMs: number; endsAt: number | null }>();
  #held = false;
  #told = false;
  #ended = false;
  /** Until then the log has lines to read. */
  logBusyUntilMs = 0;
  /** What the master starts before it gets to its signal, once it goes on. */
  late: string | null = null;
  readonly program0: string;

  constructor(programs: readonly string[], program0 = '/usr/sbin/dovecot') {
    this.program0 = program0;
    for (const name of programs) this.start(name);
  }

  start(name: string, endsAfterMs = 10, deafUntilMs = 0): void {
    this.#all.set(master + 1 + this.#all.size, { name, endsAfterMs, deafUntilMs, endsAt: null });
  }

  /** What `doveadm stop` does after a while. */
  tellAt(ms: number): void {
    this.sim.at(ms, () => {
      this.#told = true;
      if (!this.#held) this.#ended = true;
    });
  }

  children(pid: number): number[] {
    return pid === master ? [...this.#all.keys()] : [];
  }

  program(pid: number): string | null {
    if (pid === master) return this.program0;
    return this.state(pid) === 'ended' ? null : `/usr/lib/dovecot/${this.#all.get(pid)?.name}`;
  }

  state(pid: number): ProcessState {
    if (pid === master) return this.#ended ? 'ended' : this.#held ? 'stopped' : 'waits';
    const each = this.#all.get(pid);
    if (!each || (each.endsAt !== null && this.sim.now >= each.endsAt)) return 'ended';
    return each.name === 'log' && this.sim.now < this.logBusyUntilMs ? 'works' : 'waits';
  }

  isPending(pid: number): boolean {
    return pid === master && this.#held && this.#told;
  }

  signal(pid: number, signal: string): void {
    const each = this.#all.get(pid);
    this.signals.push({ name: each?.name ?? 'master', signal, at: this.sim.now });
    if (signal === 'SIGTERM' && each && this.sim.now >= each.deafUntilMs) each.endsAt ??= this.sim.now + each.endsAfterMs;
    if (pid !== master) return;
    this.#held = signal === 'SIGSTOP';
    if (signal !== 'SIGCONT') return;
    if (this.late !== null) this.start(this.late);
    this.late = null;
    // It ends when it has been told and nothing that it started lives.
    const end = () => {
      if (this.#told && !this.#held && this.children(master).every((child) => this.state(child) === 'ended')) this.#ended = true;
      else if (!this.#ended) this.sim.after(10, end);
    };
    this.sim.after(1, end);
  }

  /** Until the master has ended, or the stop is said to be over. */
  async end(over = new AbortController().signal): Promise<void> {
    let isDone = false;
    const parts = { processes: this, clock: this.sim.host(0) };
    const work = holdDovecot(master, parts)
      .then((isHeld) => (isHeld ? endHeld(master, parts, over) : undefined))
      .finally(() => (isDone = true));
    work.catch(() => {});
    await this.sim.runWhile(() => !isDone, 60_000);
    await work;
  }

  names(signal: string): string[] {
    return this.signals.filter((each) => each.signal === signal).map(({ name }) => name);
  }

  at(name: string, signal: string): number {
    const found = this.signals.find((each) => each.name === name && each.signal === signal);
    if (!found) throw new Error(`${name} got no ${signal}`);
    return found.at;
  }
}

const usual = ['anvil', 'log', 'imap-login', 'config', 'stats', 'auth', 'imap', 'imap', 'lmtp'];

describe('the processes of a Dovecot that is being stopped', () => {
  it('end sessions first, then what these may need, the log last, while their master is held', async () => {
    const server = new Server(usual);
    server.tellAt(5);
    await server.end();
    expect(server.names('SIGTERM')).toEqual(['imap-login', 'imap', 'imap', 'lmtp', 'auth', 'anvil', 'config', 'stats', 'log']);
    expect(server.signals.at(0)).toMatchObject({ name: 'master', signal: 'SIGSTOP' });
    expect(server.signals.at(-1)).toMatchObject({ name: 'master', signal: 'SIGCONT' });
    expect(server.at('auth', 'SIGTERM')).toBeGreaterThanOrEqual(10);
    expect(server.state(master)).toBe('ended');
    expect(server.sim.now).toBeLessThan(200);
    // Nobody is killed.
    expect(new Set(server.signals.map(({ signal }) => signal))).toEqual(new Set(['SIGSTOP', 'SIGTERM', 'SIGCONT']));
  });

  it('keep what sessions need for as long as one of them works, and are left to their master after that', async () => {
    const server = new Server(usual);
    server.start('imap', 5000);
    server.tellAt(5);
    await server.end();
    expect(server.names('SIGTERM')).not.toContain('auth');
    expect(server.names('SIGTERM')).not.toContain('log');
    expect(server.at('master', 'SIGCONT')).toBeGreaterThanOrEqual(patienceMs);
    expect(server.at('master', 'SIGCONT')).toBeLessThan(patienceMs + 50);
  });

  it('keep it, too, until the master is told, because who tells it may need that', async () => {
    const server = new Server(usual);
    server.tellAt(300);
    await server.end();
    expect(server.at('imap', 'SIGTERM')).toBeLessThan(50);
    expect(server.at('auth', 'SIGTERM')).toBeGreaterThanOrEqual(300);
    expect(server.state(master)).toBe('ended');
  });

  it('give the log the time to read what the others wrote', async () => {
    const server = new Server(usual);
    server.tellAt(5);
    server.logBusyUntilMs = 250;
    await server.end();
    expect(server.at('log', 'SIGTERM')).toBeGreaterThan(250);
  });

  it('are told again where the signal was lost as they were being started', async () => {
    const server = new Server(usual);
    server.start('dovecot', 10, 30);
    server.tellAt(5);
    await server.end();
    expect(server.names('SIGTERM').filter((name) => name === 'dovecot')).toHaveLength(2);
    expect(server.state(master)).toBe('ended');
  });

  it('are also those that the master starts before it gets to its signal', async () => {
    const server = new Server(usual);
    server.late = 'imap-login';
    server.tellAt(5);
    await server.end();
    expect(server.signals.at(-1)).toMatchObject({ name: 'imap-login', signal: 'SIGTERM' });
    expect(server.state(master)).toBe('ended');
  });

  it('go on when the stop is over, whatever became of it', async () => {
    const server = new Server(usual);
    server.start('imap', 5000);
    const over = new AbortController();
    server.sim.at(100, () => over.abort());
    await server.end(over.signal);
    expect(server.at('master', 'SIGCONT')).toBeLessThan(110);

    const broken = new Server(usual);
    broken.isPending = () => {
      throw new Error('cannot be read');
    };
    await expect(broken.end()).rejects.toThrow('cannot be read');
    expect(broken.signals.at(-1)).toMatchObject({ name: 'master', signal: 'SIGCONT' });
  });

  it('are left alone where the main process is no Dovecot', async () => {
    const server = new Server(['smtpd'], '/usr/lib/postfix/sbin/master');
    await server.end();
    expect(server.signals).toEqual([]);
  });
});
