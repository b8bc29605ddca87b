import type { Config } from '../../config/config.ts';
import { HistoryKeeper } from '../../history/keeper.ts';
import { systemClock } from '../../platform/clock.ts';
import type { Kv } from '../../platform/kv.ts';
import { putAway, type PutAway } from '../../replicate/salvage/originals.ts';
import { RenameRegions } from '../../replicate/standby/rename-regions.ts';
import type { Node } from '../node.ts';
import { filesOf, makeRoots, stageRoots } from '../parts.ts';

/**
 * Of each message that this node has under two names, because it was salvaged and the copy is not complete, one goes to
 * history. Only before any service starts. An interrupted takeover goes on in an agent that is primary already, whose
 * roots have no place for history: it is found anew.
 */
export async function putAwayOriginals({ config, kv, node }: { config: Config; kv: Kv; node: Node }): Promise<PutAway> {
  const roots = makeRoots(config);
  const files = filesOf(config, () => roots);
  const regions = new RenameRegions({ files, kv, roots });
  const keeper = node.running.standby?.keeper ?? new HistoryKeeper(kv, { days: config.history.days, bytesMax: config.history.bytesMax });
  let isStaged = false;
  return putAway({
    kv,
    files,
    clock: systemClock,
    roots,
    keeper,
    history(root, path) {
      if (!isStaged) stageRoots(files, config, roots);
      isStaged = true;
      return `${regions.stagingOf(root, path)}/history`;
    },
  });
}
