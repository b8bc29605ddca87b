import { showPosition } from '../../../protocol/position.ts';
import type { PeerWord, TakeoverAnswer, TakeoverAsk } from '../../../protocol/takeover.ts';
import type { Proof } from '../../failover/role-types.ts';
import type { StepContext, TakeoverActions } from '../../failover/runner.ts';
import type { Did } from '../../failover/takeover-actions.ts';
import { verifyReceipt, type FenceReceipt } from '../../fencing/receipt.ts';
import { metaKey } from '../../journal/keys.ts';
import { sleep, systemClock } from '../../platform/clock.ts';
import { OperatorError } from '../../platform/errors.ts';
import { displayPath } from '../../platform/files.ts';
import type { Kv } from '../../platform/kv.ts';
import type { PinnedPeer } from '../../link/pins.ts';
import type { PutAway } from '../../replicate/salvage/originals.ts';
import type { Appliance } from '../appliance.ts';
import type { Node } from '../node.ts';

export interface ActionParts {
  node: Node;
  appliance: Appliance;
  kv: Kv;
  pin: () => PinnedPeer | null;
  /** This node's public key, SPKI in DER. */
  spki: Buffer;
  quiesceMaxSeconds: number;
  /** Resolves when no stop of services that somebody else started is under way. */
  atRest: () => Promise<void>;
  /** Takes away what this node would show twice, because its copy is not complete. */
  putAway: () => Promise<PutAway>;
  /** Raises UIDs above what the old primary can have issued; its evidence. */
  raise: () => Promise<Did>;
  /** Removes what raising left beside the roots. */
  clearRaised: () => Promise<void>;
}

const askMs = 5000;
const downMs = 120_000;
const drainMs = 60_000;
const receiptKey = metaKey('fence-receipt');

