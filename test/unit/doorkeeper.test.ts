import { connect as netConnect, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { Doorkeeper, doorLimits } from '../../agent/link/doorkeeper.ts';
import { makeIdentity, identityFromPem } from '../../agent/link/identity.ts';
import { clientTls } from '../../agent/link/tls.ts';
import { TurnedAway, type TurnedAwayReason } from '../../agent/link/turned-away.ts';
import { introduce, TestNode, until } from '../lab/link-pair.ts';

const { waitingMax, waitingOfAddressMax, waitingOfPeerMax } = doorLimits;

describe('who waits at the door', () => {
  const keeper = (...peers: string[]) => new Doorkeeper(() => new Set(peers));
  const enter = (door: Doorkeeper, address: string, from: number, count: number) =>
    Array.from({ length: count }, (_, i) => door.enter({ key: `${address} ${from + i}`, address })).filter((key) => key !== null);

  it('gives way to newer ones of the same address, the oldest first', () => {
    const door = keeper();
    expect(enter(door, '192.0.2.1', 0, waitingOfAddressMax)).toEqual([]);
    expect(enter(door, '192.0.2.1', 100, 2)).toEqual(['192.0.2.1 0', '192.0.2.1 1']);
    door.leave('192.0.2.1 100');
    expect(enter(door, '192.0.2.1', 200, 1)).toEqual([]);
  });

  it('loses no place of the peer to others, however many come', () => {
    const door = keeper('192.0.2.9');
    expect(enter(door, '192.0.2.9', 0, 3)).toEqual([]);
    for (let host = 1; host <= 200; host++) for (const key of enter(door, `198.51.100.${host}`, 0, 20)) expect(key).not.toMatch(/^192/);
    expect(door.count).toBe(waitingMax);
    expect(enter(door, '192.0.2.9', 100, waitingOfPeerMax - 3).every((key) => key.startsWith('198'))).toBe(true);
  });

  it('is bounded, whoever comes and goes, and never ends more than one for one', () => {
    const address = fc.constantFrom('peer', 'a', 'b', ...Array.from({ length: 100 }, (_, i) => `h${i}`));
    fc.assert(
      fc.property(fc.array(fc.record({ address, leaves: fc.boolean() }), { maxLength: 500 }), (steps) => {
        const door = keeper('peer');
        const here = new Map<string, string>();
        steps.forEach((step, i) => {
          const first = [...here.keys()][0];
          if (step.leaves && first !== undefined) {
            door.leave(first);
            here.delete(first);
          }
          const key = `${step.address} ${i}`;
          here.set(key, step.address);
          const goes = door.enter({ key, address: step.address });
          if (goes !== null) {
            // The peer's own bound is the only thing that ends one of the peer's.
            if (here.get(goes) === 'peer') expect(step.address).toBe('peer');
            expect(here.delete(goes)).toBe(true);
          }
          expect(door.count).toBe(here.size);
          expect(here.size).toBeLessThanOrEqual(waitingMax);
          for (const [of, max] of [
            ['a', waitingOfAddressMax],
            ['peer', waitingOfPeerMax],
          ] as const)
            expect([...here.values()].filter((each) => each === of).length).toBeLessThanOrEqual(max);
        });
      }),
    );
  });
});

it('a flood is a few lines in the log at once, and one a minute for each kind; the metrics count all', () => {
  const lines: [object, string][] = [];
  const counted: TurnedAwayReason[] = [];
  let minute = () => {};
  const clock = { after: (_: number, fn: () => void) => ((minute = fn), { cancel() {} }) };
  const log = { debug() {}, info() {}, error() {}, warn: (facts: object, text: string) => void lines.push([facts, text]) };
  const away = new TurnedAway(clock as never, log, (reason) => counted.push(reason));
  for (let i = 0; i < 1000; i++) away.note('late', `192.0.2.${i % 5}`);
  for (let i = 0; i < 7; i++) away.note('crowded', '192.0.2.7');
  away.note('key', '192.0.2.8', null);
  expect(counted).toHaveLength(1008);
  expect(lines.map(([, text]) => text)).toEqual(
    Array.from({ length: 10 }, (_, i) => `a connection from 192.0.2.${i % 5} showed no key within 5 s`),
  );
  minute();
  expect(lines.slice(10).map(([facts, text]) => [facts, text])).toEqual([
    [
      { reason: 'late', count: 990, address: '192.0.2.4' },
      expect.stringMatching(/^990 more connections within a minute, the last from 192\.0\.2\.4/),
    ],
    [{ reason: 'crowded', count: 7, address: '192.0.2.7' }, expect.stringMatching(/^7 more connections/)],
  ]);
  minute();
  expect(lines).toHaveLength(12);
  away.note('late', '192.0.2.1');
  away.note('key', '192.0.2.2', { text: 'connection refused: another key', facts: { theirs: 'AB' } });
  expect(lines.slice(12)).toEqual([
    [expect.anything(), expect.stringContaining('192.0.2.1')],
    [{ reason: 'key', address: '192.0.2.2', theirs: 'AB' }, 'connection refused: another key'],
  ]);
});

const clean: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const step of clean.splice(0).reverse()) await step();
});

