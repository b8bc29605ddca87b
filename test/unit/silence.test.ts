import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { afterLook, heard, lookAt, unheard, watchedGapMs, type Look, type Signs, type Silence } from '../../agent/failover/silence.ts';

const minute = 60_000;
const wallOf = (ms: number) => `t${ms / 1000}`;

/** Looks at a primary that was last heard at 0: `[seconds, what was seen]`. */
function looked(...looks: [atSeconds: number, saw: Look['saw'], offSinceSeconds?: number][]): Silence {
  return looks.reduce<Silence>(
    (silence, [at, saw, offSince]) =>
      afterLook(
        silence,
        { atMs: at * 1000, saw, what: saw, ...(offSince === undefined ? {} : { offSinceWallMs: offSince * 1000 }) },
        at * 1000,
      ),
    heard(0),
  );
}

const secondsAt = (silence: Silence, seconds: number) => unheard(silence, seconds * 1000, wallOf).seconds;

describe('how long a dead primary can have lived unheard', () => {
  it('is the time until the first look that found it dead; what comes after is no loss, however long it is', () => {
    const looks = Array.from({ length: 125 }, (_, i): [number, Look['saw']] => [8 + i * 10, 'nothing']);
    const twentyMinutes = looked(...looks);
    expect(secondsAt(twentyMinutes, 1255)).toBe(8);
    expect(unheard(twentyMinutes, 1_255_000, wallOf).bound).toContain('since t8 at the latest (125 looks)');
  });

  it('counts the time in which nobody looked, because it may have come back and gone again', () => {
    // The standby was restarted between 60 and 240 s.
    expect(secondsAt(looked([10, 'nothing'], [35, 'nothing'], [60, 'nothing'], [240, 'nothing'], [250, 'nothing']), 255)).toBe(190);
    expect(secondsAt(looked([10, 'nothing']), 10 + watchedGapMs / 1000 + 5)).toBe(45);
  });

  it('counts all of it while something answers, nobody can tell, or nobody looks', () => {
    expect(secondsAt(looked([10, 'something'], [20, 'something']), 25)).toBe(25);
    expect(secondsAt(looked([10, 'blind'], [20, 'blind']), 25)).toBe(25);
    expect(secondsAt(heard(0), 25)).toBe(25);
    expect(secondsAt(looked([10, 'nothing'], [20, 'something'], [30, 'nothing'], [40, 'nothing']), 45)).toBe(30);
  });

  it('goes by the power switch, also where it is read seldom or tells itself when the power went', () => {
    expect(secondsAt(looked([100, 'off'], [400, 'off']), 405)).toBe(100);
    expect(secondsAt(looked([1000, 'off', 12]), 1001)).toBe(12);
    // A clock that is wrong makes it neither negative nor longer.
    expect(secondsAt(looked([1000, 'off', -500]), 1001)).toBe(0);
    expect(secondsAt(looked([1000, 'off', 5000]), 1001)).toBe(1000);
  });

  it('is never more than the time since it was heard, and never falls while time passes', () => {
    const saw = fc.constantFrom('nothing' as const, 'off' as const, 'something' as const, 'blind' as const);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(100), saw), { maxLength: 30 }), fc.nat(1000), (steps, last) => {
        let at = 0;
        let before = 0;
        let silence = heard(0);
        for (const [gap, seen] of steps) {
          at += gap;
          silence = afterLook(silence, { atMs: at * 1000, saw: seen, what: '' }, at * 1000);
          const seconds = secondsAt(silence, at);
          expect(seconds).toBeGreaterThanOrEqual(before);
          expect(seconds).toBeLessThanOrEqual(at);
          before = seconds;
        }
        expect(secondsAt(silence, at + last)).toBeLessThanOrEqual(at + last);
      }),
    );
  });
});

describe('a look at a silent primary', () => {
  const dead: Signs = {
    paths: [{ path: '192.0.2.1:7420', lives: false }],
    services: [{ address: '192.0.2.10', by: null, error: null }],
    witnesses: ['192.0.2.254'],
    power: [{ name: 'bmc', state: 'on', evidence: 'on' }],
  };
  it.each<[string, Look['saw'], Partial<Signs>]>([
    ['none of its addresses answers, and a gateway does', 'nothing', {}],
    ['its kernel refuses a connection', 'something', { paths: [{ path: '192.0.2.1:7420', lives: true }] }],
    ['somebody has a service address', 'something', { services: [{ address: '192.0.2.10', by: '02:00:00:00:00:01', error: null }] }],
    ['no gateway answers: this node may be the one that is cut off', 'blind', { witnesses: [] }],
    ['no gateway is configured', 'blind', { witnesses: null }],
    ['its port has no cable here', 'blind', { services: [{ address: '192.0.2.10', by: null, error: 'no carrier' }] }],
    ['nothing of it is known', 'blind', { paths: [], services: [] }],
    ['its power reads off, though no gateway answers', 'off', { witnesses: [], power: [{ name: 'bmc', state: 'off', evidence: 'off' }] }],
    [
      'the wrong plug reads off: something answers',
      'something',
      { paths: [{ path: '192.0.2.1:7420', lives: true }], power: [{ name: 'pdu', state: 'off', evidence: 'off' }] },
    ],
  ])('%s: %s', (_, saw, change) => {
    expect(lookAt({ ...dead, ...change }, minute).saw).toBe(saw);
  });

  it('takes the time from a level that tells it', () => {
    const power = [{ name: 'sel', state: 'off' as const, evidence: 'status ended with 2: off since 2026-11-30T08:41:00Z' }];
    expect(lookAt({ ...dead, power }, minute).offSinceWallMs).toBe(Date.UTC(2026, 10, 30, 8, 41));
  });
});
