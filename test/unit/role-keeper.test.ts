import { beforeEach, describe, expect, it } from 'vitest';
import { RoleKeeper, type RoleActions } from '../../agent/failover/role-keeper.ts';
import { initialRole } from '../../agent/failover/role-machine.ts';
import { readRole, type DurableRole } from '../../agent/failover/role-store.ts';
import type { EventOf } from '../../agent/failover/role-types.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';
import { SimRandom } from '../sim/sim-random.ts';

const flushMs = 100;
const boot: EventOf<'boot'> = { is: 'boot', stillActive: false, gated: true, unfinishedTakeover: false };
const agreeing = { is: 'peerSaid', node: 'mail-b', role: 'standby', epoch: 3, active: false, isPutBack: false } as const;
const proof = { kind: 'receipt', id: 'r', epoch: 4, evidence: '' } as const;

let clock: SimClock;
let store: SimKvStore;
let did: string[];
let told: string[];
let broken: Set<string>;
let takeover: boolean;
let failures: unknown[];

beforeEach(() => {
  clock = new SimClock();
  store = new SimKvStore(() => flushMs);
  did = [];
  told = [];
  broken = new Set();
  takeover = false;
  failures = [];
});

/** Each action takes a second. */
function start(durable: DurableRole, event: EventOf<'boot'> = boot): RoleKeeper {
  const host = clock.host(0);
  const act = (what: string) => () => {
    did.push(what);
    return new Promise<void>((resolve, reject) =>
      host.after(1000, () => (broken.has(what) ? reject(new Error(`${what} hangs`)) : resolve())),
    );
  };
  const note = (what: string) => () => void did.push(what);
  const actions: RoleActions = {
    stopServices: act('stop'),
    releaseAddresses: act('release'),
    takeAddresses: act('take'),
    startServices: act('start'),
    announce: note('announce'),
    settle: note('settle'),
    stopTakeover: note('stopTakeover'),
    becomePrimary: note('becomePrimary'),
    becomeStandby: note('becomeStandby'),
    becomeFenced: note('becomeFenced'),
    say: ({ code }) => did.push(`says ${code}`),
    failed: (error) => failures.push(error),
  };
  const keeper = new RoleKeeper(initialRole('mail-a', durable), {
    kv: store.open(host),
    clock: host,
    log: silentLog,
    actions,
    takeoverRuns: () => takeover,
    quiesceMaxMs: 30_000,
    retryMs: 5000,
    tell: ({ role, epoch }) => void told.push(`tells ${role} ${epoch}, has flushed ${store.durableRole}`),
  });
  keeper.handle(event);
  return keeper;
}

const primary = { role: 'primary', epoch: 3, seenEpoch: 3 } as const;
const standby = { role: 'standby', epoch: 3, seenEpoch: 3 } as const;

async function active(): Promise<RoleKeeper> {
  const keeper = start(primary);
  keeper.handle(agreeing);
  await clock.runFor(10_000);
  expect(keeper.role.state).toBe('active');
  did.length = 0;
  return keeper;
}

describe('the copy of role and epoch outside of the store', () => {
  it('never claims more than the store: coming up is told when it is durable, going down before that (I3)', async () => {
    const keeper = start(standby);
    await clock.runFor(5000);
    await clock.settle(keeper.ask({ is: 'takeOver', takeover: 't', epoch: 4, proof }, 10_000), 10_000);
    keeper.handle({ ...agreeing, role: 'primary', epoch: 5, active: true });
    await clock.runFor(5000);
    expect(told).toEqual(['tells primary 4, has flushed primary', 'tells fenced 5, has flushed primary']);
  });
});

describe('what the other node is told', () => {
  it('is only what is durable: a role that a power cut could take back is not told (I3)', async () => {
    const keeper = start(standby);
    await clock.runFor(5000);
    const asked = keeper.ask({ is: 'takeOver', takeover: 't', epoch: 4, proof }, 10_000);
    await clock.runFor(flushMs / 2);
    expect(keeper.role.role).toBe('primary');
    expect(keeper.word()).toMatchObject({ role: 'standby', epoch: 3 });
    await clock.settle(asked, 10_000);
    expect(keeper.word()).toMatchObject({ role: 'primary', epoch: 4, active: true });
  });

  it('and answered only then: after the answer a power cut changes nothing (I3)', async () => {
    const keeper = start(standby);
    await clock.runFor(5000);
    expect(await clock.settle(keeper.ask({ is: 'takeOver', takeover: 't', epoch: 4, proof }, 10_000), 10_000)).toMatchObject({ ok: true });
    store.crash(new SimRandom(1));
    expect(readRole(store.open(clock.host(0)))).toEqual({ role: 'primary', epoch: 4, seenEpoch: 4 });
  });

  it('is "active" until services are stopped and addresses gone', async () => {
    const keeper = start(standby);
    expect(keeper.role.state).toBe('passive');
    expect(keeper.word().active).toBe(true);
    await clock.runFor(1500);
    expect(keeper.word().active).toBe(true);
    await clock.runFor(1000);
    expect(keeper.word().active).toBe(false);
  });

  it('is "active" while it could not go down, and it tries again', async () => {
    broken.add('release');
    const keeper = start(standby);
    await clock.runFor(60_000);
    expect(keeper.word().active).toBe(true);
    expect(did).toContain('says not-down');
    broken.clear();
    await clock.runFor(10_000);
    expect(keeper.word().active).toBe(false);
  });

  it('is "active" while a takeover of it is under way, so that nobody else goes into service meanwhile (I3)', async () => {
    const keeper = start(standby);
    await clock.runFor(5000);
    takeover = true;
    expect(keeper.word().active).toBe(true);
  });
});

