import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../agent/failover/canonical-json.ts';
import { checkBasis, makePlan, planDigest, planLifeMs, stepsOf, type PlanParts } from '../../agent/failover/plan.ts';
import { planSchema, type GuardResult, type Plan, type PlanBasis, type TakeoverKind } from '../../protocol/takeover.ts';

const wallMs = Date.UTC(2026, 0, 2, 9, 5);

const basis: PlanBasis = {
  role: 'standby',
  epoch: 3,
  seenEpoch: 3,
  peerRole: 'primary',
  peerEpoch: 3,
  peerConnected: false,
  position: '3:100:0123456789abcdef',
  addressesAnswered: [],
  configDigest: 'c'.repeat(64),
};

function parts(change: Partial<PlanParts> = {}): PlanParts {
  return {
    id: 't1',
    kind: 'failover',
    node: 'mail-b',
    target: 'mail-a',
    wallMs,
    guards: [],
    overrides: [],
    predictedLoss: { mailboxes: 1, messages: 2, seconds: 3, changes: 4 },
    basis,
    epochBurned: 0,
    ...change,
  };
}

const now = (change: Partial<PlanBasis> = {}, guards: GuardResult[] = []) => ({
  wallMs: wallMs + 1000,
  node: 'mail-b',
  basis: { ...basis, ...change },
  guards,
});

describe('a plan', () => {
  it('is what the file holds, and its digest fits when it is read back', () => {
    const plan = makePlan(parts());
    const read = planSchema.parse(JSON.parse(JSON.stringify(plan)));
    expect(read).toEqual(plan);
    expect(planDigest(read)).toBe(plan.digest);
    expect(checkBasis(read, now())).toBeNull();
  });

  it('takes an epoch above every one that is known or may have been given away (I3)', () => {
    fc.assert(
      fc.property(fc.nat(50), fc.nat(50), fc.option(fc.nat(50)), fc.nat(50), (epoch, seenEpoch, peerEpoch, epochBurned) => {
        const plan = makePlan(parts({ basis: { ...basis, epoch, seenEpoch, peerEpoch }, epochBurned }));
        return plan.epoch > Math.max(epoch, seenEpoch, peerEpoch ?? 0, epochBurned);
      }),
    );
  });

  it.each(['switchover', 'failover'] as const)(
    'of a %s checks first and changes last: one commit point, what comes before can be given up, what comes after goes forward (I14)',
    (kind: TakeoverKind) => {
      const steps = stepsOf(kind, 'mail-b', 'mail-a');
      const commits = steps.filter(({ pointOfNoReturn }) => pointOfNoReturn);
      expect(commits).toHaveLength(1);
      const at = steps.indexOf(commits[0]!);
      expect(steps.slice(0, at).every(({ rollback }) => rollback !== 'forward')).toBe(true);
      expect(steps.slice(at + 1).every(({ rollback }) => rollback === 'forward')).toBe(true);
      const ids = steps.map(({ id }) => id);
      // Nothing of this node comes up before its role is durable, and no service before the UIDs are safe (I5).
      for (const id of ['addresses', 'services'] as const) expect(ids.indexOf(id)).toBeGreaterThan(ids.indexOf('epoch'));
      if (kind === 'failover') {
        expect(ids.indexOf('raise')).toBeLessThan(ids.indexOf('services'));
        expect(ids.indexOf('fence')).toBeLessThan(ids.indexOf('epoch'));
      } else expect(ids.indexOf('stepdown')).toBeLessThan(ids.indexOf('epoch'));
    },
  );

  const moves: [string, Partial<PlanBasis>][] = [
    ['the role', { role: 'primary' }],
    ['the epoch', { epoch: 2 }],
    ['the seen epoch', { seenEpoch: 4 }],
    ['the role of the peer', { peerRole: 'fenced' }],
    ['the epoch of the peer', { peerEpoch: 2 }],
    ['the connection', { peerConnected: true }],
    ['the position', { position: '3:101:0123456789abcdef' }],
    ['an address that is answered', { addressesAnswered: ['192.0.2.10'] }],
    ['addresses that are not known', { addressesAnswered: null }],
    ['the configuration', { configDigest: 'd'.repeat(64) }],
  ];
  it.each(moves)('is stale when %s has moved (I14)', (_what, change) => {
    expect(checkBasis(makePlan(parts()), now(change))).toHaveLength(1);
  });

  it('of a switchover lives with a position that moves, for mail goes on', () => {
    const plan = makePlan(parts({ kind: 'switchover' }));
    expect(checkBasis(plan, now({ position: '3:101:0123456789abcdef' }))).toBeNull();
  });

  it('is stale when it is old, for another node, or changed by hand', () => {
    const plan = makePlan(parts());
    expect(checkBasis(plan, { ...now(), wallMs: wallMs + planLifeMs + 1 })?.[0]).toContain('expired');
    expect(checkBasis(plan, { ...now(), node: 'mail-a' })?.[0]).toContain('this node is mail-a');
    expect(checkBasis({ ...plan, epoch: 9 }, now())?.[0]).toContain('digest');
  });

  it('is stale when a guard fails now that it does not override by name', () => {
    const failing: GuardResult = {
      guard: 'disk-space',
      level: 'fail',
      summary: 'full',
      evidence: '',
      remedy: 'make room',
      overridable: true,
    };
    expect(checkBasis(makePlan(parts()), now({}, [failing]))?.[0]).toContain('disk-space fails now and did not');
    expect(checkBasis(makePlan(parts({ overrides: ['disk-space'] })), now({}, [failing]))).toBeNull();
  });

  it('any change of any field shows in the digest', () => {
    const plan: Plan = makePlan(parts());
    for (const key of Object.keys(plan) as (keyof Plan)[]) {
      if (key === 'digest') continue;
      expect(planDigest({ ...plan, [key]: 'other' }), key).not.toBe(plan.digest);
    }
  });
});

it('canonical JSON does not depend on the order of keys', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
      const turned = Object.fromEntries(Object.entries(value).toReversed());
      expect(canonicalJson(turned)).toBe(canonicalJson(value));
      expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});
