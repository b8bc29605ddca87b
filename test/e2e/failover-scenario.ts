import { setTimeout as pause } from 'node:timers/promises';
import type { Appliance } from '../lab/appliance.ts';
import { AppliancePair } from '../lab/appliance-pair.ts';
import type { Release } from '../lab/release.ts';
import { waitFor } from '../lab/waiting.ts';
import { SimRandom } from '../sim/sim-random.ts';
import { witnessed } from './witnessed.ts';

export interface FailoverResult {
  problems: string[];
  failovers: number;
  accepted: number;
  /** (UIDVALIDITY, UID) pairs that clients saw. */
  seen: number;
  /** Messages that only a dead primary had, brought back. */
  salvaged: number;
  /** From the start of the command to a login at the service address, milliseconds, sorted. */
  times: number[];
}

const waitMs = 180_000;

/**
 * The primary loses its power, or both its cables, at random moments under load; the other one takes over with real
 * fencing; the dead one comes back, is salvaged and rejoins; and so on with the roles exchanged.
 */
export async function failOverUnderLoad(options: {
  base: string;
  times: number;
  seed: number;
  say: (line: string) => void;
  /** Environment of the agents, for a run in which something is broken on purpose. */
  environment?: NodeJS.ProcessEnv;
  /**
   * How long the standby stands still, at least, before the primary dies; at random when left out. When it is given, a client
   * has seen a letter that only the primary has.
   */
  stallMs?: number;
  /** Whose Dovecot each of them runs. Default `labRelease`. */
  releases?: { a: Release; b: Release };
  /** Of the witness. */
  pauseMs?: number;
}): Promise<FailoverResult> {
  const { base, times, seed, say, environment, releases } = options;
  const random = new SimRandom(seed);
  const problems: string[] = [];
  const result: FailoverResult = { problems, failovers: 0, accepted: 0, seen: 0, salvaged: 0, times: [] };
  await using pair = new AppliancePair({ base, ...(releases && { releases }), ...(environment && { environment }) });
  await pair.start();
  let active = pair.a;
  const mail = await witnessed(pair, problems, options.pauseMs, async (witness) => {
    for (let i = 0; i < times; i++) {
      const next = pair.other(active);
      await pause(random.between(300, 2500));
      const stall = options.stallMs ?? (random.between(0, 3) < 2 ? Math.round(random.between(200, 1500)) : 0);
      // What the primary accepts while its standby stands still is what it will be alone with.
      if (stall > 0) process.kill(next.agent.pid, 'SIGSTOP');
      const before = witness.sent;
      await pause(stall);
      if (options.stallMs !== undefined) await waitFor('a client to see what is lost', waitMs, () => witness.newestSeen > before);
      const isCut = random.between(0, 3) < 1;
      if (isCut) for (const network of [0, 1]) pair.network.cut(active.name, network);
      else await active.cutPower();
      if (stall > 0) process.kill(next.agent.pid, 'SIGCONT');
      witness.hangUp();
      const began = await failOver(pair, active, next);
      const logins = witness.lastLoginMs;
      await waitFor('a login at the service address', waitMs, () => witness.lastLoginMs > logins && witness.lastLoginMs > began);
      result.times.push(witness.lastLoginMs - began);
      result.failovers++;
      if (active.bmc.isOn) problems.push(`failover ${i}: mail-${active.name} still has power`);
      if (pair.neighbour() !== null && pair.neighbour() !== next.mac())
        problems.push(`failover ${i}: the LAN still has the old neighbour (I3)`);
      result.salvaged += await comeBack(pair, active, problems, i);
      say(
        `seed ${seed} failover ${i}: ${isCut ? 'cables cut' : 'power cut'}${stall > 0 ? `, standby stalled for ${stall} ms` : ''}, ` +
          `${Math.round(result.times.at(-1) ?? 0)} ms to a login, ${witness.accepted.size} accepted, ${result.salvaged} salvaged so far, ${problems.length + witness.problems.length} problems`,
      );
      active = next;
      // Now and then the next disaster comes before the copy is complete again, and a person goes on all the same.
      if (random.between(0, 4) < 1)
        await waitFor('the connection', waitMs, async () => (await pair.other(active).agent.status()).peer.connected);
      else await pair.settled(active);
    }
  });
  result.times.sort((a, b) => a - b);
  return Object.assign(result, mail);
}

/** @returns when the command that succeeded was started, monotonic milliseconds. */
async function failOver(pair: AppliancePair, dead: Appliance, next: Appliance): Promise<number> {
  const overrides = ['--override', 'initial-fill', '--override', 'predicted-loss', '--override', 'unproven'];
  let began = 0;
  let last = '';
  await waitFor(`mail-${next.name} to take over`, waitMs, async () => {
    began = performance.now();
    const { code, stdout, stderr } = await next.agent.cli(['failover', '--confirm', `mail-${dead.name}`, '--accept-loss', ...overrides], {
      mayFail: true,
      timeoutMs: 120_000,
    });
    last = stdout + stderr;
    if (process.env['FO_VERBOSE']) console.log(last);
    // Until it was silent for a while, the dead one counts as alive.
    if (code !== 0 && code !== 3) throw new Error(`failover ended with ${code}: ${last}\n${next.agent.output.slice(-3000)}`);
    return code === 0;
  }).catch((error: unknown) => {
    throw new Error(`${error instanceof Error ? error.message : String(error)}: ${last}`);
  });
  if (pair.other(dead) !== next) throw new Error('wrong pair');
  return began;
}

/** The dead one comes back with its cables in: passive, then salvaged, then a standby. @returns what was salvaged. */
export async function comeBack(pair: AppliancePair, dead: Appliance, problems: string[], i: number): Promise<number> {
  for (const network of [0, 1]) pair.network.mend(dead.name, network);
  dead.bmc.setPower(true);
  await dead.agent.start();
  await waitFor(`mail-${dead.name} to be fenced`, waitMs, async () => {
    if (dead.held().length > 0) problems.push(`failover ${i}: mail-${dead.name} came back and took an address (I3)`);
    if (dead.serves()) problems.push(`failover ${i}: mail-${dead.name} came back and started its services (I3)`);
    const { role, peer } = await dead.agent.status();
    if (role !== 'fenced' || !peer.connected) return false;
    // It connects anew once it knows that it was replaced, and the active node hears of it only then.
    const seen = (await pair.other(dead).agent.status()).peer;
    return seen.connected && seen.role === 'fenced';
  });
  const salvage = await dead.agent.cliOnceConnected(['salvage', '--apply', '--json']);
  if (salvage.code !== 0) throw new Error(`salvage ended with ${salvage.code}: ${salvage.stdout}${salvage.stderr}`);
  await dead.agent.cli(['rejoin', '--confirm', `mail-${dead.name}`], { timeoutMs: 120_000 });
  return (JSON.parse(salvage.stdout) as { brought: number }).brought;
}
