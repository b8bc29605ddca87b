import { describe, expect, it } from 'vitest';
import { OperatorError } from '../../agent/platform/errors.ts';
import { silentLog } from '../../agent/platform/log.ts';
import type { ServicesVerdict } from '../../agent/services/services.ts';
import { Resting } from '../../agent/wiring/resting.ts';
import { SimClock } from '../sim/sim-clock.ts';

/** A node whose Dovecot somebody else may start. */
function node(change: { stopMs?: number; fails?: boolean } = {}) {
  const sim = new SimClock();
  const clock = sim.host(Date.UTC(2026, 10, 30, 8, 41));
  const world = { state: 'stopped' as ServicesVerdict, role: 'standby', foreign: 0, stops: 0, startedDuringStop: false, isStopping: false };
  const resting = new Resting({
    clock,
    log: silentLog,
    services: {
      configured: true,
      state: async () => ({ state: world.state, units: [{ name: 'dovecot.service', state: world.state, detail: world.state }] }),
      stop: async () => {
        world.stops++;
        world.isStopping = true;
        await new Promise<void>((resolve) => clock.after(change.stopMs ?? 100, resolve));
        world.isStopping = false;
        if (change.fails) throw new OperatorError('services-stop', 'dovecot.service does not stop', 'see its journal', 5);
        world.state = 'stopped';
      },
    },
    mustRest: () => world.role === 'standby',
    foreign: () => world.foreign,
  });
  const over = new AbortController();
  const run = () => void resting.run(over.signal);
  return { sim, world, resting, run };
}

describe('mail services that somebody else starts on a node that is not active', () => {
  it('are stopped within seconds, and explained then, with what was changed', async () => {
    const { sim, world, resting, run } = node();
    run();
    await sim.runFor(20_000);
    expect(resting.notices()).toEqual([]);
    world.state = 'running';
    await sim.runFor(6000);
    expect([world.state, world.stops]).toEqual(['stopped', 1]);
    world.foreign = 3;
    const [notice] = resting.notices();
    expect(notice).toMatchObject({ level: 'warn', code: 'started-by-others' });
    expect(notice?.text).toMatch(/dovecot.service was running\); they were stopped; 3 places of this copy were changed/);
    expect(notice?.remedy).toContain('mailtwin verify');
  });

  it('are stopped again each time, and counted', async () => {
    const { sim, world, resting, run } = node();
    run();
    for (let i = 0; i < 3; i++) {
      world.state = 'partial';
      await sim.runFor(6000);
    }
    expect(world.stops).toBe(3);
    expect(resting.notices()[0]?.text).toContain('3 times since 2026-11-30T08:41');
    // It is told for an hour, and as long as what was changed is there.
    world.foreign = 1;
    await sim.runFor(2 * 3_600_000);
    expect(resting.notices()).toHaveLength(1);
    world.foreign = 0;
    expect(resting.notices()).toEqual([]);
  });

  it('that cannot be stopped are an error that says so, and are tried again', async () => {
    const { sim, world, resting, run } = node({ fails: true });
    world.state = 'running';
    run();
    await sim.runFor(12_000);
    expect(world.stops).toBeGreaterThan(1);
    expect(resting.notices()[0]).toMatchObject({
      level: 'error',
      text: expect.stringContaining('cannot be stopped: dovecot.service does not stop') as string,
    });
  });

  it('are left alone where this node is active, and a takeover starts nothing while they are being stopped', async () => {
    const { sim, world, resting, run } = node({ stopMs: 3000 });
    world.role = 'primary';
    world.state = 'running';
    run();
    await sim.runFor(20_000);
    expect(world.stops).toBe(0);
    world.role = 'standby';
    await sim.runFor(6000);
    expect(world.isStopping).toBe(true);
    const settled = resting.settled().then(() => world.isStopping);
    expect(await sim.settle(settled, 10_000)).toBe(false);
  });

  it('that ran when the agent started are told as that', () => {
    const { resting } = node();
    resting.noteAtStart({ state: 'stopped', units: [] }, null);
    expect(resting.notices()).toEqual([]);
    resting.noteAtStart({ state: 'running', units: [{ name: 'dovecot.service', state: 'running', detail: 'running' }] }, null);
    expect(resting.notices()[0]?.text).toContain('when the agent started');
  });
});
