import { describe, expect, it } from 'vitest';
import { makePlan } from '../../agent/failover/plan.ts';
import { decideResume } from '../../agent/failover/resume.ts';
import type { DurableRole } from '../../agent/failover/role-store.ts';
import { TakeoverRunner, type TakeoverActions, type TakeoverOrder } from '../../agent/failover/runner.ts';
import { isUnfinished, newJournal, readJournal, type TakeoverJournal } from '../../agent/failover/takeover-journal.ts';
import type { Did } from '../../agent/failover/takeover-actions.ts';
import { OperatorError } from '../../agent/platform/errors.ts';
import type { PeerWord, Plan, StepId, StepState, TakeoverKind, TakeoverLine, TakeoverReport } from '../../protocol/takeover.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';

const by = { uid: 0, user: 'root', tty: 'pts/1', sudoUser: 'anna' };

function plan(kind: TakeoverKind): Plan {
  return makePlan({
    id: 't1',
    kind,
    node: 'mail-b',
    target: 'mail-a',
    wallMs: 0,
    guards: [],
    overrides: [],
    predictedLoss: { mailboxes: 0, messages: 0, seconds: 0, changes: 0 },
    basis: {
      role: 'standby',
      epoch: 3,
      seenEpoch: 3,
      peerRole: 'primary',
      peerEpoch: 3,
      peerConnected: true,
      position: '',
      addressesAnswered: [],
      configDigest: '',
    },
    epochBurned: 0,
  });
}

/** A world in which every step succeeds, unless a test says otherwise. */
class Lab {
  readonly clock = new SimClock();
  readonly host = this.clock.host(1_700_000_000_000);
  readonly store = new SimKvStore(() => 1);
  readonly kv = this.store.open(this.host);
  /** The journal as a power cut would leave it now. */
  durable: TakeoverJournal | null = null;
  readonly did: string[] = [];
  readonly lines: TakeoverLine[] = [];
  readonly audited: string[] = [];
  readonly giveUp = new AbortController();
  own: DurableRole = { role: 'standby', epoch: 3, seenEpoch: 3 };
  peer: PeerWord | null = { node: 'mail-a', role: 'primary', epoch: 3, active: true, state: 'active' };
  lifeMs = 60_000;
  /** What steps say they came to, where it is more than their evidence. */
  readonly came: Partial<Record<'confirmFenced' | 'raise' | 'addresses' | 'services' | 'check', Did>> = {};
  fenceTitle: string | undefined;
  /** Called in every step, hook and undo; may throw. */
  on: (what: string) => void | Promise<void> = () => {};
  readonly runner: TakeoverRunner;

  constructor() {
    const flushed = this.kv.flushed.bind(this.kv);
    this.kv.flushed = async () => {
      const committed = readJournal(this.kv);
      await flushed();
      this.durable = committed;
    };
    const act = async (what: string): Promise<string> => {
      this.did.push(what);
      await this.on(what);
      return `${what} is done`;
    };
    const actions: TakeoverActions = {
      own: () => this.own,
      peerWord: async () => this.peer,
      prepare: () => act('prepare'),
      quiesce: () => act('quiesce'),
      drain: () => act('drain'),
      compare: () => act('compare'),
      stepDown: async ({ plan: { epoch } }) => ({ kind: 'stepped-down', epoch, evidence: await act('stepdown') }),
      fence: async ({ plan: { epoch } }) => ({
        proof: { kind: 'receipt', id: 'r', epoch, evidence: await act('fence') },
        lifeMs: this.lifeMs,
        ...(this.fenceTitle === undefined ? {} : { title: this.fenceTitle }),
      }),
      confirmFenced: () => act('confirm-fenced'),
      epoch: async ({ plan: { epoch } }) => {
        const evidence = await act('epoch');
        this.own = { role: 'primary', epoch, seenEpoch: epoch };
        return evidence;
      },
      apply: () => act('apply'),
      raise: () => act('raise'),
      addresses: async () => (await act('addresses')) && (this.came.addresses ?? 'addresses is done'),
      services: async () => (await act('services')) && (this.came.services ?? 'services is done'),
      check: async () => (await act('check')) && (this.came.check ?? 'check is done'),
      abort: () => act('abort'),
    };
    this.runner = new TakeoverRunner({
      kv: this.kv,
      clock: this.host,
      actions,
      hook: async (point) => this.on(point),
      audit: async (what) => void this.audited.push(what),
      quiesceMaxMs: 30_000,
      afterwards: 'have the full-text indexes made anew',
    });
  }

