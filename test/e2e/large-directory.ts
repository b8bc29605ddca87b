import { closeSync, existsSync, mkdirSync, openSync, readdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { SmallPair } from '../lab/small-pair.ts';

const fillMs = 300_000;
const tries = 5;

/**
 * One directory with this many files: it is filled, changed while the agents run and while the primary's does not, and is the same on
 * both nodes each time.
 *
 * @returns after how long a change was durable, milliseconds: the fastest of some, of those that write and those that remove the slower.
 * @throws with what is not the same.
 */
export async function changeInLargeDirectory(count: number): Promise<number> {
  await using pair = await SmallPair.create(existsSync('/dev/shm') ? { base: '/dev/shm' } : {});
  const { primary, standby } = pair;
  const [dir, copy] = [`${primary.root}/many`, `${standby.root}/many`];
  mkdirSync(dir);
  for (let i = 0; i < count; i++) closeSync(openSync(`${dir}/${i}`, 'w'));
  await primary.start();
  await pair.introduce();
  await standby.start();
  await pair.settled(fillMs);
  const mustHold = (what: string, isTrue: boolean) => {
    if (!isTrue) throw new Error(`of ${count} files in one directory: ${what}`);
  };
  mustHold('not all are there', readdirSync(copy).length === count);
  // A machine that others use too is slow now and then; a walk through the directory is slow each time.
  const fastest = async (change: (name: string) => void, isThere: (name: string) => boolean) => {
    const times: number[] = [];
    for (let i = 0; i < tries; i++) {
      const name = String(++changed);
      const start = performance.now();
      change(name);
      await pair.settled();
      times.push(performance.now() - start);
      mustHold(`a change of ${name} is missing`, isThere(name));
    }
    return Math.min(...times);
  };
  let changed = 0;
  const writtenMs = await fastest(
    (name) => writeFileSync(`${dir}/${name}`, 'changed'),
    (name) => statSync(`${copy}/${name}`).size === 7,
  );
  const removedMs = await fastest(
    (name) => unlinkSync(`${dir}/${name}`),
    (name) => !existsSync(`${copy}/${name}`),
  );
  await primary.stop();
  unlinkSync(`${dir}/0`);
  writeFileSync(`${dir}/new`, 'new');
  await primary.start();
  await pair.settled(fillMs);
  mustHold('what was removed while nobody watched is there', !existsSync(`${copy}/0`));
  mustHold('what was made while nobody watched is missing', existsSync(`${copy}/new`));
  mustHold('the number is wrong', readdirSync(copy).length === count - tries);
  return Math.max(writtenMs, removedMs);
}
