import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { known, none, unknown, type Fact, type GuardFacts } from '../../agent/failover/guard-facts.ts';
import { guards, judgeAll, refusals } from '../../agent/failover/guards.ts';
import { judgeAddresses } from '../../agent/failover/guards-peer.ts';
import { isOtherSeries, seenWay } from '../../agent/platform/dovecot-ways.ts';
import { olderThan } from '../../agent/platform/version-order.ts';
import { guardNames, guardResultSchema, type GuardName, type PredictedLoss, type TakeoverKind } from '../../protocol/takeover.ts';

const nowMs = 1_000_000;

/** Everything is well: a healthy pair before a switchover, or a dead primary before a failover. */
function well(kind: TakeoverKind): GuardFacts {
  const dead = kind === 'failover';
  return {
    kind,
    nowMs,
    own: {
      node: 'mail-b',
      role: 'standby',
      epoch: 3,
      agentVersion: '0.2.0',
      serverVersion: 'dovecot 2.3.19',
      formats: ['maildir', 'plain'],
    },
    peerNode: 'mail-a',
    running: null,
    peerTakeover: known(null, nowMs),
    localHealth: known([], nowMs),
    fill: known({ complete: true, filesDone: 100, filesTotal: 100 }, nowMs),
    unproven: known({ count: 0, example: '' }, nowMs),
    foreign: known({ count: 0, example: '' }, nowMs),
    damaged: known({ count: 0, example: '' }, nowMs),
    lastVerify: known({ result: 'clean', differences: 0, leftOut: 0, secondsAgo: 3600 }, nowMs),
    loss: known({ mailboxes: 0, messages: 0, seconds: 0, changes: 0 }, nowMs),
    paths: known([{ path: '192.0.2.1:7420', up: !dead, heardSecondsAgo: dead ? 60 : 0, error: '' }], nowMs),
    peer: dead
      ? unknown('nothing was heard for 60 s')
      : known({ node: 'mail-a', role: 'primary', epoch: 3, active: true, state: 'active' }, nowMs),
    isPutBack: known(false, nowMs),
    isolation: known({ asked: ['192.0.2.254'], answered: ['192.0.2.254'] }, nowMs),
    fence: known([{ level: 0, type: 'agent', name: 'fence_ipmilan', state: 'on', error: null }], nowMs),
    peerAgentVersion: known('0.2.0', nowMs),
    peerServerVersion: known('dovecot 2.3.19', nowMs),
    space: known([{ root: 'mail', freeBytes: 10e9, freeBytesMin: 1e9 }], nowMs),
    nicRoles: known([{ role: 'lan', port: 'eth0', carrier: true, proven: true, detail: '' }], nowMs),
    answered: known(dead ? [] : [{ address: '192.0.2.10', by: '02:00:00:00:00:01' }], nowMs),
    mailConfig: known({ ok: true, evidence: 'doveconf' }, nowMs),
    mailUnits: known([], nowMs),
    clockSkewSeconds: known(0.1, nowMs),
    replication: known({ connected: true, phase: 'streaming', lagChanges: 0, lagSeconds: 0 }, nowMs),
  };
}

function levelOf(guard: GuardName, kind: TakeoverKind, change: Partial<GuardFacts>): string | undefined {
  return judgeAll({ ...well(kind), ...change }).find((result) => result.guard === guard)?.level;
}

const alive = (secondsAgo: number) =>
  known({ node: 'mail-a', role: 'primary' as const, epoch: 3, active: true, state: 'active' as const }, nowMs - secondsAgo * 1000);
const paths = (...up: boolean[]) =>
  known(
    up.map((isUp, i) => ({ path: `192.0.2.${i + 1}:7420`, up: isUp, heardSecondsAgo: 6, error: '' })),
    nowMs,
  );

describe('a primary whose store was put back (I21)', () => {
  it.each([
    ['and that says so', 'warn', known(true, nowMs - 2000)],
    ['and that said so long ago', 'fail', known(true, nowMs - 60_000)],
    ['never', 'fail', known(false, nowMs)],
  ])('lets this node take over while it lives: %s', (_, level, isPutBack) => {
    expect(levelOf('peer-state', 'failover', { peer: alive(1), isPutBack })).toBe(level);
    // A switchover needs both to hold the same.
    expect(
      levelOf('replication', 'switchover', {
        replication: known({ connected: true, phase: 'put-back', lagChanges: 0, lagSeconds: 0 }, nowMs),
      }),
    ).toBe('fail');
  });
});

