import { describe, expect, it } from 'vitest';
import { PutBackWorld, type PutBackPart } from './put-back-world.ts';
import { compareTrees } from './tree.ts';

const first = Number(process.env['SIM_SEED'] ?? 1);
const count = Number(process.env['SIM_COUNT'] ?? 4);

/** One history in which the primary is put back; what was found of it. */
async function history(seed: number, part: PutBackPart): Promise<{ violations: string[]; found: boolean }> {
  const world = new PutBackWorld(seed);
  const { clock, random } = world;
  await world.begin();
  await world.workFor(random.between(300, 1500), 300);
  const snapshot = world.snapshot('a');
  // In every other history the agents run on: only the grant of a later second tells that anything came after.
  await world.workFor(random.between(0, 4000), seed % 2 === 0 ? 1e9 : 500);
  await world.putBackPrimary(snapshot, part);
  // What the standby was given before is put into place.
  await clock.runFor(500);
  // When the mail alone was put back, only the numbers of its mailboxes tell it, where any were given since.
  const must = part === 'root' ? null : world.mustTell(snapshot);
  const before = world.standbyTree();
  world.startPrimary();
  world.opsSent = 0;
  for (let i = 0; i < 3; i++) {
    await clock.runFor(random.between(200, 1500));
    if (i < 2 && random.chance(0.5)) await world.trouble();
  }
  const sender = world.primary?.primary?.sender;
  const found = sender?.held?.code === 'put-back';
  if (must !== null && found !== must)
    world.violate(`the store of the primary says ${found ? 'that it was' : 'nothing of being'} put back`);
  if (found) {
    if (world.opsSent > 0) world.violate('I21: something was sent before a person had decided');
    for (const line of compareTrees(before, world.standbyTree())) world.violate(`I21: undone before a person had decided: ${line}`);
    await world.keep();
  }
  // What was sent in the second of the snapshot itself looks like what a crash left unacknowledged.
  if (must === null && !found && part !== 'root') return { violations: world.violations, found };
  world.server.start();
  await world.workFor(random.between(200, 1000), 300);
  await world.comeToRest();
  return { violations: world.violations, found };
}

describe('a store that was put back (I21)', () => {
  it.each(['root and state', 'state', 'root'] as const)(
    `undoes nothing on the standby before a person has decided, and gives no UID twice after (I5): %s, ${count} histories from seed ${first} on`,
    async (part) => {
      console.log(`first seed ${first}`);
      const violations: string[] = [];
      let found = 0;
      for (let seed = first; seed < first + count && violations.length < 10; seed++) {
        const end = await history(seed, part).catch((error: unknown) => ({ violations: [`seed ${seed}: ${String(error)}`], found: false }));
        violations.push(...end.violations);
        if (end.found) found++;
      }
      expect(violations).toEqual([]);
      expect(found).toBeGreaterThan(0);
    },
  );

  it(`is never seen in a primary that was only killed, with what it sent unacknowledged: ${count} histories`, async () => {
    const violations: string[] = [];
    for (let seed = first; seed < first + count && violations.length < 10; seed++) {
      const world = new PutBackWorld(seed);
      await world.begin();
      for (let i = 0; i < 12; i++) {
        await world.workFor(world.random.between(5, 150), 1000);
        world.killPrimary();
        await world.clock.runFor(world.random.between(0, 20));
        world.startPrimary();
        await world.clock.runFor(120);
        const code = world.primary?.primary?.sender.held?.code;
        if (code !== undefined) world.violate(`a primary that was killed says ${code}`);
      }
      await world.comeToRest();
      violations.push(...world.violations);
    }
    expect(violations).toEqual([]);
  });

  it(`of a standby is filled again, and is no complete copy before: ${count} histories`, async () => {
    const violations: string[] = [];
    for (let seed = first; seed < first + count && violations.length < 10; seed++) {
      const world = new PutBackWorld(seed);
      const { clock, random } = world;
      await world.begin();
      await world.workFor(random.between(1000, 1500), 1000);
      const snapshot = world.snapshot('b');
      const snapshotSent = world.standbySentMs();
      await world.workFor(2500, 5000);
      await clock.runFor(200);
      if (!world.primary?.primary?.sender.filled || world.standbySentMs() === snapshotSent) continue;
      await clock.settle(world.server.stop(), 60_000);
      await world.putBackStandby(snapshot);
      await clock.runWhile(() => !world.codes.has('standby-put-back'), 20_000);
      const { sender } = world.primary.primary;
      if (!sender.standbyPutBack || sender.filled) world.violate('a standby that was put back passes for a complete copy');
      // Nothing is open yet, and nothing may be called durable before the comparison has ended.
      await world.comeToRest();
      if (sender.standbyPutBack) world.violate('a standby that was put back is never complete again');
      violations.push(...world.violations);
    }
    expect(violations).toEqual([]);
  });
});
