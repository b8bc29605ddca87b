import type { Kv } from '../../agent/platform/kv.ts';
import type { MailstoreFormat } from '../../agent/mailstore/format.ts';
import type { Message } from '../../protocol/messages.ts';
import { SimRandom } from './sim-random.ts';
import type { World } from './world-options.ts';

/** What happens to a pair in one simulated history. Times in virtual milliseconds. */
export interface HistoryOptions {
  /** How long work goes on. */
  workMs: number;
  /** Mean time between two troubles. */
  troubleMs: number;
  /** Share of changes at which the watcher's queue overflows. */
  overflowShare: number;
  /** Any subset of what was not synced may survive a power cut, not only what a journaling file system keeps. */
  chaos: boolean;
  /** Bounds of how long an end that hears nothing takes to notice that the connection is gone. */
  noticeMs: readonly [number, number];
  /** Errors of the standby's disk, and a disk that is full for a while. */
  diskTrouble: boolean;
  /** Wall clocks that jump (I17). */
  clockJumps: boolean;
  /** Frames in which a byte of content is flipped for a while (I8). */
  corruption: boolean;
  /** What disks and machines do besides; absent: nothing. */
  world?: World;
}

/** How a test breaks the pair on purpose, to see that the checks notice. */
export interface Breakage {
  /** What the standby's agent takes for its store. */
  standbyKv?(kv: Kv): Kv;
  /** What the primary's agent knows of a format. */
  primaryFormat?: (format: MailstoreFormat) => MailstoreFormat;
  /** A message after it was corrupted, as the standby gets it. */
  corrupted?(message: Message): Message;
}

/** The variety of histories: every seed has its own conditions. */
export function historyOptions(seed: number): HistoryOptions {
  const random = new SimRandom(seed).fork('conditions');
  return {
    workMs: random.between(600, 1600),
    troubleMs: random.pick([60, 120, 250]),
    overflowShare: random.pick([0, 0.0005, 0.005]),
    chaos: random.chance(0.3),
    noticeMs: random.pick([
      [0, 50],
      [0, 300],
      [0, 300],
      [0, 5000],
    ] as const),
    diskTrouble: random.chance(0.4),
    clockJumps: random.chance(0.2),
    corruption: random.chance(0.3),
  };
}