/** What the steps of a takeover do on this node and ask of the other one. */
export function takeoverActions(parts: ActionParts): TakeoverActions {
  const { node, appliance, kv } = parts;
  const { network, services, fence } = appliance;

  async function ask<A extends TakeoverAnswer['answer']>(
    what: TakeoverAsk,
    wanted: A,
    timeoutMs: number,
  ): Promise<Extract<TakeoverAnswer, { answer: A }>> {
    const answer = await node.asks.ask(what, timeoutMs);
    if (answer === null)
      throw new OperatorError(
        'peer-silent',
        `the other node does not answer to ${what.ask}`,
        'see `mailtwin status` for why it is not connected',
      );
    if (answer.answer === 'refused') throw new OperatorError(answer.code, `${answer.word.node}: ${answer.text}`, answer.remedy);
    if (answer.answer !== wanted) throw new Error(`the other node answered ${answer.answer} to ${what.ask}`);
    return answer as Extract<TakeoverAnswer, { answer: A }>;
  }

  const drained = ({ plan }: StepContext) => ask({ ask: 'drain', takeover: plan.id }, 'draining', downMs);

  async function confirmFenced({ plan }: StepContext): Promise<Did> {
    const answer = node.running.peer.connected ? await node.asks.ask({ ask: 'state', takeover: plan.id }, 1000) : null;
    if (answer && 'word' in answer && answer.word.active)
      throw new OperatorError(
        'not-fenced',
        `${answer.word.node} answers and is active (${answer.word.state})`,
        'it is not off: find out which host was switched off, and correct `fencing`',
      );
    const probes = network.configured ? await network.probe() : [];
    const passesProxy = plan.overrides.includes('addresses-free');
    const taken = probes.find(({ answeredBy, isProxy }) => answeredBy !== null && !(isProxy && passesProxy));
    if (taken?.isProxy)
      throw new OperatorError(
        'address-answered',
        `the gateway, ${taken.answeredBy}, still answers for ${taken.address}, and for addresses that nobody has, too (proxy ARP)`,
        `turn proxy ARP off on the gateway; or go on, because ${plan.target} is proven off: \`mailtwin failover --override addresses-free\``,
      );
    if (taken)
      throw new OperatorError(
        'address-answered',
        `${taken.answeredBy} still answers for ${taken.address}`,
        'find out which host that is: `mailtwin nics` shows the ports of the other node',
      );
    const passed = probes.find(({ answeredBy }) => answeredBy !== null);
    if (passed)
      return `${plan.target} is silent; ${passed.answeredBy} answers for ${passed.address} as it does for everybody (proxy ARP), which was overridden`;
    const is = `${plan.target} is ${answer ? 'down by its own word' : 'silent'}`;
    return network.configured
      ? `${is}, and nobody answers for the service addresses`
      : { title: is, evidence: 'no service addresses are configured' };
  }

  return {
    async prepare({ plan }) {
      const { word, services: state } = await ask({ ask: 'prepare', takeover: plan.id }, 'prepared', askMs);
      if (word.role !== 'primary' || word.epoch >= plan.epoch)
        throw new OperatorError('plan-stale', `${word.node} is ${word.role} of epoch ${word.epoch}`, 'plan again', 3);
      return `${word.node} is ${word.state}, epoch ${word.epoch}, its services are ${state}`;
    },
    async quiesce({ plan }) {
      const { word } = await ask(
        { ask: 'quiesce', takeover: plan.id, epoch: plan.epoch, maxSeconds: parts.quiesceMaxSeconds },
        'quiesced',
        downMs,
      );
      return `the services on ${word.node} are stopped`;
    },
    async drain(context) {
      const untilMs = systemClock.monotonicMs() + drainMs;
      for (;;) {
        const { settled, open } = await drained(context);
        if (settled) return 'nothing is open';
        if (context.signal.aborted) throw new OperatorError('given-up', 'the switchover was given up', 'run it again when you want it');
        if (systemClock.monotonicMs() > untilMs)
          throw new OperatorError(
            'drain',
            `${open} changes are still not here after ${drainMs / 1000} s`,
            'see `mailtwin status` for what holds them',
          );
      }
    },
    async compare(context) {
      const { position, settled } = await drained(context);
      const mine = showPosition(node.running.position());
      if (!settled || position !== mine)
        throw new OperatorError('positions', `the primary is at ${position}, this node at ${mine}`, 'run `mailtwin verify` on the primary');
      const stuck = node.running.standby?.receiver.stuck;
      if (stuck) throw new OperatorError('stuck', stuck, 'look at the disk of this node');
      return `both are at ${mine}`;
    },
    async stepDown({ plan }): Promise<Proof> {
      const { word } = await ask({ ask: 'stepdown', takeover: plan.id, epoch: plan.epoch }, 'stepped-down', downMs);
      return stepped(word, plan.epoch);
    },
    async fence(context) {
      const { plan, order, signal } = context;
      const pair = parts.pin()?.pair ?? '';
      const target = { node: plan.target, pair, epoch: plan.epoch };
      const { receipt, tried } = await fence.fencing.fence(
        target,
        {
          manual: order.manual,
          cooperative: async (timeoutMs) => {
            const answer = await node.asks.ask({ ask: 'yield', takeover: plan.id, epoch: plan.epoch }, timeoutMs);
            if (answer === null) return { steppedDown: false, evidence: `${plan.target} does not answer` };
            const { word } = answer;
            const down = answer.answer === 'state' && word.role !== 'primary' && !word.active && word.epoch >= plan.epoch;
            return { steppedDown: down, evidence: `${word.node} says: ${word.role} of epoch ${word.epoch}, ${word.state}` };
          },
        },
        (text) => context.say(text),
        signal,
      );
      if (receipt === null) {
        const why = tried.map(({ name, error, evidence }) => `${name}: ${error?.detail ?? evidence}`).join('; ');
        throw new OperatorError(
          'not-fenced',
          `no level proved that ${plan.target} is off: ${why}`,
          'mend the fence levels (`mailtwin fence test`), or cut its power by hand and state it: --fenced-by-hand',
        );
      }
      const refusal = verifyReceipt(receipt, parts.spki, { target: plan.target, pair, epoch: plan.epoch, wallMs: systemClock.wallMs() });
      if (refusal !== null) throw new Error(`the fence receipt does not hold: ${refusal}`);
      await keepReceipt(kv, receipt);
      const lifeMs = Date.parse(receipt.expiresAt) - systemClock.wallMs();
      return {
        proof: { kind: 'receipt', id: receipt.id, epoch: plan.epoch, evidence: receipt.evidence },
        lifeMs,
        title: provedBy(receipt),
      };
    },
    confirmFenced,
    async epoch({ plan }, proof) {
      const answer = await node.keeper.ask({ is: 'takeOver', takeover: plan.id, epoch: plan.epoch, proof }, askMs);
      if (!answer.ok) throw new OperatorError(answer.code, answer.text, answer.remedy);
      // What it said of itself on the connection that stands is no longer true, and nothing more may come in on it.
      await node.tellAnew(`${plan.node} is primary of epoch ${plan.epoch}`);
      return answer.text;
    },
    async apply() {
      await node.running.idle();
      const stuck = node.running.standby?.receiver.stuck;
      if (stuck) throw new OperatorError('stuck', stuck, 'look at the disk of this node');
      await node.running.standby?.receiver.finish();
      const twice = putAwayText(await parts.putAway());
      return `all that was received is in place, position ${showPosition(node.running.position())}${twice}`;
    },
    raise: () => parts.raise(),
    async addresses(context) {
      if (!network.configured) return { skipped: 'no service addresses are configured' };
      const despiteProxy = context.plan.kind === 'failover' && context.plan.overrides.includes('addresses-free');
      await node.takeAddresses((text) => context.say(text), { despiteProxy });
      return (await network.held()).join(', ');
    },
    async services() {
      await parts.atRest();
      await services.start();
      node.keeper.handle({ is: 'activationDone' });
      return services.configured ? 'the services run' : { skipped: 'no mail services are configured' };
    },
    async check({ signal, plan }) {
      const { ok, evidence, ms, skipped } = await services.checkLogin(signal);
      if (!ok) throw new OperatorError('login-check', evidence, 'look at the log of the mail server');
      if (plan.kind === 'failover') await parts.clearRaised();
      return skipped ? { skipped: evidence } : `${evidence} (${ms} ms)`;
    },
    async abort({ plan }) {
      const { word } = await ask({ ask: 'abort', takeover: plan.id }, 'aborted', downMs);
      return `${word.node} is ${word.state}`;
    },
    async peerWord({ plan }) {
      // It may be on its way back.
      for (let waited = 0; !node.running.peer.connected && waited < 10_000; waited += 200) await sleep(systemClock, 200);
      const answer = await node.asks.ask({ ask: 'state', takeover: plan.id }, askMs);
      return answer && 'word' in answer ? answer.word : null;
    },
    own: () => node.keeper.durable,
  };
}

