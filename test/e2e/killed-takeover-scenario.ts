import { setTimeout as pause } from 'node:timers/promises';
import type { RunRequest, StepId, TakeoverKind } from '../../protocol/takeover.ts';
import { stepsOf } from '../../agent/failover/plan.ts';
import type { Appliance } from '../lab/appliance.ts';
import { AppliancePair } from '../lab/appliance-pair.ts';
import { waitFor } from '../lab/waiting.ts';
import type { Witness } from '../lab/witness.ts';
import { SimRandom } from '../sim/sim-random.ts';
import { comeBack } from './failover-scenario.ts';
import { witnessed } from './witnessed.ts';

/** One moment to kill at: `here` is the node on which the command runs. */
export interface KillPoint {
  kind: TakeoverKind;
  step: StepId;
  moment: 'begun' | 'done';
  victim: 'here' | 'there';
}

export interface KilledResult {
  problems: string[];
  rounds: number;
  accepted: number;
  seen: number;
}

const waitMs = 120_000;

/** Every step of both commands, before and after it; in a failover the other node is dead already. */
export function killPoints(): KillPoint[] {
  const kinds = ['switchover', 'failover'] as const;
  const moments = ['begun', 'done'] as const;
  return kinds.flatMap((kind) =>
    stepsOf(kind, 'here', 'there').flatMap(({ id }) =>
      moments.flatMap((moment) =>
        (kind === 'switchover' ? (['here', 'there'] as const) : (['here'] as const)).map((victim) => ({ kind, step: id, moment, victim })),
      ),
    ),
  );
}

/**
 * The agent of one node is killed at each of `points` of a takeover under load, comes back, and the command is given
 * again until it says done. Meanwhile at most one node holds the address; what the command said was true (I3, I14); in
 * the end no UID names two messages and what was accepted is there once (I5, I16).
 */
export async function killAtEachStep(options: {
  base: string;
  points: readonly KillPoint[];
  seed: number;
  say: (line: string) => void;
  /** Of the witness. */
  pauseMs?: number;
}): Promise<KilledResult> {
  const { base, points, seed, say } = options;
  const random = new SimRandom(seed);
  const result: KilledResult = { problems: [], rounds: 0, accepted: 0, seen: 0 };
  await using pair = new AppliancePair({ base, takeover: '  quiesceMaxSeconds: 10' });
  await pair.start();
  let active = pair.a;
  const mail = await witnessed(pair, result.problems, options.pauseMs, async (witness) => {
    for (const point of points) {
      const next = pair.other(active);
      const name = `${point.kind}, ${point.victim} killed when ${point.step} had ${point.moment === 'begun' ? 'begun' : 'ended'}`;
      const delayMs = random.between(0, 60);
      const [log, both] = await whileLooking(pair, () => takeOverWithKill({ active, next, point, delayMs, witness }));
      result.problems.push(...[...both, ...log.problems].map((problem) => `${name}: ${problem}`));
      result.rounds++;
      say(`seed ${seed} ${name}: ${log.said.join(' | ')}; ${witness.accepted.size} accepted, ${result.problems.length} problems`);
      if (point.kind === 'failover') await comeBack(pair, active, result.problems, result.rounds);
      active = next;
      await pair.settled(active, waitMs);
    }
  });
  return Object.assign(result, mail);
}

interface Log {
  problems: string[];
  /** What each run of the command ended with. */
  said: string[];
}

