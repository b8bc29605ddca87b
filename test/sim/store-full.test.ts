import { describe, expect, it } from 'vitest';
import { PlainPair } from './plain-pair.ts';
import { SimRandom } from './sim-random.ts';

const seed = Number(process.env['SIM_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

describe(`a state directory whose disk is full (seed ${seed})`, () => {
  it('of the standby: nothing more is acknowledged, the primary says why, and it goes on when there is room', async () => {
    const pair = new PlainPair();
    pair.connect();
    pair.work.writeFile('/plain/first', 'before');
    await pair.clock.runFor(1000);
    await pair.settle();
    let acknowledged = 0;
    pair.network.tap = (message) => {
      if (message.type === 'ack') acknowledged++;
      return message;
    };
    pair.setStateFull('standby', true);
    for (let i = 0; i < 20; i++) {
      pair.work.writeFile(`/plain/${i}`, `mail ${i}`);
      await pair.clock.runFor(500);
    }
    expect(acknowledged).toBe(0);
    expect(pair.primary.primary?.sender.held).toMatchObject({ code: 'state-full' });
    expect(pair.primary.primary?.changes.openCount).toBeGreaterThan(0);
    pair.setStateFull('standby', false);
    await pair.settle();
    expect(acknowledged).toBeGreaterThan(0);
    expect(pair.primary.primary?.sender.held).toBeNull();
    expect(pair.differences()).toEqual([]);
  });

  it('of the standby, in the midst of a batch: the batch is acknowledged when it is on disk, not before (I1)', async () => {
    const pair = new PlainPair();
    pair.connect();
    await pair.clock.runFor(1000);
    await pair.settle();
    let acknowledged = 0;
    pair.network.tap = (message) => {
      // The batch was begun while there was room.
      if (message.type === 'ops') pair.setStateFull('standby', true);
      if (message.type === 'ack') acknowledged++;
      return message;
    };
    pair.work.writeFile('/plain/file', 'mail');
    await pair.clock.runFor(20_000);
    expect(acknowledged).toBe(0);
    expect(pair.copy.lstat('/plain/file')).toBeNull();
    pair.setStateFull('standby', false);
    pair.network.tap = (message) => message;
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });

  it('of the primary: it sends nothing, says why, and goes on when there is room', async () => {
    const pair = new PlainPair();
    pair.connect();
    await pair.clock.runFor(1000);
    await pair.settle();
    pair.work.writeFile('/plain/before', 'mail');
    await pair.settle();
    // What was sent a moment ago leaves a grant to send more.
    pair.setStateFull('primary', true);
    let sent = 0;
    pair.network.tap = (message) => {
      if (message.type === 'ops') sent++;
      return message;
    };
    pair.work.writeFile('/plain/file', 'mail');
    await pair.clock.runFor(10_000);
    expect(sent).toBe(0);
    expect(pair.primary.primary?.sender.held).toMatchObject({ code: 'state-full' });
    pair.setStateFull('primary', false);
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });

  it('loses nothing and leaves no difference, whoever is killed while it is full (I1)', async () => {
    for (let round = 0; round < 40; round++) {
      const random = new SimRandom(seed + round);
      const pair = new PlainPair({}, seed + round);
      pair.connect();
      await pair.clock.runFor(random.between(0, 500));
      for (let step = 0; step < 25; step++) {
        const name = `/plain/${random.int(12)}`;
        if (random.chance(0.2) && pair.work.lstat(name)) pair.work.unlink(name);
        else pair.work.writeFile(name, `${round} ${step}`);
        const node = random.chance(0.5) ? 'primary' : 'standby';
        if (random.chance(0.3)) pair.setStateFull(node, random.chance(0.5));
        await pair.clock.runFor(random.between(0, 400));
        if (!random.chance(0.15)) continue;
        if (node === 'primary') {
          pair.killPrimary();
          pair.startPrimary();
        } else {
          pair.killStandby();
          pair.setStateFull('standby', false);
          await pair.startStandby();
        }
        pair.connect();
      }
      pair.setStateFull('primary', false);
      pair.setStateFull('standby', false);
      await pair.clock.runFor(5000);
      await pair.settle();
      expect(pair.differences(), `seed ${seed + round}`).toEqual([]);
      expect([...pair.primary.errors], `seed ${seed + round}`).toEqual([]);
    }
  });
});
