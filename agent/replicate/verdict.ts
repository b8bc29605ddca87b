import type { Status, Verdict } from '../../protocol/control.ts';

/**
 * One sentence on how this node stands, the same wherever it is told: the page, `status`, the daily digest, readiness and
 * metrics. `good` is said only when the copy is complete and nothing is held, in doubt or left out (I22).
 */
export function verdictOf(status: Omit<Status, 'verdict'>): Verdict {
  const { role, pair, peer, replication, possibleLoss, warnings, canTakeOver } = status;
  const { held, heldPlaces, unproven, doubtCount, phase } = replication;
  const doubts = Math.max(unproven.length, doubtCount);
  const say = (level: Verdict['level'], code: Verdict['code'], text: string, percent: number | null = null): Verdict => ({
    level,
    code,
    text,
    percent,
  });
  if (role === 'fenced') return say('bad', 'fenced', 'this node was replaced and waits for `mailtwin rejoin`');
  if (pair === null) return say('bad', 'unpaired', 'this node has no peer: nothing is replicated');
  if (!peer.connected) return say('bad', 'peer-lost', 'the other node is not heard: nothing is replicated');
  if (held) return say('bad', 'held', `replication is held: ${held.code}`);
  if (phase === 'comparing') return say('warn', 'comparing', 'both nodes are being compared');
  if (!possibleLoss.complete) {
    const percent = percentOf(replication.fill);
    return say('warn', 'incomplete', `the copy is not complete${percent === null ? '' : ` (${percent} %)`}`, percent);
  }
  const places = heldPlaces.filter(({ code }) => code !== 'left-out');
  const [place] = places;
  if (place) return say('bad', 'held-places', `${places.length === 1 ? 'a place is' : `${places.length} places are`} held: ${place.code}`);
  if (doubts > 0) {
    const alone = replication.doubtsOfAttributes >= doubts ? ' for attributes alone' : '';
    return say('warn', 'in-doubt', `${doubts} ${doubts === 1 ? 'place is' : 'places are'} in doubt${alone}`);
  }
  const [lagging] = replication.lagging;
  if (lagging) {
    const files = replication.laggingCount === 1 ? '1 file that lags' : `${replication.laggingCount} files that lag`;
    return say('warn', 'lagging', `the copy is complete, except ${files} behind, for example ${lagging.root}/${lagging.path}`);
  }
  if (canTakeOver?.can === false) return say('warn', 'cannot-take-over', `this node could not take over now: ${canTakeOver.text}`);
  if (warnings.some(({ code }) => code === 'left-out')) return say('warn', 'left-out', 'something is left out of replication');
  if (warnings.length > 0)
    return say('warn', 'attention', `${warnings.length} ${warnings.length === 1 ? 'thing needs' : 'things need'} attention`);
  return say('good', 'well', 'all is well');
}

/** Never 100 before the copy is complete. */
function percentOf(fill: Status['replication']['fill']): number | null {
  if (fill === null || fill.filesTotal === null || fill.filesTotal === 0) return null;
  return Math.min(99, Math.floor((100 * fill.filesDone) / fill.filesTotal));
}
