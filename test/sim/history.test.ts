import { describe, expect, it } from 'vitest';
import { historyOptions } from './history-options.ts';
import { runHistory } from './pair.ts';

const first = Number(process.env['SIM_SEED'] ?? 1);
const count = Number(process.env['SIM_COUNT'] ?? 60);

/** Seeds that once showed a fault, with what it was. They are run as long as they are: a changed world may tell another story under them. */
const remembered: readonly (readonly [seed: number, fault: string])[] = [
  [4, 'names of one file became two files when one of them was racy'],
  [28, 'a name that took the inode of a directory that was gone was linked over it'],
  [14, 'a message with several names kept its old flag name'],
  [56, 'messages of a renamed folder were linked before the folder moved'],
  [58, 'a scan called a directory proven whose removals waited for a seal'],
  [96, 'a uidlist from before a clock was set back never counted as settled'],
  [118, 'a renamed folder was emptied under its uidlist instead of moved'],
  [16, 'a renamed message was removed under its old name before its new one was looked at'],
  [264, 'a batch went on after a directory had moved'],
  [230, 'an attribute that changed while nobody watched was not found'],
  [549, 'a disk error left a file open'],
  [623, 'a directory lost its new mode with its move'],
  [428, 'digests from before a batch hid what the batch had brought'],
  [507, 'steps were done again for a commit that power then took back'],
  [1146, 'a directory that was gone took the place of a file with its inode number'],
  [2297, "half a batch that had been given up was in the standby's answers"],
  [3663, 'a copy within a mailbox took the copied message away'],
  [4271, 'a change came through a name that was gone before anybody had looked at it'],
  [6697, 'a clock that was set back gave a file the times of its last version once more'],
  [8899, 'a batch was given up, and the name that had led to what it brought was another file by then'],
];

describe('a simulated pair', () => {
  it(`holds I1, I6, I7, I8 and I12, and I17, over ${count} histories from seed ${first} on`, async () => {
    console.log(`first seed ${first}`);
    const violations: string[] = [];
    for (let seed = first; seed < first + count && violations.length < 20; seed++) {
      violations.push(...(await runHistory(seed, historyOptions(seed))).violations);
    }
    expect(violations).toEqual([]);
  });

  it.each(remembered)('keeps its promises in seed %i, where %s', async (seed) => {
    expect((await runHistory(seed, historyOptions(seed))).violations).toEqual([]);
  });
});
