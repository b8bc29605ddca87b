import { changeInLargeDirectory } from '../e2e/large-directory.ts';
import type { Soak } from './options.ts';

const files = 200_000;
/** More than this many times the cost in a small directory is a walk. */
const walkFactor = 5;

/** `npm run soak -- --directory`: one directory with 200,000 files; false when a change there costs a walk through it. */
export const run: Soak = async ({ times }) => {
  let well = true;
  for (let round = 0; round < times; round++) {
    const { large, small } = await changeInLargeDirectory(files);
    console.log(
      `directory: ${files} files, a change costs ${large.toFixed(1)} ms of computing, ${small.toFixed(1)} ms in a small directory`,
    );
    well &&= large < walkFactor * small;
  }
  return well;
};
