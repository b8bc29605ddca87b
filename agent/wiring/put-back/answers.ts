import { limits } from '../../../protocol/limits.ts';
import type { PutBackAnswer, PutBackAsk } from '../../../protocol/put-back.ts';
import type { Config } from '../../config/config.ts';
import { joinPath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import type { Node } from '../node.ts';
import { numbersKnown } from '../takeover/raise.ts';

/** Paths of any length still fit a frame. */
const bytesMax = 256 * 1024;

/** What this node, as the standby, says to a primary whose store was put back. */
export function putBackAnswers(kv: Kv, config: Config, node: () => Node): (ask: PutBackAsk) => Promise<PutBackAnswer> {
  return async (ask) => {
    const { role, word, running } = node();
    if (role !== 'standby')
      return { answer: 'refused', code: 'not-standby', text: `${word.node} is ${role}`, remedy: 'see `mailtwin status` on both nodes' };
    if (ask.ask === 'undo') {
      const writes = running.standby?.keeper.beginUndo() ?? [];
      kv.commit(writes);
      await kv.flushed();
      return { answer: 'undo' };
    }
    const { after, marginMin } = ask;
    const numbers = numbersKnown({ kv, config, marginMin });
    const items: Extract<PutBackAnswer, { answer: 'marks' }>['items'] = [];
    let bytes = 0;
    let next: string | null = null;
    for (const { root, mailbox, uidValidity, uidNext, highestModseq } of numbers.marks) {
      const place = joinPath(root, mailbox);
      if (place <= after) continue;
      const { uids, modseqs } = numbers.marginOf(root, mailbox);
      items.push([root, mailbox, uidValidity, uidNext + uids, highestModseq + modseqs]);
      bytes += place.length + 40;
      if (items.length < limits.watermarksPerMessageMax && bytes < bytesMax) continue;
      next = place;
      break;
    }
    return { answer: 'marks', items, next, margin: numbers.marginMin };
  };
}