  get order(): TakeoverOrder {
    return { by, manual: null, say: (line) => this.lines.push(line), signal: this.giveUp.signal };
  }

  run(kind: TakeoverKind): Promise<TakeoverReport> {
    return this.clock.settle(this.runner.run(plan(kind), this.order), 600_000);
  }

  settle(kind: TakeoverKind): Promise<TakeoverReport | null> {
    return this.clock.settle(this.runner.settle(kind, this.order), 600_000);
  }

  failAt(what: string, times = Infinity): void {
    let left = times;
    this.on = (now) => {
      if (now === what && left-- > 0) throw new OperatorError('broken', `${what} is broken`, 'mend it');
    };
  }
}

const stepsWords = (kind: TakeoverKind): string[] => plan(kind).steps.map(({ title }) => title);
const stepsOf = (kind: TakeoverKind): StepId[] => plan(kind).steps.map(({ id }) => id);

describe('what a takeover says that it did', () => {
  it('is what happened: what was not done is skipped, and a person’s word is no reading of the power', async () => {
    const lab = new Lab();
    lab.fenceTitle = 'mail-a is off, stated by root: pulled both cords';
    lab.came.services = { skipped: 'no mail services are configured' };
    lab.came.check = { skipped: 'no login is configured' };
    const report = await lab.run('failover');
    const said = lab.lines.flatMap((line) =>
      line.kind === 'step' && line.state !== 'begun' ? [[line.id, line.state, line.title, line.text]] : [],
    );
    expect(said.find(([id]) => id === 'fence')).toEqual(['fence', 'done', lab.fenceTitle, 'fence is done']);
    expect(said.find(([id]) => id === 'services')?.[1]).toBe('skipped');
    expect(said.find(([id]) => id === 'services')?.[3]).toBe('no mail services are configured');
    expect(report.outcome).toBe('done');
    expect(report.steps.filter(({ state }) => state === 'skipped').map(({ id }) => id)).toEqual(['services', 'check']);
    // Before it happens nobody says by what it will be proved.
    expect(stepsWords('failover').join()).not.toContain('reading');
    expect(lab.audited.filter((what) => what === 'step-skipped')).toHaveLength(2);
  });
});

describe('a takeover that goes well', () => {
  it.each(['switchover', 'failover'] as const)('%s does each step once, in order, and says so', async (kind) => {
    const lab = new Lab();
    const report = await lab.run(kind);
    expect(report).toMatchObject({ outcome: 'done', exitCode: 0, code: null, resumed: null, epoch: 4 });
    expect(lab.did).toEqual(stepsOf(kind));
    expect(report.steps.every(({ state }) => state === 'done')).toBe(true);
    expect(readJournal(lab.kv)).toMatchObject({ phase: 'closed', report: { outcome: 'done' } });
    expect(lab.audited.at(0)).toBe('takeover-begun');
    expect(lab.audited.at(-1)).toBe('takeover-ended');
  });

  it('is journaled, durably, before and after each step (I14)', async () => {
    const lab = new Lab();
    const seen: string[] = [];
    lab.on = (what) => {
      if (what.startsWith('before-') || what.startsWith('after-')) return;
      const states = lab.durable?.steps.map(({ id, state }) => (id === what ? 'now' : '') + state) ?? [];
      seen.push(states.join(' ').replace(/( pending)+$/, ''));
    };
    await lab.run('failover');
    const done = (count: number) => Array.from({ length: count }, () => 'done ').join('');
    expect(seen).toEqual(stepsOf('failover').map((_, i) => `${done(i)}nowbegun`));
    expect(lab.durable).toMatchObject({ phase: 'closed' });
  });
});

