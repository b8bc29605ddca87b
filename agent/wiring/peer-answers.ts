import { showPosition } from '../../protocol/position.ts';
import type { PeerWord, TakeoverAnswer, TakeoverAsk } from '../../protocol/takeover.ts';
import type { RoleAnswer, RoleKeeper } from '../failover/role-keeper.ts';
import type { NetworkControl } from '../network/network.ts';
import { systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Services } from '../services/services.ts';
import type { RunningRole } from './roles.ts';
import { agentVersion } from './version.ts';

export interface PeerAnswersParts {
  keeper: RoleKeeper;
  running: () => RunningRole;
  network: NetworkControl;
  services: Services;
  serverVersion: string | null;
}

/** Going down takes as long as the services do. */
const goingDownMs = 120_000;
const drainSliceMs = 1000;

/** What this node answers when the coordinator of a takeover asks; every change goes through the role machine. */
export function peerAnswers(parts: PeerAnswersParts): (ask: TakeoverAsk) => Promise<TakeoverAnswer> {
  const { keeper } = parts;
  let epoch = 0;
  const refused = ({ code, text, remedy }: Omit<RoleAnswer, 'ok'>): TakeoverAnswer => ({
    answer: 'refused',
    code,
    text: text.slice(0, 1000),
    remedy: remedy.slice(0, 1000),
    word: keeper.word(),
  });
  const say = (answer: RoleAnswer, word: (word: PeerWord) => TakeoverAnswer): TakeoverAnswer =>
    answer.ok ? word(keeper.word()) : refused(answer);
  return async (ask) => {
    const { takeover } = ask;
    switch (ask.ask) {
      case 'prepare':
        return prepared(parts);
      case 'quiesce':
        epoch = ask.epoch;
        return say(await keeper.ask({ is: 'quiesce', takeover, epoch }, goingDownMs), (word) => ({ answer: 'quiesced', word }));
      case 'drain': {
        const renewed = await keeper.ask({ is: 'quiesce', takeover, epoch }, goingDownMs);
        return renewed.ok ? draining(parts, refused) : refused(renewed);
      }
      case 'stepdown':
        return say(await keeper.ask({ is: 'stepDown', takeover, epoch: ask.epoch }, goingDownMs), (word) => ({
          answer: 'stepped-down',
          word,
        }));
      case 'abort':
        return say(await keeper.ask({ is: 'abort', takeover }, goingDownMs), (word) => ({ answer: 'aborted', word }));
      case 'yield':
        return say(await keeper.ask({ is: 'yieldTo', epoch: ask.epoch }, goingDownMs), (word) => ({ answer: 'state', word }));
      case 'state':
        return { answer: 'state', word: keeper.word() };
    }
  };
}

async function prepared({ keeper, running, network, services, serverVersion }: PeerAnswersParts): Promise<TakeoverAnswer> {
  const far = network.farAddresses;
  const [state, addresses, reached] = await Promise.all([services.state(), network.held(), far.length > 0 ? network.reach(far) : null]);
  return {
    answer: 'prepared',
    word: keeper.word(),
    agentVersion,
    serverVersion,
    services: state.state,
    addresses,
    unproven: running().primary?.unproven.count ?? 0,
    reached: reached && reached.filter(({ reachable }) => reachable).map(({ address }) => address),
    wallMs: Math.floor(systemClock.wallMs()),
    takeover: keeper.role.takeover,
  };
}

/** Looks whether all that the stopped services left is on the other node; a slice of time at each question. */
async function draining(parts: PeerAnswersParts, refused: (why: Omit<RoleAnswer, 'ok'>) => TakeoverAnswer): Promise<TakeoverAnswer> {
  const { primary } = parts.running();
  if (!primary)
    return refused({ code: 'not-primary', text: 'this node is not the primary', remedy: 'see `mailtwin status` on both nodes' });
  let settled = false;
  try {
    await primary.wait(drainSliceMs, new AbortController().signal);
    settled = true;
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    if (error.code !== 'timeout') return refused({ code: error.code, text: error.message, remedy: error.remedy });
  }
  return {
    answer: 'draining',
    word: parts.keeper.word(),
    position: showPosition(primary.sender.durable),
    open: primary.changes.openCount,
    settled,
  };
}