describe('whether the primary is dead (I3)', () => {
  it.each([
    ['it was heard just now, though no path answers any more', 'fail', alive(2), paths(false, false)],
    ['it is silent for six seconds and no path answers', 'pass', alive(6), paths(false, false)],
    ['it is silent for six seconds, and one of its addresses answers', 'fail', alive(6), paths(false, true)],
    ['it is silent for twenty, and one of its addresses answers', 'warn', alive(20), paths(true, false)],
    ['it is silent for six seconds, and no path was tried', 'fail', alive(6), paths()],
    ['it is silent for six seconds, and the paths cannot be told', 'fail', alive(6), unknown('not asked')],
  ] as const)('%s: %s', (_, level, peer, tried) => {
    expect(levelOf('peer-state', 'failover', { peer, paths: tried })).toBe(level);
  });
});

describe('a primary that is heard in service', () => {
  it('is never overridden, and one that is silent may be', () => {
    const peerState = (peer: GuardFacts['peer']) => judgeAll({ ...well('failover'), peer }).find(({ guard }) => guard === 'peer-state');
    expect(peerState(alive(2))).toMatchObject({ level: 'fail', overridable: false });
    expect(peerState(alive(60))?.overridable).toBe(true);
  });
});

describe('mail servers of two release series', () => {
  const judged = (own: string, peer: string, formats: string[] = ['maildir', 'plain'], kind: TakeoverKind = 'switchover') =>
    judgeAll({ ...well(kind), own: { ...well(kind).own, serverVersion: own, formats }, peerServerVersion: known(peer, nowMs) }).find(
      ({ guard }) => guard === 'mail-server-version',
    );

  it.each([
    ['the newer one takes over, and the way back is in the table', 'pass', 'dovecot 2.4.1', 'dovecot 2.3.19.1', ['maildir']],
    ['the older one takes over by a way that is in the table', 'warn', 'dovecot 2.3.19.1', 'dovecot 2.4.1', ['maildir']],
    ['there is no way back in the table', 'warn', 'dovecot 2.5.0', 'dovecot 2.4.1', ['maildir']],
    ['the older one takes over by a way that nobody has seen', 'fail', 'dovecot 2.2.36', 'dovecot 2.4.1', ['maildir']],
    ['the newer one takes over, and no root is a Maildir', 'warn', 'dovecot 2.4.1', 'dovecot 2.3.19.1', ['plain']],
    ['the older one takes over, and no root is a Maildir', 'fail', 'dovecot 2.3.19.1', 'dovecot 2.4.1', ['plain']],
  ])('%s: %s', (_, level, own, peer, formats) => {
    expect(judged(own, peer, formats)).toMatchObject({
      level,
      evidence: expect.stringContaining(`here ${own}, primary ${peer}`) as string,
    });
    expect(judged(own, peer, formats, 'failover')?.level).toBe(level);
  });

  it('tell with what the way was seen, and what to look at before the way back is gone', () => {
    expect(judged('dovecot 2.3.19', 'dovecot 2.4.1')).toMatchObject({
      evidence: expect.stringContaining('dovecot_storage_version 2.3.0 and 2.4.0') as string,
      remedy: expect.stringMatching(/see on mail-a .*tells 2\.3\.0 or 2\.4\.0/) as string,
    });
    expect(judged('dovecot 2.5.0', 'dovecot 2.4.1')?.remedy).toContain('update the other node before you switch back');
    // 2.10 is another series than 2.1, and what is no Dovecot has none.
    expect([isOtherSeries('dovecot 2.10.1', 'dovecot 2.1.0'), isOtherSeries('dovecot 2.4.1', 'dovecot 2.4.9')]).toEqual([true, false]);
    expect([isOtherSeries('cyrus 3.6.1', 'cyrus 3.8.0'), seenWay('cyrus 2.3.1', 'dovecot 2.4.1')]).toEqual([false, null]);
  });
});