describe('a takeover that fails', () => {
  it.each(['quiesce', 'drain', 'compare'])(
    'at %s, before the commit point, puts the primary back into service: exit code 4 (I14)',
    async (step) => {
      const lab = new Lab();
      lab.failAt(step);
      const report = await lab.run('switchover');
      expect(report).toMatchObject({ outcome: 'rolled-back', exitCode: 4, code: 'broken' });
      expect(report.summary).toContain('mail-a serves again');
      expect(lab.did.at(-1)).toBe('abort');
      expect(lab.did).not.toContain('epoch');
    },
  );

  it('at its first question changes nothing: exit code 1, or 3 when it was refused', async () => {
    const lab = new Lab();
    lab.failAt('prepare');
    expect(await lab.run('switchover')).toMatchObject({ outcome: 'failed', exitCode: 1 });
    const other = new Lab();
    other.on = () => {
      throw new OperatorError('no-primary', 'it is no primary', 'look', 3);
    };
    expect(await other.run('switchover')).toMatchObject({ outcome: 'refused', exitCode: 3 });
    expect(other.did).toEqual(['prepare']);
  });

  it('when the primary cannot be told: says that it serves again by itself, and tells it again at the next run', async () => {
    const lab = new Lab();
    lab.on = (what) => {
      if (what === 'drain' || what === 'abort') throw new OperatorError('no-answer', 'it is silent', 'look');
    };
    const report = await lab.run('switchover');
    expect(report).toMatchObject({ outcome: 'incomplete', exitCode: 5, code: 'not-undone' });
    expect(report.summary).toContain('by itself within 30 s');
    lab.on = () => {};
    expect(await lab.settle('switchover')).toBeNull();
    expect(lab.did.at(-1)).toBe('abort');
    expect(readJournal(lab.kv)?.phase).toBe('closed');
  });

  it('after fencing says that nobody serves: exit code 5', async () => {
    const lab = new Lab();
    lab.failAt('confirm-fenced');
    const report = await lab.run('failover');
    expect(report).toMatchObject({ outcome: 'incomplete', exitCode: 5, code: 'broken' });
    expect(report.summary).toContain('mail-b has not taken over');
    expect(lab.own.role).toBe('standby');
  });

  it.each(['apply', 'raise', 'addresses', 'services', 'check'] as const)(
    'at %s, after the commit point, tries again and goes on (I14)',
    async (step) => {
      const lab = new Lab();
      lab.failAt(step, 2);
      expect(await lab.run('failover')).toMatchObject({ outcome: 'done' });
      expect(lab.did.filter((what) => what === step)).toHaveLength(3);
    },
  );

  it('again and again after the commit point ends with exit code 5, and the next run goes on there (I14)', async () => {
    const lab = new Lab();
    lab.failAt('raise');
    const report = await lab.run('failover');
    expect(report).toMatchObject({ outcome: 'incomplete', exitCode: 5 });
    expect(report.remedy).toContain('it goes on with "raise"');
    expect(lab.did).not.toContain('services');
    expect(isUnfinished(readJournal(lab.kv), lab.own)).toBe(true);
    lab.on = () => {};
    lab.did.length = 0;
    expect(await lab.settle('failover')).toMatchObject({ outcome: 'done', resumed: 'continued' });
    // That the old primary is off is shown anew before UIDs are raised and the address comes up (I3, I5).
    expect(lab.did).toEqual(['fence', 'confirm-fenced', 'raise', 'addresses', 'services', 'check']);
  });

  it('at its check only, serves: an agent that starts again must not take the mail down', async () => {
    const lab = new Lab();
    lab.failAt('check');
    const report = await lab.run('failover');
    expect(report.summary).toContain('the services of mail-b were started, but nothing proves that they serve');
    expect(isUnfinished(readJournal(lab.kv), lab.own)).toBe(false);
  });

  it('in the very commit: the durable role decides', async () => {
    const lab = new Lab();
    lab.on = (what) => {
      if (what !== 'epoch') return;
      lab.own = { role: 'primary', epoch: 4, seenEpoch: 4 };
      throw new Error('the answer was lost');
    };
    expect(await lab.run('failover')).toMatchObject({ outcome: 'done' });
    const refused = new Lab();
    refused.failAt('epoch');
    expect(await refused.run('failover')).toMatchObject({ outcome: 'incomplete', code: 'broken' });
    expect(refused.did).not.toContain('addresses');
  });
});

