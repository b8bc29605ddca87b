import { showPosition } from '../../protocol/position.ts';
import type { PeerWord, TakeoverAnswer, TakeoverAsk } from '../../protocol/takeover.ts';
import type { RoleAnswer, RoleKeeper } from '../failover/role-keeper.ts';
import type { NetworkControl } from '../network/network.ts';
import { sleep, systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import type { Services } from '../services/services.ts';
import type { RunningRole } from './roles.ts';
import { agentVersion } from './version.ts';
import type { MailServerVersion } from './mail-server-version.ts';

export interface PeerAnswersParts {
  keeper: RoleKeeper;
  running: () => RunningRole;
  network: NetworkControl;
  services: Services;
  mailServer: MailServerVersion;
}

/** Going down takes as long as the services do. */
const goingDownMs = 120_000;
const drainSliceMs = 1000;
/** Nothing should have changed any more: the look is all that this waits for. */
const restMs = 5000;
/** A store that is to be left lies still for at least as long before its node steps down. */
const stillMs = 150;

/** What this node answers when the coordinator of a takeover asks; every change goes through the role machine. */
export function peerAnswers(parts: PeerAnswersParts): (ask: TakeoverAsk) => Promise<TakeoverAnswer> {
  const { keeper } = parts;
  let epoch = 0;
  const rest = new Rest(parts.running);
  const refused = ({ code, text, remedy }: Refusal): TakeoverAnswer => ({
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
        rest.forget();
        return say(await keeper.ask({ is: 'quiesce', takeover, epoch }, goingDownMs), (word) => ({ answer: 'quiesced', word }));
      case 'drain': {
        const renewed = await keeper.ask({ is: 'quiesce', takeover, epoch }, goingDownMs);
        return renewed.ok ? draining(parts, rest, refused) : refused(renewed);
      }
      case 'stepdown': {
        const disturbed = await rest.disturbed();
        if (disturbed !== null) return refused(disturbed);
        return say(await keeper.ask({ is: 'stepDown', takeover, epoch: ask.epoch }, goingDownMs), (word) => ({
          answer: 'stepped-down',
          word,
        }));
      }
      case 'abort':
        return say(await keeper.ask({ is: 'abort', takeover }, goingDownMs), (word) => ({ answer: 'aborted', word }));
      case 'yield':
        return say(await keeper.ask({ is: 'yieldTo', epoch: ask.epoch }, goingDownMs), (word) => ({ answer: 'state', word }));
      case 'state':
        return { answer: 'state', word: keeper.word() };
    }
  };
}

async function prepared({ keeper, running, network, services, mailServer }: PeerAnswersParts): Promise<TakeoverAnswer> {
  const far = network.farAddresses;
  const [state, addresses, reached, serverVersion] = await Promise.all([
    services.state(),
    network.held(),
    far.length > 0 ? network.reach(far) : null,
    mailServer.read(),
  ]);
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

type Refusal = Omit<RoleAnswer, 'ok'>;

/**
 * Whether the store lies still since all of it was on the other node. What is written after that would stay behind on a
 * node that is no primary any more: a session that outlived its server, a queue runner, a person.
 */
class Rest {
  readonly #running: () => RunningRole;
  #position: string | null = null;
  /** When all was on the other node for the first time; monotonic milliseconds. */
  #sinceMs = 0;

  constructor(running: () => RunningRole) {
    this.#running = running;
  }

  /** The services are being stopped: what they still write is expected. */
  forget(): void {
    this.#position = null;
  }

  /** All is on the other node. @returns why that is no end: it was so before, and something changed since. */
  settled(): Refusal | null {
    const { primary } = this.#running();
    if (!primary) return null;
    const position = showPosition(primary.sender.durable);
    if (this.#position === null) this.#sinceMs = systemClock.monotonicMs();
    this.#position ??= position;
    if (position === this.#position) return null;
    const last = primary.lastChanged;
    return {
      code: 'still-written',
      text: `the services are stopped, and somebody still writes below the roots${last === null ? '' : `: ${last} changed last`}`,
      remedy:
        'find who writes there and stop that, too; with `services.commands` the status may say stopped only when no process of the mail server is left',
    };
  }

  /** Looks once more, when it was seen to lie still for a moment: of who writes often, the last letter may just have come. */
  async disturbed(): Promise<Refusal | null> {
    const { primary } = this.#running();
    if (!primary || this.#position === null) return null;
    await sleep(systemClock, this.#sinceMs + stillMs - systemClock.monotonicMs());
    try {
      await primary.wait(restMs, new AbortController().signal);
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      return { code: error.code, text: error.message, remedy: error.remedy };
    }
    return this.settled();
  }
}

/** Looks whether all that the stopped services left is on the other node; a slice of time at each question. */
async function draining(parts: PeerAnswersParts, rest: Rest, refused: (why: Refusal) => TakeoverAnswer): Promise<TakeoverAnswer> {
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
  const disturbed = settled ? rest.settled() : null;
  if (disturbed !== null) return refused(disturbed);
  return {
    answer: 'draining',
    word: parts.keeper.word(),
    position: showPosition(primary.sender.durable),
    open: primary.changes.openCount,
    settled,
  };
}
