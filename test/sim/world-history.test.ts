import { expect, it } from 'vitest';
import { runHistory } from './pair.ts';
import { worldOptions, type Trait } from './world-options.ts';

const first = Number(process.env['SIM_SEED'] ?? 1);
const count = Number(process.env['SIM_COUNT'] ?? 40);
/** A history takes about a second; a machine that does much else has this long. */
const historyMs = 60_000;

/** What worlds had when most of the histories below were found. */
const withoutErrors: readonly Trait[] = ['birthtimes', 'mounts-a', 'mounts-b', 'times', 'refusals', 'hot', 'state-full'];

/** What worlds have since. */
const everything: readonly Trait[] = [...withoutErrors, 'folding', 'errno'];

/** Histories that broke a promise once, with the traits of their world. */
const once: readonly (readonly [seed: number, traits: readonly Trait[], what: string])[] = [
  [61_082, ['mounts-b'], 'a disk of the standby that came back while somebody waited was compared after the answer'],
  [62_391, ['mounts-b'], 'steps that were done again while their disk went were taken for done'],
  [207_634, withoutErrors, 'a doubt about attributes did not end where the clock had been set back'],
  [301_733, withoutErrors, 'staging was emptied of what a step needs whose disk came at that moment'],
  [203_828, withoutErrors, 'an attribute that was removed within the second of another change stayed on the copy'],
  [503_288, withoutErrors, 'staging was made below a mount point whose disk had just gone'],
  [209_668, withoutErrors, 'a directory was left below a mount point by a kill'],
  [604_072, withoutErrors, 'what places lack went with an acknowledgement that the primary passed over, and was told no more'],
  [610_999, withoutErrors, 'a file was changed by a name that its disk hid again before anybody had noticed that the disk was away'],
  [650_020, ['folding'], 'what had moved to a name that is the same there was found under the old one, and taken for a stranger'],
  [650_204, ['folding'], 'a directory went to history for a file whose name fell together with its'],
  [653_016, ['folding'], 'of two names that fall together and were both new in a batch each was refused for the other, for ever'],
  [650_241, ['folding'], 'a place below one that cannot be had was sent again and again without end'],
  [650_202, ['folding'], 'what could not be had was told no more when an older file went from its place'],
  [651_018, ['folding'], 'the op that ends a doubt about a directory was not made again with a batch that was given up'],
  [700_019, ['folding'], 'a file was removed by the name of another one that was a second name of it there'],
  [700_041, ['folding'], 'a file was replaced by a name that was not there, through another one'],
  [700_084, ['folding'], 'a file went with a name that had never been there'],
  [700_275, ['folding'], 'a directory went to history for a file whose name nobody knew to fall together with its'],
  [700_337, ['folding'], 'a tree was merged into the one whose name its fell together with'],
  [701_606, ['folding'], 'the standby was told all at once of much content that it need not keep'],
  [705_311, ['folding'], 'what lay in a directory that could not be renamed stayed, told to nobody, when another one got its old name'],
  [720_489, everything, 'a directory that could be had was not, and the simulation took that for an owner that is refused'],
  [
    703_374,
    ['folding'],
    'what was not there was called durable when its attributes changed before anybody heard, and the word of it was lost',
  ],
  [703_244, ['folding'], 'a place that could not be had was forgotten by a kill when its attributes had changed'],
  [703_820, ['folding'], 'a doubt went with a directory that was renamed, and was one about what had come in its place'],
  [63_158, ['errno'], 'an op waited for ever for a batch that had failed, and nothing else ran'],
  [63_095, ['errno'], 'a message that could not be put into place and was renamed was said to be taken away by somebody else'],
  [640_219, ['errno'], 'what lay in a directory that could not be renamed was said to be written by somebody else'],
  [640_234, ['errno'], 'a doubt about a directory ended when its mailbox was closed, which had looked at none of its messages'],
  [640_272, ['errno'], 'a change was lost by an error that it met just as its content was to go ahead'],
  [641_080, ['errno'], 'a file was moved in the place of a directory that could not be made'],
  [641_194, ['errno'], 'what could not be removed was said to be put in the way by somebody else'],
  [641_200, ['errno'], 'what a name that was gone had changed under another one lost its place in line, and was called durable'],
  [642_119, ['errno'], 'a directory was not compared because one above it could not be looked at'],
  [642_304, ['errno'], 'a doubt about an index file did not end when the acknowledgement of its change was lost'],
  [642_362, ['errno'], 'a message had two names because its file system could not be looked at'],
  [643_056, ['errno'], 'a copy of a message was no second name of it any more'],
  [645_941, ['errno'], 'an index stood beside an older uidlist that power had taken back and that met an error at the start'],
  [646_266, ['errno'], 'the removal of a message was forgotten whose file system could not be looked at while its mailbox was closed'],
  [670_189, ['errno'], 'what could not be removed stayed when its folder was renamed before it was compared'],
  [690_840, ['errno'], 'a name of a file was another file there, because a third name could not be looked at'],
  [731_185, everything, 'the role of a standby failed because a disk went with a symbolic link that had just been staged on it'],
  [731_726, everything, 'the numbers of files were taken for those of another disk, because the top of their root could not be looked at'],
  [731_758, everything, 'the same, and such numbers were kept: a change was refused for ever'],
  [730_762, everything, 'a change was lost that was made by a name which the standby could not have, and which the index still claimed'],
  [732_188, everything, 'a name beside a mount point and that of the mount point itself were refused for each other, for ever'],
  [732_564, everything, 'what lies on a disk was in doubt for ever, because its name fell together with one that was never there'],
  [
    731_821,
    everything,
    'what lacked an attribute below a directory that could not be renamed was told for ever under a name that was nowhere',
  ],
  [24, everything, 'a change was lost that was made by a name which the standby could not have, and which went at once'],
  [643_259, ['errno'], 'a change was lost that was made by a name which the standby could not have'],
];

it.each(once)('seed %i (%s): %s', async (seed, on) => {
  expect((await runHistory(seed, worldOptions(seed, new Set(on)))).violations).toEqual([]);
});

it(
  `a pair on real disks and machines keeps its promises over ${count} histories from seed ${first} on`,
  { timeout: historyMs * count },
  async () => {
    console.log(`first seed ${first}`);
    const violations: string[] = [];
    for (let seed = first; seed < first + count && violations.length < 20; seed++) {
      violations.push(...(await runHistory(seed, worldOptions(seed))).violations);
    }
    expect(violations).toEqual([]);
  },
);