describe('a step-down without an answer', () => {
  const asked = async (peer: PeerWord | null) => {
    const lab = new Lab();
    lab.failAt('stepdown');
    lab.peer = peer;
    return { lab, report: await lab.run('switchover') };
  };

  it('that has happened goes on: the word of the other node is the proof (I3)', async () => {
    const { lab, report } = await asked({ node: 'mail-a', role: 'standby', epoch: 4, active: false, state: 'passive' });
    expect(report).toMatchObject({ outcome: 'done', resumed: 'continued' });
    expect(lab.did).not.toContain('abort');
  });

  it('that has not happened is given up', async () => {
    const { lab, report } = await asked({ node: 'mail-a', role: 'primary', epoch: 3, active: true, state: 'quiesced' });
    expect(report).toMatchObject({ outcome: 'rolled-back' });
    expect(lab.did).not.toContain('epoch');
  });

  it.each([null, { node: 'mail-a', role: 'standby', epoch: 4, active: true, state: 'steppingDown' } as const])(
    'that nobody can tell of stays in doubt, and nothing comes up here (I3): %j',
    async (peer) => {
      const { lab, report } = await asked(peer);
      expect(report).toMatchObject({ outcome: 'incomplete', code: 'in-doubt', exitCode: 5 });
      expect(lab.did).not.toContain('epoch');
      // A switchover that runs again asks again; a failover proves the other one off, whatever it is.
      expect(await lab.settle('switchover')).toMatchObject({ code: 'in-doubt' });
      expect(await lab.settle('failover')).toBeNull();
      expect(readJournal(lab.kv)?.phase).toBe('closed');
    },
  );
});

describe('a proof that the old primary is off', () => {
  /** A step takes its time. */
  const slow = (lab: Lab, step: StepId) => {
    lab.on = async (what) => {
      if (what === step && !lab.did.slice(0, -1).includes(step)) await new Promise<void>((resolve) => lab.host.after(31_000, resolve));
    };
  };

  it('is made anew when it expired before the address comes up (I3)', async () => {
    const lab = new Lab();
    slow(lab, 'apply');
    await lab.run('failover');
    expect(lab.did).toEqual([
      'fence',
      'confirm-fenced',
      'epoch',
      'apply',
      'fence',
      'confirm-fenced',
      'raise',
      'addresses',
      'services',
      'check',
    ]);
  });

  it('that is made anew after UIDs were raised has them raised again: it may have served in between (I5)', async () => {
    const lab = new Lab();
    slow(lab, 'raise');
    await lab.run('failover');
    expect(lab.did.slice(4)).toEqual(['raise', 'fence', 'confirm-fenced', 'raise', 'addresses', 'services', 'check']);
  });

  it('that cannot be made anew keeps the address down: exit code 5 (I3)', async () => {
    const lab = new Lab();
    lab.lifeMs = 20_000;
    lab.on = async (what) => {
      if (what === 'apply') await new Promise<void>((resolve) => lab.host.after(30_000, resolve));
      if (what === 'fence' && lab.did.includes('epoch')) throw new OperatorError('not-fenced', 'the switch says on', 'pull the plug', 3);
    };
    expect(await lab.run('failover')).toMatchObject({ outcome: 'incomplete', exitCode: 5, code: 'not-fenced' });
    expect(lab.did).not.toContain('addresses');
  });
});

