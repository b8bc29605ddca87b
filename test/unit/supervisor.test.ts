import { AssertionError } from 'node:assert';
import { describe, expect, it } from 'vitest';
import { OperatorError } from '../../agent/platform/errors.ts';
import { silentLog, type Log } from '../../agent/platform/log.ts';
import { sleep } from '../../agent/platform/clock.ts';
import { Closing } from '../../agent/wiring/closing.ts';
import { Supervisor } from '../../agent/wiring/supervisor.ts';
import { SimClock } from '../sim/sim-clock.ts';

function bench() {
  const sim = new SimClock();
  const clock = sim.host(Date.parse('2026-01-01T00:00:00Z'));
  const errors: Record<string, unknown>[] = [];
  const log: Log = { ...silentLog, error: (facts) => void errors.push(facts as Record<string, unknown>) };
  const ended: [what: string, error: unknown][] = [];
  const supervisor = new Supervisor({ clock, log, fatal: (what, error) => void ended.push([what, error]) });
  return { sim, clock, supervisor, errors, ended };
}

describe('a long-lived part that fails', () => {
  it('is begun again after 1, 2, 4 ... 60 seconds, and shown until it works', async () => {
    const { sim, supervisor, ended } = bench();
    const begun: number[] = [];
    let isBroken = true;
    void supervisor.keep('the part', async (signal) => {
      begun.push(Math.round(sim.now / 1000));
      if (isBroken) throw new Error('the part is broken');
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    });
    await sim.runFor(200_000);
    expect(begun).toEqual([0, 1, 3, 7, 15, 31, 63, 123, 183]);
    expect(supervisor.troubles).toMatchObject([{ code: 'part-failed', text: expect.stringContaining('the part is broken') }]);
    isBroken = false;
    await sim.runFor(80_000);
    expect(supervisor.troubles).toEqual([]);
    expect(ended).toEqual([]);
  });

  it('begins with the shortest wait again when it had worked for two minutes', async () => {
    const { sim, clock, supervisor } = bench();
    const begun: number[] = [];
    let worksMs = 0;
    void supervisor.keep('the part', async (signal) => {
      begun.push(Math.round(sim.now / 1000));
      await sleep(clock, worksMs, signal);
      throw new Error('again');
    });
    await sim.runFor(16_000);
    worksMs = 130_000;
    await sim.runFor(250_000);
    expect(begun).toEqual([0, 1, 3, 7, 15, 31, 162]);
  });

  it('has its stack logged once for one reason', async () => {
    const { sim, supervisor, errors } = bench();
    let reason = 'first';
    void supervisor.keep('the part', async () => {
      throw new Error(reason);
    });
    await sim.runFor(10_000);
    reason = 'second';
    await sim.runFor(10_000);
    const stacks = errors.filter(({ error }) => /\n\s+at /.test(String(error)));
    expect(errors).toHaveLength(5);
    expect(stacks.map(({ error }) => String(error).split('\n')[0])).toEqual(['Error: first', 'Error: second']);
  });

  it('that an operator can mend is shown with its own code and remedy', async () => {
    const { sim, supervisor } = bench();
    void supervisor.keep('the pair link', async () => {
      throw new OperatorError('listen', 'cannot listen on 192.0.2.1:7420', 'stop what has the port');
    });
    await sim.runFor(10);
    expect(supervisor.troubles).toEqual([
      { level: 'error', code: 'listen', text: 'cannot listen on 192.0.2.1:7420', remedy: 'stop what has the port' },
    ]);
  });

  it('ends the process only for what cannot be mended in it: a broken assertion, a damaged store (I3)', async () => {
    const { sim, supervisor, ended } = bench();
    const errors = [
      new AssertionError({ message: 'two roles' }),
      new OperatorError('store-damaged', 'a page is destroyed', 'repair it', 5),
    ];
    let begun = 0;
    for (const error of errors)
      void supervisor.keep('the part', async () => {
        begun++;
        throw error;
      });
    await sim.runFor(300_000);
    expect(ended.map(([, error]) => error)).toEqual(errors);
    expect(begun).toBe(2);
  });

  it('is not begun again after the stop', async () => {
    const { sim, supervisor } = bench();
    let begun = 0;
    const kept = supervisor.keep('the part', async () => {
      begun++;
      throw new Error('broken');
    });
    await sim.runFor(500);
    supervisor.stop();
    await sim.settle(kept, 10);
    await sim.runFor(100_000);
    expect(begun).toBe(1);
  });
});

describe('the end of an agent', () => {
  const never = () => new Promise<void>(() => {});

  it('comes within ten seconds whatever hangs, and leaves a store alone that may be in use (I23)', async () => {
    for (const hangs of ['start', 'first', 'second', 'last', 'all']) {
      const { sim, clock } = bench();
      const closing = new Closing(clock, silentLog);
      const closed: string[] = [];
      const closer = (stage: string) => () => (hangs === stage || hangs === 'all' ? never() : void closed.push(stage));
      closing.first(closer('first'));
      closing.second(closer('second'));
      closing.last(closer('last'));
      await sim.settle(closing.close(hangs === 'start' || hangs === 'all' ? never() : null), 9000);
      expect(closed, hangs).toEqual(
        { start: ['first', 'second'], first: ['second'], second: ['first'], last: ['first', 'second'], all: [] as string[] }[hangs],
      );
    }
  });

  it('closes the store last, also when something before it fails', async () => {
    const { sim, clock } = bench();
    const closing = new Closing(clock, silentLog);
    const closed: string[] = [];
    closing.last(() => void closed.push('store'));
    closing.second(async () => {
      await sleep(clock, 100);
      closed.push('role');
    });
    closing.first(() => Promise.reject(new Error('no')));
    closing.first(() => void closed.push('link'));
    await sim.settle(closing.close(Promise.reject(new Error('the start failed'))), 1000);
    expect(closed).toEqual(['link', 'role', 'store']);
  });
});