describe('the guards of a takeover', () => {
  it.each(['switchover', 'failover'] as const)('let a %s pass when all is well', (kind) => {
    expect(judgeAll(well(kind)).filter(({ level }) => level !== 'pass')).toEqual([]);
  });

  const bad: [GuardName, TakeoverKind, Partial<GuardFacts>][] = [
    ['role', 'failover', { own: { ...well('failover').own, role: 'primary' } }],
    ['role', 'switchover', { own: { ...well('failover').own, role: 'fenced' } }],
    ['role', 'failover', { peerNode: null }],
    ['other-takeover', 'failover', { running: 't1' }],
    ['other-takeover', 'switchover', { peerTakeover: known('t1', nowMs) }],
    ['local-health', 'failover', { localHealth: known(['the disk fails'], nowMs) }],
    ['initial-fill', 'failover', { fill: known({ complete: false, filesDone: 1, filesTotal: 2 }, nowMs) }],
    ['initial-fill', 'failover', { fill: unknown('no store') }],
    ['unproven', 'failover', { unproven: known({ count: 1, example: 'mail/cur' }, nowMs) }],
    ['unproven', 'switchover', { unproven: unknown('never heard') }],
    ['foreign-writes', 'failover', { foreign: known({ count: 1, example: 'mail/cur/x' }, nowMs) }],
    ['last-verify', 'failover', { lastVerify: known({ result: 'different', differences: 2, leftOut: 0, secondsAgo: 0 }, nowMs) }],
    ['predicted-loss', 'failover', { loss: unknown('never heard') }],
    ['peer-state', 'switchover', { peer: unknown('silent') }],
    ['peer-state', 'failover', { peer: well('switchover').peer }],
    ['isolation', 'failover', { isolation: known({ asked: ['192.0.2.254'], answered: [] }, nowMs) }],
    ['fence-path', 'failover', { fence: none('no section') }],
    ['agent-version', 'switchover', { peerAgentVersion: known('0.3.0', nowMs) }],
    ['mail-server-version', 'switchover', { peerServerVersion: known('dovecot 2.3.21', nowMs) }],
    ['mail-server-version', 'switchover', { peerServerVersion: known('cyrus 2.3.19', nowMs) }],
    ['disk-space', 'failover', { space: known([{ root: 'mail', freeBytes: 1, freeBytesMin: 2 }], nowMs) }],
    ['nic-roles', 'failover', { nicRoles: known([{ role: 'lan', port: null, carrier: false, proven: null, detail: '' }], nowMs) }],
    ['nic-roles', 'failover', { nicRoles: known([{ role: 'lan', port: 'eth0', carrier: false, proven: null, detail: '' }], nowMs) }],
    ['nic-roles', 'failover', { nicRoles: known([{ role: 'lan', port: 'eth0', carrier: true, proven: false, detail: '' }], nowMs) }],
    ['mail-config', 'failover', { mailConfig: known({ ok: false, evidence: 'line 3' }, nowMs) }],
    [
      'mail-units',
      'switchover',
      {
        mailUnits: known(
          [{ what: 'postfix@-.service and postfix.service cannot run together', evidence: 'Conflicts', remedy: 'r' }],
          nowMs,
        ),
      },
    ],
    ['mail-units', 'failover', { mailUnits: unknown('systemd does not answer') }],
    ['clock-skew', 'switchover', { clockSkewSeconds: known(-400, nowMs) }],
    ['replication', 'switchover', { replication: known({ connected: true, phase: 'initial', lagChanges: 9, lagSeconds: 0 }, nowMs) }],
    ['replication', 'switchover', { replication: known({ connected: true, phase: 'streaming', lagChanges: 9, lagSeconds: 61 }, nowMs) }],
  ];
  it.each(bad)('%s forbids a %s: %j', (guard, kind, change) => {
    expect(levelOf(guard, kind, change)).toBe('fail');
  });

  it("nobody is refused for having slept: a loss that is known is a person's to accept", () => {
    const loss = (seconds: number) => known({ mailboxes: 1, messages: 1, seconds, changes: 1 }, nowMs);
    for (const seconds of [1, 301, 40_000]) expect(levelOf('predicted-loss', 'failover', { loss: loss(seconds) })).toBe('warn');
    expect(levelOf('predicted-loss', 'failover', { loss: known({ mailboxes: 0, messages: 0, seconds: 0, changes: 0 }, nowMs) })).toBe(
      'pass',
    );
  });

  it('mail that waits in the queue of the primary is said before a takeover of either kind, and forbids none', () => {
    const nothing = { mailboxes: 0, messages: 0, seconds: 0, changes: 0 };
    const queue = (messages: number | null, more = false) => ({
      mta: 'postfix',
      messages,
      more,
      oldestMs: null,
      readMs: 0,
      why: messages === null ? 'EACCES' : '',
    });
    const found = (kind: TakeoverKind, value: PredictedLoss) =>
      judgeAll({ ...well(kind), loss: known(value, nowMs) }).find(({ guard }) => guard === 'predicted-loss');
    expect(found('failover', { ...nothing, queue: queue(42) })).toMatchObject({
      level: 'warn',
      evidence: expect.stringContaining(
        'Besides, 42 messages wait in the queue of mail-a, which is not replicated: they are on its disk',
      ) as string,
    });
    expect(found('failover', { ...nothing, seconds: 3, queue: queue(100_000, true) })).toMatchObject({
      level: 'warn',
      evidence: expect.stringContaining('at least 100000 messages wait') as string,
    });
    expect(found('switchover', { ...nothing, queue: queue(42) })).toMatchObject({
      level: 'warn',
      summary: expect.stringContaining('42 messages wait in the queue of mail-a, which is not replicated') as string,
      evidence: expect.stringContaining('only when its MTA runs again') as string,
      remedy: expect.stringContaining('postqueue -f') as string,
    });
    expect(found('switchover', { ...nothing, queue: { ...queue(1), mta: 'exim' } })?.remedy).toContain('exim4 -qff');
    // What cannot be counted is not nothing; an empty queue is.
    for (const kind of ['failover', 'switchover'] as const) {
      expect(found(kind, { ...nothing, queue: queue(null) })).toMatchObject({ level: 'warn' });
      expect(found(kind, { ...nothing, queue: queue(0) })).toMatchObject({ level: 'pass' });
      expect(found(kind, nothing)).toMatchObject({ level: 'pass' });
    }
  });

  it('damaged files of the copy forbid nothing, and are never passed over', () => {
    const damaged = known({ count: 2, example: 'mail/u/cur/x' }, nowMs);
    for (const kind of ['failover', 'switchover'] as const) {
      const found = judgeAll({ ...well(kind), damaged }).find(({ guard }) => guard === 'damaged-files');
      expect(found).toMatchObject({ level: 'warn', summary: '2 files of this copy are damaged', evidence: 'for example mail/u/cur/x' });
    }
  });

  it('every guard that may fail has a case above', () => {
    expect(guardNames.filter((name) => name !== 'addresses-free' && !bad.some(([guard]) => guard === name))).toEqual(['damaged-files']);
  });

  it('addresses may be answered before fencing, and by nobody after it (I3)', () => {
    const answered = known([{ address: '192.0.2.10', by: '02:00:00:00:00:01' }], nowMs);
    expect(judgeAddresses(answered, nowMs, 'on-peer').level).toBe('pass');
    expect(judgeAddresses(answered, nowMs, 'before-fence').level).toBe('warn');
    expect(judgeAddresses(answered, nowMs, 'after-fence').level).toBe('fail');
    expect(judgeAddresses(unknown('no port'), nowMs, 'after-fence').level).toBe('fail');
    expect(judgeAddresses(known([], nowMs - 31_000), nowMs, 'after-fence').level).toBe('fail');
    expect(judgeAddresses(known([], nowMs), nowMs, 'after-fence').level).toBe('pass');
  });

  /** What is known once does not age: versions, whether the node was ever filled, when it was verified. */
  const ageless = new Set<keyof GuardFacts>(['fill', 'lastVerify', 'peerAgentVersion', 'peerServerVersion']);
  const factNames = Object.entries(well('switchover')).flatMap(([name, value]) =>
    typeof value === 'object' && value !== null && 'is' in value ? [name as keyof GuardFacts] : [],
  );
  const guardOf: Partial<Record<keyof GuardFacts, GuardName>> = {
    localHealth: 'local-health',
    fill: 'initial-fill',
    unproven: 'unproven',
    foreign: 'foreign-writes',
    damaged: 'damaged-files',
    lastVerify: 'last-verify',
    loss: 'predicted-loss',
    peer: 'peer-state',
    isolation: 'isolation',
    fence: 'fence-path',
    peerAgentVersion: 'agent-version',
    peerServerVersion: 'mail-server-version',
    space: 'disk-space',
    nicRoles: 'nic-roles',
    answered: 'addresses-free',
    mailConfig: 'mail-config',
    mailUnits: 'mail-units',
    clockSkewSeconds: 'clock-skew',
    replication: 'replication',
  };

  it.each(factNames.filter((name) => guardOf[name] !== undefined))(
    '%s: unknown is never a pass, and what is too old is unknown (I18)',
    (name) => {
      const guard = guardOf[name]!;
      for (const kind of ['switchover', 'failover'] as const) {
        // A dead primary is what a failover is for; a switchover has no loss to predict.
        if (!guards[guard][kind] || (name === 'peer' && kind === 'failover') || (name === 'loss' && kind === 'switchover')) continue;
        expect(levelOf(guard, kind, { [name]: unknown('not read') }), `${kind} unknown`).not.toBe('pass');
        if (ageless.has(name) || (name === 'clockSkewSeconds' && kind === 'failover')) continue;
        const old = { ...(well(kind)[name] as Fact<unknown>), atMs: nowMs - 3_600_000 };
        expect(levelOf(guard, kind, { [name]: old }), `${kind} old`).not.toBe('pass');
      }
    },
  );

  it('an override counts for the guard that it names, and for none that may not be overridden', () => {
    const results = judgeAll({ ...well('failover'), running: 't1', fill: unknown('no store') });
    expect(refusals(results, []).map(({ guard }) => guard)).toEqual(['other-takeover', 'initial-fill']);
    expect(refusals(results, ['initial-fill']).map(({ guard }) => guard)).toEqual(['other-takeover']);
    expect(refusals(results, ['initial-fill', 'other-takeover']).map(({ guard }) => guard)).toEqual(['other-takeover']);
    expect(refusals(results, ['local-health']).map(({ guard }) => guard)).toEqual(['other-takeover', 'initial-fill']);
  });

  it('never lets the guards of one active node be overridden (I3)', () => {
    expect(guardNames.filter((name) => !guards[name].overridable)).toEqual([
      'role',
      'other-takeover',
      'fence-path',
      'nic-roles',
      'addresses-free',
      'replication',
    ]);
  });

  const fact = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<Fact<T>> =>
    fc.oneof(
      fc.record({ is: fc.constant('known' as const), value, atMs: fc.integer({ min: 0, max: nowMs }) }),
      fc.record({ is: fc.constantFrom('unknown' as const, 'none' as const), why: fc.string() }),
    );
  const anyServer = fc.constantFrom('dovecot 2.3.19', 'dovecot 2.4.1', 'dovecot 2.5.0', 'cyrus 3.6');
  const anyFacts: fc.Arbitrary<GuardFacts> = fc.record({
    kind: fc.constantFrom('switchover' as const, 'failover' as const),
    nowMs: fc.constant(nowMs),
    own: fc.record({
      node: fc.constant('mail-b'),
      role: fc.constantFrom('primary', 'standby', 'fenced'),
      epoch: fc.nat(9),
      agentVersion: fc.string(),
      serverVersion: fc.option(fc.oneof(fc.string(), anyServer)),
      formats: fc.subarray(['maildir', 'plain']),
    }),
    peerNode: fc.option(fc.string()),
    running: fc.option(fc.string()),
    peerTakeover: fact(fc.option(fc.string())),
    localHealth: fact(fc.array(fc.string({ maxLength: 5000 }))),
    fill: fact(fc.record({ complete: fc.boolean(), filesDone: fc.nat(), filesTotal: fc.option(fc.nat()) })),
    unproven: fact(fc.record({ count: fc.nat(2), example: fc.string() })),
    damaged: fact(fc.record({ count: fc.nat(), example: fc.string() })),
    foreign: fact(fc.record({ count: fc.nat(2), example: fc.string() })),
    lastVerify: fact(
      fc.option(
        fc.record({
          result: fc.constantFrom('clean', 'incomplete', 'different', 'failed'),
          differences: fc.nat(),
          leftOut: fc.nat(),
          secondsAgo: fc.nat(),
        }),
      ),
    ),
    loss: fact(
      fc.record({
        mailboxes: fc.option(fc.nat()),
        messages: fc.option(fc.nat()),
        seconds: fc.option(fc.nat()),
        changes: fc.option(fc.nat()),
      }),
    ),
    paths: fact(fc.array(fc.record({ path: fc.string(), up: fc.boolean(), heardSecondsAgo: fc.option(fc.nat()), error: fc.string() }))),
    peer: fact(
      fc.record({
        node: fc.string(),
        role: fc.constantFrom('primary', 'standby', 'fenced'),
        epoch: fc.nat(9),
        active: fc.boolean(),
        state: fc.string(),
      }),
    ),
    isPutBack: fact(fc.boolean()),
    isolation: fact(fc.record({ asked: fc.array(fc.constantFrom('a', 'b')), answered: fc.array(fc.constantFrom('a', 'b')) })),
    fence: fact(
      fc.array(
        fc.record({
          level: fc.nat(9),
          type: fc.constantFrom('agent', 'command', 'cooperative', 'manual'),
          name: fc.string(),
          state: fc.constantFrom('on', 'off', 'unknown'),
          error: fc.option(fc.string()),
        }),
      ),
    ),
    peerAgentVersion: fact(fc.string()),
    peerServerVersion: fact(fc.option(fc.oneof(fc.string(), anyServer))),
    space: fact(fc.array(fc.record({ root: fc.string(), freeBytes: fc.nat(), freeBytesMin: fc.nat() }))),
    nicRoles: fact(
      fc.array(
        fc.record({
          role: fc.string(),
          port: fc.option(fc.string()),
          carrier: fc.boolean(),
          proven: fc.option(fc.boolean()),
          detail: fc.string(),
        }),
      ),
    ),
    answered: fact(fc.array(fc.record({ address: fc.string(), by: fc.string() }))),
    mailConfig: fact(fc.record({ ok: fc.boolean(), evidence: fc.string() })),
    mailUnits: fact(
      fc.array(fc.record({ what: fc.string(), evidence: fc.string(), remedy: fc.string({ minLength: 1 }) }), { maxLength: 3 }),
    ),
    clockSkewSeconds: fact(fc.double({ noNaN: true, min: -1e6, max: 1e6 })),
    replication: fact(fc.record({ connected: fc.boolean(), phase: fc.string(), lagChanges: fc.nat(), lagSeconds: fc.nat() })),
  }) as fc.Arbitrary<GuardFacts>;

  it('whatever the facts: every guard of the kind answers once, in a form that the plan takes, and a fail says what to do', () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const results = judgeAll(facts);
        expect(results.map(({ guard }) => guard)).toEqual(guardNames.filter((name) => guards[name][facts.kind]));
        for (const result of results) {
          guardResultSchema.parse(result);
          if (result.level === 'fail') expect(result.remedy).not.toBe('');
          if (result.level === 'pass') expect(result.remedy).toBe('');
        }
        // Only a standby goes further, whatever is overridden.
        if (facts.own.role !== 'standby') expect(refusals(results, guardNames)).not.toEqual([]);
      }),
      { numRuns: 500 },
    );
  });
});

describe('versions', () => {
  it.each([
    ['2.3.19', '2.3.20', true],
    ['2.3.19', '2.3.19', false],
    ['2.3.19.1', '2.3.19', false],
    ['dovecot 2.3.9', 'dovecot 2.3.19', true],
    ['1.0.0-rc.1', '1.0.0', true],
    ['1.0.0', '1.0.0-rc.1', false],
  ])('%s is older than %s: %s', (a, b, older) => {
    expect(olderThan(a, b)).toBe(older);
  });
});