/** Of messages that salvage had brought to the node that is gone now, and that had come back from there; '' when there were none. */
function putAwayText({ away, left }: PutAway): string {
  const [first] = left;
  const is = (count: number) => (count === 1 ? '1 salvaged message was' : `${count} salvaged messages were`);
  const gone = away > 0 ? `; ${is(away)} here under two names: one went to history` : '';
  return first
    ? `${gone}; ${is(left.length)} here twice and ${left.length === 1 ? 'is' : 'are'} still, first ${displayPath(first.path)}: ${first.why}`
    : gone;
}

/** Who proved it, in words: nobody has read the power of a node of which a person speaks. */
function provedBy({ target, type, evidence }: FenceReceipt): string {
  if (type === 'manual') return `${target} is off, ${evidence}`;
  return type === 'cooperative' ? `${target} stepped down by its own word` : `${target} is off: its power state was read back`;
}

function stepped(word: PeerWord, epoch: number): Proof {
  if (word.role === 'primary' || word.active || word.epoch !== epoch)
    throw new OperatorError(
      'not-down',
      `${word.node} is ${word.role} of epoch ${word.epoch}, ${word.state}`,
      'see `mailtwin status` there',
    );
  return { kind: 'stepped-down', epoch, evidence: `${word.node} is ${word.role} of epoch ${word.epoch} and down` };
}

async function keepReceipt(kv: Kv, receipt: FenceReceipt): Promise<void> {
  kv.commit([[receiptKey, Buffer.from(JSON.stringify(receipt))]]);
  await kv.flushed();
}
