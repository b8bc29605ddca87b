import { expect, it } from 'vitest';
import { runHistory } from './pair.ts';
import { bornTraits, worldOptions, type Trait } from './world-options.ts';

const first = Number(process.env['SIM_SEED'] ?? 1);
const count = Number(process.env['SIM_COUNT'] ?? 40);

/** Histories that broke a promise once, with the traits of their world. */
const once: readonly (readonly [seed: number, traits: readonly Trait[], what: string])[] = [
  [61_082, ['mounts-b'], 'a disk of the standby that came back while somebody waited was compared after the answer'],
  [62_391, ['mounts-b'], 'steps that were done again while their disk went were taken for done'],
  [207_634, bornTraits, 'a doubt about attributes did not end where the clock had been set back'],
  [301_733, bornTraits, 'staging was emptied of what a step needs whose disk came at that moment'],
  [203_828, bornTraits, 'an attribute that was removed within the second of another change stayed on the copy'],
  [503_288, bornTraits, 'staging was made below a mount point whose disk had just gone'],
  [209_668, bornTraits, 'a directory was left below a mount point by a kill'],
  [604_072, bornTraits, 'what places lack went with an acknowledgement that the primary passed over, and was told no more'],
  [610_999, bornTraits, 'a file was changed by a name that its disk hid again before anybody had noticed that the disk was away'],
  [63_158, ['errno'], 'an op waited for ever for a batch that had failed, and nothing else ran'],
];

it.each(once)('seed %i (%s): %s', async (seed, on) => {
  expect((await runHistory(seed, worldOptions(seed, new Set(on)))).violations).toEqual([]);
});

it(`a pair on real disks and machines keeps its promises over ${count} histories from seed ${first} on`, async () => {
  console.log(`first seed ${first}`);
  const violations: string[] = [];
  for (let seed = first; seed < first + count && violations.length < 20; seed++) {
    violations.push(...(await runHistory(seed, worldOptions(seed))).violations);
  }
  expect(violations).toEqual([]);
});
