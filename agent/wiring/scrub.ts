import { exitCodes, type StreamLine } from '../../protocol/control.ts';
import type { Operator } from '../../protocol/takeover.ts';
import type { AgentApi } from '../control/api.ts';
import { OperatorError } from '../platform/errors.ts';
import { displayPath, joinPath } from '../platform/files.ts';
import type { Audit } from './held.ts';
import { Lines } from './lines.ts';
import type { RunningRole } from './roles.ts';

/** What the command `mailtwin scrub` asks of this agent. */
export function scrubApi(running: () => RunningRole, audit: Audit): Pick<AgentApi, 'startScrub' | 'restoreDamaged'> {
  return {
    async startScrub({ by }) {
      const { primary, standby } = running();
      const scrubber = primary?.scrubber ?? standby?.scrubber;
      if (!scrubber)
        throw new OperatorError(
          'no-scrub',
          'the content of this node is not read again: `scrub.days` is 0, or its role is not entered',
          'set `scrub.days` and start the agent again, or see `mailtwin status`',
          exitCodes.refused,
        );
      await audit('scrub-started', {}, by);
      scrubber.hurry();
    },
    restoreDamaged: (request, signal) => Lines.of(signal, (push) => restore(running(), audit, request, push)),
  };
}

async function restore(
  { primary }: RunningRole,
  audit: Audit,
  { place, by }: { place: string; by: Operator },
  push: (line: StreamLine) => void,
): Promise<void> {
  if (!primary)
    throw new OperatorError(
      'wrong-role',
      'a copy gets what is damaged in it from its primary by itself; the command is for files of the primary',
      'run it on the primary',
      exitCodes.refused,
    );
  const file = primary.damage.list().find(({ root, path }) => displayPath(joinPath(root, path)) === place);
  if (!file) {
    const named = primary.damage.list().map(({ root, path }) => displayPath(joinPath(root, path)));
    throw new OperatorError(
      'not-damaged',
      `${place} is not known to be damaged; ${named.length === 0 ? 'nothing is' : `damaged: ${named.slice(0, 20).join(', ')}`}`,
      'run `mailtwin scrub`, which names what is',
      exitCodes.refused,
    );
  }
  await audit('damaged-restored', { place }, by);
  const { bytes, names } = await primary.bringBack(file.root, file.path);
  const others = names.length > 1 ? ` under each of its ${names.length} names` : '';
  push({
    kind: 'done',
    summary: `${place} is back${others}: ${bytes} bytes, as they were when it was read last`,
    exitCode: exitCodes.done,
    facts: { place, bytes, names: names.length },
  });
}
