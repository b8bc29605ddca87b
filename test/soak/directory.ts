import { changeInLargeDirectory } from '../e2e/large-directory.ts';
import type { Soak } from './options.ts';

const files = 200_000;
const changeMsMax = 1000;

/** `npm run soak -- --directory`: one directory with 200,000 files; false when each change there takes a second. */
export const run: Soak = async ({ times }) => {
  let well = true;
  for (let round = 0; round < times; round++) {
    const ms = await changeInLargeDirectory(files);
    console.log(`directory: ${files} files, a change is durable after ${Math.round(ms)} ms`);
    well &&= ms < changeMsMax;
  }
  return well;
};