/** Connections that never become the peer's: as soon as one is ended another one takes its place. */
class Flood {
  readonly open = new Set<Socket>();
  opened = 0;
  #over = false;

  constructor(port: number, addresses: readonly string[], perAddress: number, act: (socket: Socket) => (() => void) | void) {
    const one = (localAddress: string): void => {
      if (this.#over) return;
      const socket = netConnect({ host: '127.0.0.1', port, localAddress });
      let end: (() => void) | void;
      socket.on('connect', () => {
        this.opened++;
        this.open.add(socket);
        end = act(socket);
      });
      socket.on('error', () => {});
      socket.on('close', () => {
        end?.();
        this.open.delete(socket);
        setTimeout(() => one(localAddress), 1);
      });
    };
    for (const address of addresses) for (let i = 0; i < perAddress; i++) one(address);
    clean.push(() => {
      this.#over = true;
      for (const socket of this.open) socket.destroy();
    });
  }
}

/** The first record of a TLS handshake, without its last bytes: half of a greeting. */
const halfHello = Buffer.from('16030100c8010000c40303', 'hex');

/** All but the end of a greeting, a byte at a time: it would take minutes. */
function drip(socket: Socket): NodeJS.Timeout {
  let sent = 0;
  const hello = Buffer.concat([halfHello, Buffer.alloc(150)]);
  return setInterval(() => socket.write(hello.subarray(sent, ++sent)), 200);
}

/** With how many at a time from each address: a whole handshake is work, for this process too. */
const floods: [string, number, (socket: Socket) => (() => void) | void][] = [
  ['that say nothing', 30, () => {}],
  ['that begin a handshake and stop', 30, (socket) => void socket.write(halfHello)],
  [
    'that send a byte now and then',
    30,
    (socket) => {
      const timer = drip(socket);
      return () => clearInterval(timer);
    },
  ],
  [
    'that show a key which is not the pinned one, and then wait',
    6,
    (socket) => {
      const stranger = strangersKey();
      const tls = tlsConnect({ ...clientTls(stranger, 'link', { host: '127.0.0.1', port: 1 }), socket });
      tls.on('error', () => {});
      tls.resume();
    },
  ],
];

let made: ReturnType<typeof identityFromPem> | undefined;
function strangersKey() {
  if (!made) {
    const { files } = makeIdentity('stranger');
    made = identityFromPem(files['node.key'] ?? '', files['node.crt'] ?? '');
  }
  return made;
}

describe('the real peer gets through', () => {
  const addresses = Array.from({ length: 12 }, (_, i) => `127.0.1.${i + 1}`);

  it.each(floods)('beside hundreds of connections %s, and comes back as often as it likes', async (_, perAddress, act) => {
    const [a, b] = [new TestNode('mail-a', 'primary'), new TestNode('mail-b', 'standby')];
    clean.push(
      () => a.stop(),
      () => b.stop(),
    );
    introduce(a, b);
    const counted = new Map<string, number>();
    const port = await a.listen(undefined, (reason) => counted.set(reason, (counted.get(reason) ?? 0) + 1));
    const flood = new Flood(port, addresses, perAddress, act);
    await until('the door to be full, and more to come', () => flood.opened > perAddress * 10, 120_000);
    for (let times = 1; times <= 3; times++) {
      const before = flood.opened;
      b.connect(port);
      await until('the channel of the peer', () => a.channels[times - 1] && b.channels[times - 1], 120_000);
      // They were there all the time, and it stands beside them.
      await until('the flood to go on', () => flood.opened > before + perAddress, 120_000);
      expect([a.channels[times - 1]?.end, b.channels[times - 1]?.end]).toEqual([null, null]);
      await b.connector?.stop();
    }
    expect([...counted.values()].reduce((sum, count) => sum + count, 0)).toBeGreaterThan(perAddress);
    // Warnings of one kind are not repeated for each.
    expect(a.lines.filter(({ level }) => level === 'warn').length).toBeLessThan(30);
  });

  it('also when they come from its own address, which it has never been met at', async () => {
    const [a, b] = [new TestNode('mail-a', 'primary'), new TestNode('mail-b', 'standby')];
    clean.push(
      () => a.stop(),
      () => b.stop(),
    );
    introduce(a, b);
    const port = await a.listen();
    const idle = new Flood(port, ['127.0.0.1'], 200, () => {});
    await until('them to wait', () => idle.opened > 200, 120_000);
    b.connect(port);
    await until('the channel of the peer', () => a.channels[0] && b.channels[0], 120_000);
  });

  it('ends who says nothing, in time', async () => {
    const a = new TestNode('mail-a', 'primary');
    clean.push(() => a.stop());
    const reasons: string[] = [];
    const port = await a.listen(undefined, (reason) => reasons.push(reason));
    const socket = netConnect({ host: '127.0.0.1', port });
    socket.on('error', () => {});
    clean.push(() => void socket.destroy());
    const dripping = drip(socket);
    clean.push(() => clearInterval(dripping));
    await until('its end', () => socket.destroyed, 120_000);
    expect(reasons).toEqual(['late']);
  });
});