describe('hooks', () => {
  it('a before hook that fails stops the takeover before the commit point, and its step does not run', async () => {
    const lab = new Lab();
    lab.failAt('before-stepdown');
    lab.peer = { node: 'mail-a', role: 'primary', epoch: 3, active: true, state: 'quiesced' };
    expect(await lab.run('switchover')).toMatchObject({ outcome: 'rolled-back', code: 'broken' });
    expect(lab.did).not.toContain('stepdown');
  });

  it('a switchover that is stopped right before the step-down leaves no doubt, also when the primary is silent then', async () => {
    const lab = new Lab();
    lab.failAt('before-stepdown');
    lab.peer = null;
    expect(await lab.run('switchover')).toMatchObject({ outcome: 'rolled-back', code: 'broken' });
  });

  it.each(['after-fence', 'before-addresses', 'after-services'])('%s that fails is reported, and the takeover goes on', async (point) => {
    const lab = new Lab();
    lab.failAt(point);
    expect(await lab.run('failover')).toMatchObject({ outcome: 'done' });
    expect(lab.lines).toContainEqual({ kind: 'note', text: `${point} is broken; the takeover goes on` });
  });
});

describe('giving up', () => {
  it('before the commit point rolls back; after it the takeover goes on (I14)', async () => {
    const lab = new Lab();
    lab.on = (what) => {
      if (what === 'drain') lab.giveUp.abort();
    };
    expect(await lab.run('switchover')).toMatchObject({ outcome: 'rolled-back', code: 'given-up' });
    const late = new Lab();
    late.on = (what) => {
      if (what === 'addresses') late.giveUp.abort();
    };
    expect(await late.run('switchover')).toMatchObject({ outcome: 'done' });
  });

  it('is forced by a takeover of a higher epoch, at any time (I3)', async () => {
    const lab = new Lab();
    lab.on = (what) => {
      if (what !== 'raise') return;
      lab.own = { role: 'fenced', epoch: 9, seenEpoch: 9 };
      void lab.runner.stop('mail-a is at epoch 9');
    };
    expect(await lab.run('failover')).toMatchObject({ outcome: 'incomplete', code: 'overtaken' });
    expect(lab.did).not.toContain('addresses');
  });
});

it('is stopped only when what was under way has ended: nothing comes up after everything was brought down (I3)', async () => {
  const lab = new Lab();
  let stopped = false;
  lab.on = async (what) => {
    if (what !== 'services') return;
    lab.own = { role: 'fenced', epoch: 9, seenEpoch: 9 };
    void lab.runner.stop('mail-a is at epoch 9').then(() => (stopped = true));
    await new Promise<void>((resolve) => lab.host.after(5000, resolve));
    lab.did.push(`services ended, stopped: ${stopped}`);
  };
  await lab.run('failover');
  await lab.clock.runFor(1);
  expect([lab.did.at(-1), stopped]).toEqual(['services ended, stopped: false', true]);
});

it('two takeovers never run at once', async () => {
  const lab = new Lab();
  const first = lab.runner.run(plan('failover'), lab.order);
  const second = lab.runner.run(plan('failover'), lab.order);
  await expect(second).rejects.toMatchObject({ code: 'other-takeover', exitCode: 3 });
  expect(await lab.clock.settle(first, 600_000)).toMatchObject({ outcome: 'done' });
});

it('an interrupted takeover is settled before a new one begins', async () => {
  const lab = new Lab();
  lab.failAt('raise');
  await lab.run('failover');
  await expect(lab.clock.settle(lab.runner.run(plan('failover'), lab.order), 1000)).rejects.toMatchObject({
    code: 'unfinished-takeover',
    exitCode: 3,
  });
});

