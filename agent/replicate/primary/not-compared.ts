import { displayPath, joinPath } from '../../platform/files.ts';
import type { HeldPlaces } from './held-places.ts';
import { isUnexpected, leftOutTexts, showLeftOut, type LeftOut } from './left-out.ts';
import type { Unproven } from './unproven.ts';

/** What stands between "no difference was found" and "both nodes hold the same" (I22). */
export interface NotCompared {
  /** Places of which the standby may lack what is there now: left out unexpectedly, held, or in doubt. */
  count: number;
  /** For people: one text a kind, each with an example. */
  texts: string[];
  /** What every store has and nobody expects on the standby, or what the configuration excludes: one text a kind. */
  byDesign: string[];
}

/** Nobody may say that both nodes are the same, or that all is durable, without these. */
export function notCompared(primary: { leftOut: LeftOut; holds: HeldPlaces; unproven: Unproven }): NotCompared {
  const found: NotCompared = { count: 0, texts: [], byDesign: [] };
  const { leftOut, holds, unproven } = primary;
  for (const { reason, count, unexpected, places } of leftOut.list()) {
    const [example] = places;
    if (unexpected > 0 && example) {
      const what = isUnexpected(example) && example.mailbox ? 'excluded although it looks like a mailbox' : leftOutTexts[reason];
      found.texts.push(`${unexpected} × ${what}, for example ${showLeftOut(example)}`);
      found.count += unexpected;
    }
    if (count > unexpected) found.byDesign.push(`${count - unexpected} × ${leftOutTexts[reason]}`);
  }
  // A place that is left out and held was counted above.
  const held = holds.list().filter(({ root, path, code }) => code !== 'left-out' || !leftOut.has(root, path));
  const [place] = held;
  if (place) {
    found.count += held.length;
    found.texts.push(`${held.length} held, for example ${joinPath(place.root, displayPath(place.path))}: ${place.detail}`);
  }
  const [doubt] = unproven.list();
  if (doubt) {
    found.count += unproven.count;
    found.texts.push(`${unproven.count} in doubt, for example ${joinPath(doubt.root, displayPath(doubt.path))}: ${doubt.reason}`);
  }
  return found;
}
