import { describe, expect, it } from 'vitest';
import { stepIds, type TakeoverKind, type TakeoverReport } from '../../protocol/takeover.ts';
import { SimRandom } from './sim-random.ts';
import { TakeoverWorld, type Host, type WorldOptions } from './takeover-world.ts';

const first = Number(process.env['SIM_SEED'] ?? 1);
const count = Number(process.env['SIM_COUNT'] ?? 150);

/** Runs the command on a host and waits for its end, or for the end of the agent that ran it. */
async function command(world: TakeoverWorld, host: Host, kind: TakeoverKind): Promise<TakeoverReport | string> {
  const { agent } = host;
  if (!agent) return 'no agent';
  world.tell(`${kind} on ${host.name}`);
  let result: TakeoverReport | string | null = null;
  agent.command(kind).then(
    (report) => (result = report),
    (error: unknown) => (result = `crashed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
  );
  await world.clock.runWhile(() => result === null && agent.alive, 600_000);
  const ended = (result ?? (agent.alive ? 'never ended' : 'killed')) as TakeoverReport | string;
  world.tell(`${kind} on ${host.name}: ${typeof ended === 'string' ? ended : `${ended.outcome} (${ended.code}) ${ended.summary}`}`);
  world.ends.push(typeof ended === 'string' ? ended.replace(/:.*/s, '') : `${ended.outcome} ${ended.code} ${ended.resumed ?? ''}`.trim());
  if (typeof ended === 'string' && /^(crashed|never)/.test(ended)) world.break(ended);
  else if (typeof ended !== 'string') judge(world, host, ended);
  return ended;
}

/** A report must be true in the moment when it is given. */
function judge(world: TakeoverWorld, host: Host, report: TakeoverReport): void {
  const active = world.active().map(({ name }) => name);
  if (report.outcome === 'done' && host.powered && !active.includes(host.name)) world.break(`${host.name} says done and does not serve`);
  if (report.outcome === 'refused' && report.steps.some(({ id, state }) => id === 'stepdown' && state === 'done'))
    world.break('refused after a step-down');
  if (report.outcome !== 'done' && report.remedy === '' && report.code !== 'given-up')
    world.break(`says ${report.outcome} (${report.code}: ${report.summary}) and not what to do`);
}

interface Trouble {
  seed: number;
  kind: TakeoverKind;
}

async function history({ seed, kind }: Trouble, options: WorldOptions = {}): Promise<TakeoverWorld> {
  const random = new SimRandom(seed);
  const world = new TakeoverWorld(random.fork('world'), options);
  const chance = random.fork('trouble');
  await world.clock.runFor(20_000);
  const [a, b] = world.hosts;
  if (kind === 'failover') {
    if (chance.chance(0.4)) a.powerCut(chance.chance(0.5) ? chance.between(1000, 90_000) : null);
    else if (chance.chance(0.5)) a.lanCut = true;
    world.linkCut = chance.chance(0.5);
    // The old primary is cut off from everybody but its power switch, and comes back so.
    if (chance.chance(0.25)) [a.lanCut, world.linkCut] = [true, true];
  }
  world.fenceMode = chance.pick(['works', 'works', 'works', 'fails', 'hangs', 'lies', 'wrong-host'] as const);
  // A switch that switches another machine is found out only where the old primary can be seen at all.
  if (world.fenceMode === 'wrong-host') [a.lanCut, b.lanCut] = [false, false];
  // Somebody dies at a step, more than once perhaps.
  let kills = chance.int(4);
  const at = new Set(Array.from({ length: 2 }, () => chance.pick(stepIds)));
  world.onStep = (_host, step) => {
    if (kills === 0 || !at.has(step)) return;
    kills--;
    const victim = chance.pick([a, b]);
    const power = chance.chance(0.5);
    const backMs = chance.between(2000, 60_000);
    world.clock.after(chance.chance(0.3) ? 0 : chance.between(0, 3000), () => (power ? victim.powerCut(backMs) : victim.killAgent()));
  };
  // Cuts of all lengths, short ones that a command lives through among them.
  if (chance.chance(0.5)) {
    const lengthMs = chance.pick([500, 5000, 60_000, 600_000]);
    world.clock.after(chance.between(0, 15_000), () => {
      world.linkCut = !world.linkCut;
      world.clock.after(lengthMs, () => (world.linkCut = false));
    });
  }
  if (chance.chance(0.2) && world.fenceMode !== 'wrong-host') world.clock.after(chance.between(0, 15_000), () => (a.lanCut = !a.lanCut));
  for (let tries = 0; tries < 3; tries++) {
    const runs = [command(world, b, kind)];
    const [report] = await Promise.all(runs);
    if (typeof report !== 'string' && report?.outcome === 'done') break;
    await world.clock.runFor(chance.between(1000, 80_000));
  }
  // The old primary is back by now, and perhaps still cut off.
  await world.clock.runFor(chance.between(0, 250_000));
  await settle(world, chance);
  return world;
}

/** The dust settles: everything is mended, and the command is run again where it makes sense. */
async function settle(world: TakeoverWorld, chance: SimRandom): Promise<void> {
  world.onStep = () => {};
  world.linkCut = false;
  world.fenceMode = 'works';
  for (const host of world.hosts) {
    host.lanCut = false;
    host.powerOn();
  }
  await world.clock.runFor(200_000);
  for (let tries = 0; tries < 4 && world.active().length === 0; tries++) {
    for (const host of world.hosts) host.powerOn();
    await world.clock.runFor(10_000);
    const standby =
      world.hosts.find(({ agent }) => agent?.keeper.role.state === 'takingOver') ??
      world.hosts.find(({ agent }) => agent?.keeper.durable.role === 'standby');
    if (!standby) break;
    await command(world, standby, 'failover');
    await world.clock.runFor(chance.between(1000, 150_000));
  }
  const active = world.active();
  if (active.length !== 1) {
    const states = world.hosts.map(
      ({ name, agent }) => `${name} ${agent?.keeper.role.state ?? 'off'} (${agent?.keeper.role.because ?? ''})`,
    );
    world.break(`nobody serves in the end: ${states.join(', ')}`);
  }
}

/** Seeds that once showed a fault, with what it was. */
const remembered = [['failover', 2314, 'an interrupted takeover went on with UIDs raised before the old primary served alone']] as const;

describe('two nodes and a takeover', () => {
  it.each(remembered)('keeps its promises in a %s of seed %i, where %s', async (kind, seed) => {
    expect((await history({ seed, kind })).violations).toEqual([]);
  });

  it.each(['switchover', 'failover'] as const)(
    `%s: never two active, whatever dies when; in the end exactly one (I3, I14), and no UID twice (I5), over ${count} histories`,
    async (kind) => {
      console.log(`${kind}: first seed ${first}`);
      const failed: string[] = [];
      const ends = new Map<string, number>();
      for (let seed = first; seed < first + count && failed.length < 5; seed++) {
        const world = await history({ seed, kind });
        for (const end of world.ends) ends.set(end, (ends.get(end) ?? 0) + 1);
        if (world.violations.length > 0) failed.push(`seed ${seed}\n  ${world.violations.join('\n  ')}\n  ${world.story.join('\n  ')}`);
      }
      console.log(`${kind}: ${JSON.stringify(Object.fromEntries([...ends].toSorted(([a], [b]) => (a < b ? -1 : 1))))}`);
      expect(failed.join('\n\n')).toBe('');
    },
  );
});

describe('the check of a takeover', () => {
  it.each([
    ['UIDs are not raised after a loss (I5)', 'failover', ['raise'], '(I5)'],
    ['fencing lies, and nobody asks who answers for the addresses (I3)', 'failover', ['confirm', 'gate'], '(I3)'],
    ['role and epoch are told before they are durable (I3)', 'switchover', ['persist'], '(I3)'],
  ] as const)('sees it when %s', async (_what, kind, without, says) => {
    for (let seed = first; seed < first + 600; seed++) {
      const world = await history({ seed, kind }, { without });
      if (world.violations.some((text) => text.includes(says))) {
        console.log(`without ${without.join(' and ')}: seen in seed ${seed}: ${world.violations[0]}`);
        return;
      }
    }
    expect.fail(`nothing was noticed without ${without.join(' and ')}`);
  });
});
