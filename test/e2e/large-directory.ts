import { closeSync, existsSync, mkdirSync, openSync, readdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { cpuSecondsOf } from '../lab/cpu-time.ts';
import { SmallPair } from '../lab/small-pair.ts';

const fillMs = 300_000;
/** As many changes of each kind as it takes until what the agents compute for themselves is small beside them. */
const tries = 20;

export interface ChangeCost {
  /** Milliseconds that both agents computed for a change in the large directory. */
  large: number;
  /** The same in a directory of a few files beside it. */
  small: number;
}

/**
 * One directory with this many files: it is filled, changed while the agents run and while the primary's does not, and is the same on
 * both nodes each time.
 *
 * @returns what a change costs there and in a small directory. Whoever walks through the directory for it needs many times as much,
 * however busy the machine is.
 * @throws with what is not the same.
 */
export async function changeInLargeDirectory(count: number): Promise<ChangeCost> {
  await using pair = await SmallPair.create(existsSync('/dev/shm') ? { base: '/dev/shm' } : {});
  const { primary, standby } = pair;
  const [dir, copy] = [`${primary.root}/many`, `${standby.root}/many`];
  mkdirSync(dir);
  mkdirSync(`${primary.root}/few`);
  for (let i = 0; i < count; i++) closeSync(openSync(`${dir}/${i}`, 'w'));
  await primary.start();
  await pair.introduce();
  await standby.start();
  await pair.settled(fillMs);
  const mustHold = (what: string, isTrue: boolean) => {
    if (!isTrue) throw new Error(`of ${count} files in one directory: ${what}`);
  };
  mustHold('not all are there', readdirSync(copy).length === count);
  const cpuMs = () => (cpuSecondsOf(primary.agent.pid) + cpuSecondsOf(standby.agent.pid)) * 1000;
  const costIn = async (name: string): Promise<number> => {
    const before = cpuMs();
    for (let i = 1; i <= tries; i++) {
      writeFileSync(`${primary.root}/${name}/${i}`, 'changed');
      await pair.settled();
      mustHold(`a change in ${name} is missing`, statSync(`${standby.root}/${name}/${i}`).size === 7);
      unlinkSync(`${primary.root}/${name}/${i}`);
      await pair.settled();
      mustHold(`a removal in ${name} is missing`, !existsSync(`${standby.root}/${name}/${i}`));
    }
    return (cpuMs() - before) / (2 * tries);
  };
  const small = await costIn('few');
  const large = await costIn('many');
  await primary.stop();
  unlinkSync(`${dir}/0`);
  writeFileSync(`${dir}/new`, 'new');
  await primary.start();
  await pair.settled(fillMs);
  mustHold('what was removed while nobody watched is there', !existsSync(`${copy}/0`));
  mustHold('what was made while nobody watched is missing', existsSync(`${copy}/new`));
  mustHold('the number is wrong', readdirSync(copy).length === count - tries);
  return { large, small };
}
