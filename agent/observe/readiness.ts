import type { Status, Verdict } from '../../protocol/control.ts';

export interface Readiness {
  ready: boolean;
  /** Why it is not ready; empty when it is. */
  reasons: { code: string; text: string }[];
  /** How the node stands, also where that does not keep it from being ready. */
  verdict: Verdict;
}

/**
 * Whether this node does what its role asks: a primary watches its store, a standby hears its primary. A primary
 * without its standby is ready, because it serves mail; that it is alone is for the metrics and alerts to say. A standby
 * whose copy is not complete is not.
 */
export function readiness(status: Status): Readiness {
  const reasons: Readiness['reasons'] = [];
  if (status.role === 'fenced') reasons.push({ code: 'fenced', text: 'this node is fenced: the other one has taken over' });
  if (status.role === 'primary' && status.capture.watcher === 'none')
    reasons.push({ code: 'no-capture', text: 'changes of the mail store are not being watched' });
  if (status.role === 'standby' && status.replication.phase === 'unpaired')
    reasons.push({ code: 'unpaired', text: 'this standby is not paired' });
  else if (status.role === 'standby' && !status.peer.connected)
    reasons.push({ code: 'disconnected', text: status.peer.lastError ?? 'the primary is not connected' });
  else if (status.role === 'standby' && !status.possibleLoss.complete) reasons.push({ code: 'incomplete', text: status.verdict.text });
  return { ready: reasons.length === 0, reasons, verdict: status.verdict };
}