describe('effects', () => {
  it('of a state that is over do not begin any more: a node that is fenced while it activates starts nothing (I3)', async () => {
    const keeper = start(primary);
    await clock.runFor(3000);
    did.length = 0;
    keeper.handle(agreeing);
    await clock.runFor(500);
    keeper.handle({ ...agreeing, role: 'primary', epoch: 4, active: true });
    await clock.runFor(20_000);
    expect(did).toEqual(['take', 'says fenced', 'stop', 'release', 'becomeFenced']);
    expect(keeper.word()).toMatchObject({ role: 'fenced', epoch: 4, active: false });
  });

  it('that fail are followed by nothing that counted on them', async () => {
    const keeper = start(primary);
    await clock.runFor(3000);
    broken.add('take');
    did.length = 0;
    keeper.handle(agreeing);
    await clock.runFor(4000);
    expect(did).toEqual(['take', 'stop', 'release', 'says activation-failed']);
    expect(keeper.role.state).toBe('held');
    await clock.runFor(10_000);
    expect(keeper.role.state).toBe('settling');
  });
});

describe('a switchover, as the primary lives it', () => {
  it('is answered when the services are stopped, and given up by itself when nothing more is heard', async () => {
    const keeper = await active();
    const answer = await clock.settle(keeper.ask({ is: 'quiesce', takeover: 't', epoch: 4 }, 10_000), 10_000);
    expect(answer.ok).toBe(true);
    expect(did).toEqual(['stop']);
    await clock.runFor(25_000);
    await clock.settle(keeper.ask({ is: 'quiesce', takeover: 't', epoch: 4 }, 10_000), 10_000);
    await clock.runFor(25_000);
    expect(keeper.role.state).toBe('quiesced');
    await clock.runFor(15_000);
    expect(keeper.role.state).toBe('active');
    // What comes too late finds it in service.
    expect(await clock.settle(keeper.ask({ is: 'stepDown', takeover: 't', epoch: 4 }, 10_000), 10_000)).toMatchObject({
      ok: false,
      code: 'not-quiesced',
    });
  });

  it('steps down: durable first, then down, then the answer (I3)', async () => {
    const keeper = await active();
    await clock.settle(keeper.ask({ is: 'quiesce', takeover: 't', epoch: 4 }, 10_000), 10_000);
    did.length = 0;
    let answered = false;
    const asked = keeper.ask({ is: 'stepDown', takeover: 't', epoch: 4 }, 10_000).then((answer) => {
      answered = true;
      return answer;
    });
    await clock.runFor(flushMs / 2);
    expect(did).toEqual([]);
    await clock.runFor(1500);
    expect([did, answered, keeper.word().active]).toEqual([['stop', 'release'], false, true]);
    expect(await clock.settle(asked, 10_000)).toMatchObject({ ok: true });
    expect(keeper.word()).toMatchObject({ role: 'standby', epoch: 4, active: false });
  });

  it('is not answered while the addresses do not go: the other node must not take them (I3)', async () => {
    const keeper = await active();
    await clock.settle(keeper.ask({ is: 'quiesce', takeover: 't', epoch: 4 }, 10_000), 10_000);
    broken.add('release');
    const answer = await clock.settle(keeper.ask({ is: 'stepDown', takeover: 't', epoch: 4 }, 60_000), 100_000);
    expect(answer).toMatchObject({ ok: false, code: 'no-answer' });
    expect(keeper.word()).toMatchObject({ role: 'standby', active: true });
  });

  it('says no when the services do not stop, and serves again', async () => {
    const keeper = await active();
    broken.add('stop');
    const answer = await clock.settle(keeper.ask({ is: 'quiesce', takeover: 't', epoch: 4 }, 10_000), 20_000);
    expect(answer).toMatchObject({ ok: false, code: 'not-quiesced' });
    await clock.runFor(10_000);
    expect(keeper.role.state).toBe('active');
  });
});

it('a yes that was overtaken is no yes', async () => {
  const keeper = start(standby);
  await clock.runFor(5000);
  const asked = keeper.ask({ is: 'takeOver', takeover: 't', epoch: 4, proof }, 10_000);
  keeper.handle({ ...agreeing, role: 'primary', epoch: 9, active: true });
  expect(await clock.settle(asked, 10_000)).toMatchObject({ ok: false, code: 'overtaken' });
});

it('a machine that is wrong ends the agent instead of going on', () => {
  const keeper = start(standby);
  keeper.handle(boot);
  expect(failures).toHaveLength(1);
  keeper.handle(agreeing);
  expect(did.filter((what) => what === 'take')).toEqual([]);
});