describe('what becomes of an interrupted takeover (I14)', () => {
  function journal(kind: TakeoverKind, states: Partial<Record<StepId, StepState>>): TakeoverJournal {
    const made = newJournal(plan(kind), by, 0);
    for (const step of made.steps) step.state = states[step.id] ?? 'pending';
    return made;
  }
  const standby = { role: 'standby', epoch: 3, seenEpoch: 3 } as const;
  const primary = { role: 'primary', epoch: 4, seenEpoch: 4 } as const;
  const said = (role: PeerWord['role'], epoch: number, active = false): PeerWord => ({ node: 'mail-a', role, epoch, active, state: '' });

  const cases: [string, TakeoverJournal | null, DurableRole, PeerWord | null, string][] = [
    ['there is none', null, standby, null, 'none'],
    ['it is closed', { ...journal('failover', {}), phase: 'closed' }, standby, null, 'none'],
    ['failover, killed while fencing', journal('failover', { fence: 'begun' }), standby, null, 'roll-back'],
    [
      'failover, killed in the commit, which did not happen',
      journal('failover', { fence: 'done', epoch: 'begun' }),
      standby,
      null,
      'roll-back',
    ],
    [
      'failover, killed in the commit, which happened',
      journal('failover', { fence: 'done', epoch: 'begun' }),
      primary,
      null,
      'continue apply',
    ],
    [
      'failover, killed while raising',
      journal('failover', { epoch: 'done', apply: 'done', raise: 'begun' }),
      primary,
      null,
      'continue raise',
    ],
    [
      'failover, killed with everything up',
      journal('failover', { epoch: 'done', apply: 'done', raise: 'done', addresses: 'done', services: 'done' }),
      primary,
      null,
      'continue check',
    ],
    ['failover, fenced since', journal('failover', { epoch: 'done' }), { role: 'fenced', epoch: 5, seenEpoch: 5 }, null, 'void'],
    [
      'failover, primary of another epoch since',
      journal('failover', { epoch: 'done' }),
      { role: 'primary', epoch: 6, seenEpoch: 6 },
      null,
      'void',
    ],
    [
      'failover, a higher epoch was heard of',
      journal('failover', { fence: 'done' }),
      { role: 'standby', epoch: 3, seenEpoch: 5 },
      null,
      'void',
    ],
    [
      'switchover, killed while draining',
      journal('switchover', { quiesce: 'done', drain: 'begun' }),
      standby,
      said('primary', 3, true),
      'roll-back',
    ],
    [
      'switchover, killed while draining, and the peer is silent',
      journal('switchover', { quiesce: 'done', drain: 'begun' }),
      standby,
      null,
      'roll-back',
    ],
    ['switchover, step-down asked, peer silent', journal('switchover', { stepdown: 'begun' }), standby, null, 'in-doubt'],
    [
      'switchover, step-down asked, peer still primary',
      journal('switchover', { stepdown: 'begun' }),
      standby,
      said('primary', 3, true),
      'roll-back',
    ],
    [
      'switchover, step-down asked, peer on its way down',
      journal('switchover', { stepdown: 'begun' }),
      standby,
      said('standby', 4, true),
      'in-doubt',
    ],
    [
      'switchover, step-down asked, peer down',
      journal('switchover', { stepdown: 'begun' }),
      { ...standby, seenEpoch: 4 },
      said('standby', 4),
      'continue epoch',
    ],
    ['switchover, stepped down, peer silent since', journal('switchover', { stepdown: 'done' }), standby, null, 'in-doubt'],
    ['switchover, peer fenced by somebody', journal('switchover', { stepdown: 'begun' }), standby, said('fenced', 4), 'void'],
    ['switchover, peer took over itself', journal('switchover', { stepdown: 'done' }), standby, said('primary', 5, true), 'void'],
    [
      'switchover, past its own commit',
      journal('switchover', { stepdown: 'done', epoch: 'done', addresses: 'begun' }),
      primary,
      null,
      'continue addresses',
    ],
  ];
  it.each(cases)('%s', (_what, interrupted, own, peer, expected) => {
    const decision = decideResume(interrupted, { own, peer });
    expect(decision.is === 'continue' ? `continue ${decision.from}` : decision.is).toBe(expected);
  });
});
