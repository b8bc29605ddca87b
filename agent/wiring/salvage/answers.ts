import type { Config } from '../../config/config.ts';
import { ProtocolError } from '../../../protocol/ops.ts';
import type { SalvageAnswer, SalvageAsk } from '../../../protocol/salvage.ts';
import { sleep, systemClock } from '../../platform/clock.ts';
import { OperatorError } from '../../platform/errors.ts';
import type { BytePath, Files } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import { judge } from '../../replicate/salvage/judge.ts';
import { Placer } from '../../replicate/salvage/place.ts';
import { SalvageRecords } from '../../replicate/salvage/records.ts';
import type { Node } from '../node.ts';
import { stagingOf } from '../parts.ts';

const sliceMs = 8;

/** What this node, as the active one, says to the salvage of the node that it replaced. */
export function salvageAnswers(
  files: Files,
  kv: Kv,
  config: Config,
  node: () => Node,
): { answer: (ask: SalvageAsk) => Promise<SalvageAnswer>; ended: () => void } {
  const records = new SalvageRecords(kv);
  const placer = new Placer(files, records, (root) => stagingOf(files, config, root));
  let last = systemClock.monotonicMs();
  const pace = async () => {
    if (systemClock.monotonicMs() - last < sliceMs) return;
    await sleep(systemClock, 0);
    last = systemClock.monotonicMs();
  };
  /** No watcher reports what this process does itself, and a standby may be following. */
  const tell = (root: string, path: BytePath) => {
    const parts = path.split('/');
    node().running.primary?.hints(parts.map((_, i) => ({ kind: 'path', root, path: parts.slice(0, i + 1).join('/') })));
  };
  return {
    ended: () => placer.reset(),
    async answer(ask) {
      try {
        const { running, serving, word } = node();
        const peer = running.peer.reading;
        if (running.role !== 'primary' || !serving)
          throw new OperatorError(
            'not-active',
            `${word.node} is ${word.state} and serves nobody`,
            'bring the pair to one active node first: `mailtwin status` on both',
          );
        // A standby has in its history what this node's older state undid.
        if (peer?.role !== 'fenced' && peer?.role !== 'standby')
          throw new OperatorError(
            'not-fenced-peer',
            'only a node that was replaced, or a standby, brings back what only it has',
            'see `mailtwin status` there',
          );
        const root = running.roots.find(({ name }) => name === ask.root);
        if (!root) throw new OperatorError('no-root', `there is no root ${ask.root} here`, 'give both nodes the same roots');
        switch (ask.ask) {
          case 'judge':
            return { answer: 'judged', ...(await judge({ files, index: running.index, records, kv, pace }, root, ask.items)) };
          case 'folder': {
            const answer = await placer.folder(root, ask);
            tell(root.name, `${ask.path}/cur`);
            return answer;
          }
          case 'put': {
            const answer = await placer.put(root, ask);
            if (answer.state !== 'more') tell(root.name, answer.path);
            return answer;
          }
        }
      } catch (error) {
        return refusal(error);
      }
    },
  };
}

function refusal(error: unknown): SalvageAnswer {
  const cut = (text: string) => text.slice(0, 1000);
  if (error instanceof OperatorError) return { answer: 'refused', code: error.code, text: cut(error.message), remedy: cut(error.remedy) };
  if (error instanceof ProtocolError)
    return { answer: 'refused', code: 'salvage-path', text: cut(error.message), remedy: 'see the log of that node' };
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) throw error;
  return {
    answer: 'refused',
    code: 'salvage-disk',
    text: cut(message),
    remedy: 'see to the disk of the active node, then run the command again',
  };
}
