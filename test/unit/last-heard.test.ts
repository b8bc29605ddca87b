import { describe, expect, it } from 'vitest';
import type { MessageOf } from '../../protocol/messages.ts';
import type { Channel } from '../../agent/link/channel.ts';
import type { Hello } from '../../agent/link/handshake.ts';
import { forgetLastHeard, LastHeard } from '../../agent/replicate/last-heard.ts';
import { PeerView } from '../../agent/replicate/peer-view.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';

const beat = (change: Partial<MessageOf<'heartbeat'>> = {}): MessageOf<'heartbeat'> => ({
  type: 'heartbeat',
  wallMs: 0,
  role: 'primary',
  epoch: 3,
  position: { epoch: 3, seq: 7, checksum: '00'.repeat(8) },
  lagChanges: 2,
  lagBytes: 0,
  lagMs: 400,
  phase: 'streaming',
  complete: true,
  lossMailboxes: 1,
  lossMessages: 2,
  lossBytes: 3,
  filesTotal: null,
  appliedMs: 0,
  active: true,
  space: [],
  unproven: 1,
  leftOut: 0,
  warnings: [],
  doubts: [['mail', 'caf\xe9/cur', 'cannot be read', 5]],
  laggingCount: 0,
  lagging: [],
  fileSystems: [],
  queue: null,
  certificate: null,
  releases: null,
  damaged: 0,
  ...change,
});

/** A standby on a host whose store outlives its processes. */
function host() {
  const clock = new SimClock();
  const store = new SimKvStore(() => 1);
  let commits = 0;
  const start = () => {
    const process = clock.host(clock.now);
    const kv = store.open(process);
    const counted = { ...kv, commit: (...args: Parameters<typeof kv.commit>) => (commits++, kv.commit(...args)) };
    return { kv, view: new PeerView(process, () => beat({ role: 'standby' }), new LastHeard(counted, process)), process };
  };
  return { clock, store, start, commits: () => commits };
}

function connection() {
  let end = () => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  return { channel: { ended, sendControl: () => {} } as unknown as Channel, end };
}

const hello = {
  node: 'mail-a',
  role: 'primary',
  epoch: 3,
  active: true,
  agentVersion: '0.2.0',
  serverVersion: 'dovecot 2.3.19',
  wallMs: 0,
};

describe('what a standby last heard of its primary', () => {
  it('is there after a restart of its agent, with its age', async () => {
    const { clock, store, start } = host();
    const first = start();
    const { channel, end } = connection();
    first.view.attach(channel, hello as Hello, '192.0.2.1:7420');
    first.view.take(beat());
    await clock.runFor(1000);
    end();
    await clock.settle(first.kv.flushed(), 1000);
    await clock.runFor(20 * 60_000);
    const second = start();
    const { reading } = second.view;
    expect(second.view.connected).toBe(false);
    expect(reading).toMatchObject({ ...first.view.reading, heardMonotonicMs: expect.any(Number) as number });
    expect(reading?.heartbeat).toEqual(first.view.reading?.heartbeat);
    const age = second.process.monotonicMs() - (reading?.heardMonotonicMs ?? 0);
    expect(Math.round(age / 60_000)).toBe(20);
    // A node that became primary has no use for it.
    second.kv.commit([forgetLastHeard()]);
    expect(new LastHeard(store.open(clock.host(0)), clock.host(0)).read()).toBeNull();
  });

  it('is not written with each heartbeat, and at once when it says something else', async () => {
    const { clock, start, commits } = host();
    const { view } = start();
    view.attach(connection().channel, hello as Hello, '192.0.2.1:7420');
    for (let i = 0; i < 60; i++) {
      view.take(beat({ lagMs: i }));
      await clock.runFor(1000);
    }
    expect(commits()).toBeLessThanOrEqual(13);
    const before = commits();
    view.take(beat({ unproven: 2 }));
    expect(commits()).toBe(before + 1);
  });

  it('is as good as nothing when another release wrote its heartbeat', async () => {
    const { clock, start } = host();
    const { kv, view } = start();
    view.attach(connection().channel, hello as Hello, '192.0.2.1:7420');
    view.take(beat());
    const [[key, value] = []] = [...kv.range(Buffer.from([0]), Buffer.from([255]))];
    const stored = JSON.parse(value?.toString() ?? '') as { frame: string };
    for (const frame of ['', Buffer.from([3, 0x90]).toString('base64'), stored.frame.slice(0, 40)]) {
      kv.commit([[key ?? Buffer.alloc(0), Buffer.from(JSON.stringify({ ...stored, frame }))]]);
      expect(new LastHeard(kv, clock.host(0)).read()).toMatchObject({ role: 'primary', heartbeat: null });
    }
  });

  it('keeps what was under way when a connection ends before its first heartbeat', async () => {
    const { clock, start } = host();
    const { view } = start();
    const one = connection();
    view.attach(one.channel, hello as Hello, '192.0.2.1:7420');
    view.take(beat());
    one.end();
    await clock.runFor(1000);
    const two = connection();
    view.attach(two.channel, hello as Hello, '192.0.2.1:7420');
    expect(view.reading?.heartbeat).toBeNull();
    two.end();
    await clock.runFor(1);
    expect(view.reading?.heartbeat?.unproven).toBe(1);
  });
});