async function takeOverWithKill(round: {
  active: Appliance;
  next: Appliance;
  point: KillPoint;
  delayMs: number;
  witness: Witness;
}): Promise<Log> {
  const { active, next, point, delayMs, witness } = round;
  const log: Log = { problems: [], said: [] };
  if (point.kind === 'failover') {
    await active.cutPower();
    witness.hangUp();
    await untilMayFailOver(next);
  }
  const victim = point.victim === 'here' ? next : active;
  const first = await runAndKill(next, point, `mail-${active.name}`, async () => {
    await pause(delayMs);
    await victim.agent.kill9();
  });
  if (first === null) log.problems.push('the step never came');
  log.said.push(first ?? 'not killed');
  await pause(200);
  if (!victim.agent.isRunning) await victim.agent.start();
  for (let tries = 0; ; tries++) {
    const args = point.kind === 'failover' ? ['--accept-loss', '--override', 'predicted-loss', '--override', 'unproven'] : [];
    const { code, stdout, stderr } = await next.agent.cli([point.kind, '--confirm', `mail-${active.name}`, ...args], {
      mayFail: true,
      timeoutMs: waitMs,
    });
    const text = (stderr + stdout).trim();
    log.said.push(`exit ${code}${code === 0 ? '' : ` ${/[a-z-]+: [^\n]*/.exec(text)?.[0].slice(0, 90) ?? text.slice(0, 90)}`}`);
    // The first run may have gone on to its end alone: then there is nothing left to do, and the refusal says so.
    const isDone = code === 0 || (code === 3 && text.includes('on-primary'));
    if (isDone) {
      const holds = [next.held().length, next.serves(), active.held().length, active.serves()];
      if (holds.join() !== [1, true, 0, false].join()) log.problems.push(`said done, and holds are ${holds.join()}: ${text}`);
      return log;
    }
    if (!text.includes('what to do: ')) log.problems.push(`exit ${code} without what to do: ${text}`);
    // In a failover the old primary is dead, whatever the command comes to.
    if ((code === 4 || code === 1) && point.kind === 'switchover') await isBack(active, log, text);
    if (tries >= 40) {
      log.problems.push(`did not come to an end: ${text}`);
      throw new Error(log.problems.join('\n') + log.said.join('\n'));
    }
    await pause(1000);
  }
}

/** After "failed, nothing changed" and "rolled back" the old primary serves. */
async function isBack(active: Appliance, log: Log, text: string): Promise<void> {
  await waitFor(`mail-${active.name} to serve again`, 60_000, () => active.serves() && active.held().length === 1).catch(
    (error: unknown) => {
      log.problems.push(`${error instanceof Error ? error.message : String(error)}, though the command said: ${text}`);
    },
  );
}

/** @returns how the command ended, or null when the step was never reached. */
async function runAndKill(node: Appliance, point: KillPoint, dead: string, kill: () => Promise<void>): Promise<string | null> {
  const by = { uid: 0, user: 'lab', tty: null, sudoUser: null };
  const overrides: RunRequest['overrides'] = point.kind === 'failover' ? ['predicted-loss', 'unproven'] : [];
  const request: RunRequest = { kind: point.kind, plan: null, overrides, by, confirm: dead, acceptLoss: true, manual: null };
  let killing: Promise<void> | null = null;
  let last = 'no line';
  try {
    for await (const line of node.agent.control.stream('POST /takeover/run', request)) {
      if (line.kind === 'step' && line.id === point.step && line.state === point.moment) killing ??= kill();
      if (line.kind === 'error') last = `${line.code}: ${line.message}`;
      if (line.kind === 'done') last = 'done';
    }
  } catch (error) {
    last = error instanceof Error ? error.message.slice(0, 60) : String(error);
  }
  await killing;
  return killing === null ? null : last;
}

async function untilMayFailOver(node: Appliance): Promise<void> {
  await waitFor('the dead to count as dead', waitMs, async () => {
    const guards = await node.failoverGuards();
    return guards.every(({ level, guard }) => level !== 'fail' || guard === 'predicted-loss' || guard === 'unproven');
  });
}

/** Looks all the time, while `work` is done, whether both nodes hold the service address, or both serve. */
async function whileLooking<T>(pair: AppliancePair, work: () => Promise<T>): Promise<[T, problems: string[]]> {
  const problems: string[] = [];
  let isOver = false;
  // One look after the other: what is so on a before and after b was looked at was so meanwhile.
  const both = (is: (node: Appliance) => boolean) => is(pair.a) && is(pair.b) && is(pair.a);
  const look = async (): Promise<void> => {
    while (!isOver) {
      if (both((node) => node.held().length > 0)) problems.push('both nodes hold the service address (I3)');
      if (both((node) => node.serves())) problems.push('both nodes serve (I3)');
      await pause(100);
    }
  };
  const looking = look();
  try {
    return [await work(), problems];
  } finally {
    isOver = true;
    await looking;
  }
}
