import { limits } from '../../protocol/limits.ts';
import { mayWait, queueText, type QueueReading } from '../../protocol/queue.ts';
import type { PredictedLoss } from '../../protocol/takeover.ts';
import { isOtherSeries, seenWay, type DovecotWay } from '../platform/dovecot-ways.ts';
import { olderThan, productOf } from '../platform/version-order.ts';
import { fail, freshMs, heartbeatMs, notKnown, pass, some, warn, type Finding, type Guard } from './guard-result.ts';
import { reading, type GuardFacts } from './guard-facts.ts';

/** Guards that judge the other node, what lies between the two, and what may be lost. */

const both = { switchover: true, failover: true };

export const unproven: Guard = {
  ...both,
  overridable: true,
  judge({ unproven: fact, nowMs, kind }) {
    const read = reading(fact, nowMs, heartbeatMs);
    const remedy = 'see `mailtwin status` on the primary; it is settled by itself when its cause is mended';
    if (read.is === 'unknown' || read.is === 'none')
      return notKnown('fail', 'whether the primary is sure of all directories', read, remedy);
    const { count, example } = read.value;
    if (count > 0)
      return fail(`${count} directories of the primary are in doubt: this copy may differ there`, `${example}, ${read.age}`, remedy);
    if (read.is === 'known') return pass('nothing is in doubt', read.age);
    return kind === 'failover'
      ? warn('nothing was in doubt when the primary was last heard', read.age, '')
      : notKnown('fail', 'whether the primary is sure of all directories', read, remedy);
  },
};

export const predictedLoss: Guard = {
  ...both,
  overridable: true,
  judge({ loss, nowMs, kind, peerNode }) {
    const read = reading(loss, nowMs, freshMs);
    const queue = read.is === 'known' && read.value.queue && mayWait(read.value.queue) ? read.value.queue : null;
    const node = peerNode ?? 'the primary';
    if (kind === 'switchover') return planned(node, queue);
    const remedy = 'if the primary can be brought back, bring it back and use `mailtwin switchover`';
    if (read.is !== 'known') return notKnown('fail', 'what would be lost', read, remedy);
    const waiting = queue === null ? '' : `. Besides, ${queueText(node, queue)}: ${onItsDisk}`;
    const text = `${showLoss(read.value)}${waiting}`;
    const { seconds, messages, changes } = read.value;
    // However long ago it was last heard: a long loss is a person's to accept, and no reason to keep a dead primary.
    if (messages !== 0 || changes !== 0 || seconds !== 0) return warn('the tail of what the primary took may be lost', text, remedy);
    return queue === null
      ? pass('nothing is known to be missing', text)
      : warn('nothing of the mail store is known to be missing, but mail waits in the queue of the primary', text, remedy);
  },
};

/** Mail in the queue forbids nothing: a takeover neither loses nor moves it. */
const onItsDisk = 'they are on its disk, and are delivered when its MTA runs again';

function planned(node: string, queue: QueueReading | null): Finding {
  const evidence = 'the services are quiesced before';
  if (queue === null) return pass('nothing is lost: the last change is waited for', evidence);
  return warn(
    `nothing of the mail store is lost, but ${queueText(node, queue)}`,
    `${evidence}; what waits then stays on ${node}, and goes on being delivered only when its MTA runs again`,
    `on ${node}, let the queue become empty before: ${queue.mta.includes('exim') ? '`exim4 -qff`, then `exim4 -bp`' : '`postqueue -f`, then `mailq`'}`,
  );
}

export function showLoss({ mailboxes, messages, seconds, changes, bound }: PredictedLoss): string {
  const n = (value: number | null, what: string) => `${value ?? 'an unknown number of'} ${what}`;
  const window = seconds === null ? 'what it took for an unknown time' : `what it took in at most ${Math.ceil(seconds)} s unheard`;
  return `${n(messages, 'messages')} in ${n(mailboxes, 'mailboxes')} and ${n(changes, 'changes')} known to be missing, and ${window}${bound === undefined ? '' : `: ${bound}`}`;
}

export const peerState: Guard = {
  ...both,
  overridable: true,
  judge(facts) {
    const paths = reading(facts.paths, facts.nowMs, freshMs);
    const word = reading(facts.peer, facts.nowMs, heartbeatMs);
    const evidence = [
      paths.is === 'known'
        ? some(
            paths.value.map(
              ({ path, up, heardSecondsAgo, error }) =>
                `${path}: ${up ? 'up' : 'down'}, ${heardSecondsAgo === null ? 'never heard' : `heard ${Math.round(heardSecondsAgo)} s ago`}${error === '' ? '' : ` (${error})`}`,
            ),
          )
        : 'why' in paths
          ? paths.why
          : paths.age,
      word.is === 'known' ? `it says: ${word.value.role} of epoch ${word.value.epoch}, ${word.value.state}` : 'it says nothing',
    ].join('. ');
    return facts.kind === 'switchover' ? healthy(facts, evidence) : gone(facts, evidence);
  },
};

function healthy(facts: GuardFacts, evidence: string): Finding {
  const word = reading(facts.peer, facts.nowMs, heartbeatMs);
  const remedy = 'mend the primary, or use `mailtwin failover` if it is gone';
  if (word.is !== 'known') return fail('the primary is not heard', evidence, remedy);
  if (word.value.role !== 'primary') return fail('the other node is not the primary', evidence, 'see `mailtwin status` on both nodes');
  if (!word.value.active) return fail('the primary is not in service', evidence, remedy);
  return pass('the primary is in service', evidence);
}

/** Heartbeats come every second: nobody who lives and can be reached is silent for so long. */
const silentMs = limits.peerSilentMs;

function gone(facts: GuardFacts, evidence: string): Finding {
  const paths = reading(facts.paths, facts.nowMs, freshMs);
  const isUnreachable = paths.is === 'known' && paths.value.length > 0 && paths.value.every(({ up }) => !up);
  const word = reading(facts.peer, facts.nowMs, isUnreachable ? silentMs : heartbeatMs);
  const putBack = reading(facts.isPutBack, facts.nowMs, heartbeatMs);
  if (word.is === 'known' && word.value.role === 'primary' && putBack.is === 'known' && putBack.value)
    return warn(
      'the primary lives, and its store was put back to an older state than this copy',
      evidence,
      'it steps down for this node; what it took since then stays there for `mailtwin salvage`',
    );
  if (word.is === 'known' && word.value.role === 'primary' && word.value.active)
    return {
      ...fail(
        'the primary lives and is in service',
        evidence,
        isUnreachable
          ? `if it has just died, ask again when it was silent for ${silentMs / 1000} s; otherwise use \`mailtwin switchover\`, which loses nothing`
          : 'use `mailtwin switchover`, which loses nothing',
      ),
      isFinal: true,
    };
  if (word.is === 'known')
    return warn('the primary lives, but is not in service', evidence, 'see `mailtwin status` there; perhaps it only needs help');
  if (paths.is !== 'known') return notKnown('warn', 'the state of the other node', paths, '');
  if (paths.value.some(({ up }) => up))
    return warn(
      'the other node is silent, but one of its addresses answers',
      evidence,
      'its agent may be down and its services up: fencing will decide',
    );
  return pass('the other node is silent over every path', evidence);
}

export const fencePath: Guard = {
  switchover: false,
  failover: true,
  overridable: false,
  judge({ fence, nowMs }) {
    const read = reading(fence, nowMs, freshMs * 4);
    if (read.is === 'none')
      return fail(
        'nothing is configured that could prove the primary off',
        read.why,
        'add levels under `fencing`, at least `- type: manual`',
      );
    if (read.is !== 'known') return notKnown('warn', 'whether the fencing answers', read, 'run `mailtwin fence test`');
    if (read.value.length === 0)
      return fail(
        'nothing is configured that could prove the primary off',
        'no level',
        'add levels under `fencing`, at least `- type: manual`',
      );
    const show = some(read.value.map(({ level, name, state, error }) => `level ${level} ${name}: ${error ?? state}`));
    const power = read.value.filter(({ type }) => type === 'agent' || type === 'command' || type === 'all');
    if (power.some(({ error, state }) => error === null && state !== 'unknown')) return pass('the power switch answers', show);
    return warn(
      power.length > 0
        ? 'no power switch answers: only weaker levels are left'
        : 'no power switch is configured: only weaker levels are left',
      show,
      'run `mailtwin fence test`; have somebody at the machine',
    );
  },
};

export const agentVersion: Guard = {
  ...both,
  overridable: true,
  judge({ own, peerAgentVersion, nowMs }) {
    return versions('the agent', own.agentVersion, reading(peerAgentVersion, nowMs, Infinity));
  },
};

export const mailServerVersion: Guard = {
  ...both,
  overridable: true,
  judge({ own, peerServerVersion, peerNode, nowMs }) {
    const read = reading(peerServerVersion, nowMs, Infinity);
    if (read.is === 'known' && read.value === null) return pass('the primary had no mail server that could be asked', read.age);
    if (own.serverVersion === null)
      return read.is === 'known'
        ? fail('there is no mail server on this node', `the primary has ${read.value}`, 'install it')
        : warn('there is no mail server on this node', 'none answers', 'install it');
    const versionRead = read as Parameters<typeof versions>[2];
    return 'value' in versionRead && isOtherSeries(own.serverVersion, versionRead.value)
      ? otherSeries(own.serverVersion, versionRead.value, own.formats, peerNode ?? 'the primary')
      : versions('the mail server', own.serverVersion, versionRead);
  },
};

/** The store goes from one release series to another: what counts is what was seen to survive that, and the way back. */
function otherSeries(own: string, peer: string, formats: readonly string[], peerNode: string): Finding {
  const [there, back] = [seenWay(peer, own), seenWay(own, peer)];
  const isOlder = olderThan(own, peer);
  const knows = (way: DovecotWay | null): way is DovecotWay => way !== null && formats.includes(way.format);
  const evidence = `here ${own}, primary ${peer}`;
  if (isOlder && !knows(there))
    return fail(
      'the mail server of this node is older',
      evidence,
      'update this node first: an older release may not read what a newer one wrote',
    );
  if (!knows(there) || !knows(back))
    return warn(
      'the mail server of this node is newer, and it was never seen that the older one serves again what this one writes',
      evidence,
      'keep a backup of the store from before; update the other node before you switch back',
    );
  const seen = `${evidence}; seen to work there and back for ${there.format}, with dovecot_storage_version ${there.storageVersions.join(' and ')}`;
  return isOlder
    ? warn(
        'the mail server of this node is older; it was seen to serve what the newer one wrote',
        seen,
        `see on ${peerNode} that \`doveconf dovecot_storage_version\` tells ${there.storageVersions.join(' or ')}`,
      )
    : pass('the mail server of this node is newer, and the way back is proven', seen);
}

function versions(
  what: string,
  own: string,
  peer: { is: 'known' | 'old'; value: string } | { is: 'unknown' | 'none'; why: string },
): Finding {
  if (!('value' in peer)) return warn(`the version of ${what} on the primary is not known`, `here ${own}; ${peer.why}`, '');
  const evidence = `here ${own}, primary ${peer.value}`;
  const [mine, theirs] = [productOf(own), productOf(peer.value)];
  if (mine !== theirs) return fail(`${what} is another one`, evidence, 'install the same on both nodes');
  return olderThan(own, peer.value)
    ? fail(`${what} of this node is older`, evidence, 'update this node first: an older release may not read what a newer one wrote')
    : pass(`${what} of this node is not older`, evidence);
}

export const addressesFree: Guard = {
  ...both,
  overridable: false,
  judge: ({ answered, nowMs, kind }) => judgeAddresses(answered, nowMs, kind === 'switchover' ? 'on-peer' : 'before-fence'),
};

/**
 * Who may answer for the service addresses: before a switchover the primary does; before fencing a primary that half
 * lives may; after fencing nobody.
 */
export function judgeAddresses(answered: GuardFacts['answered'], nowMs: number, when: 'on-peer' | 'before-fence' | 'after-fence'): Finding {
  const read = reading(answered, nowMs, freshMs);
  if (read.is === 'none') return pass('no service addresses are configured', read.why);
  if (read.is !== 'known')
    return notKnown(when === 'after-fence' ? 'fail' : 'warn', 'who answers for the service addresses', read, 'see `mailtwin nics`');
  const who = some(read.value.map(({ address, by }) => `${address}: ${by}`));
  if (read.value.length === 0)
    return when === 'on-peer'
      ? warn('nobody answers for the service addresses, not even the primary', read.age, 'see `mailtwin nics` on both nodes')
      : pass('nobody answers for the service addresses', read.age);
  if (when === 'on-peer') return pass('the service addresses are in use, as they should be', who);
  if (when === 'before-fence' && read.value.every(({ isProxy }) => isProxy === true))
    return warn(
      'the gateway answers for the service addresses, as it does for addresses that nobody has (proxy ARP)',
      who,
      'turn proxy ARP off there; else, once the primary is proven off, `--override addresses-free` passes over such an answer',
    );
  if (when === 'before-fence')
    return warn(
      'somebody still answers for the service addresses; fencing must silence them',
      who,
      'if fencing does not silence them, another host has the address',
    );
  return fail('somebody still answers for the service addresses', who, 'find that host: it is not off, or it is another one');
}

const skewWarnSeconds = 2;
const skewMaxSeconds = 300;

export const clockSkew: Guard = {
  ...both,
  overridable: true,
  judge({ clockSkewSeconds, nowMs, kind }) {
    const read = reading(clockSkewSeconds, nowMs, kind === 'failover' ? Infinity : heartbeatMs);
    const remedy = 'let both nodes take the time from NTP';
    if (read.is !== 'known') return notKnown('warn', 'the difference of the clocks', read, remedy);
    const skew = Math.abs(read.value);
    const evidence = `${skew.toFixed(1)} s, ${read.age}`;
    if (skew > skewMaxSeconds) return fail('the clocks differ by minutes', evidence, remedy);
    return skew > skewWarnSeconds ? warn('the clocks differ', evidence, remedy) : pass('the clocks agree', evidence);
  },
};

const lagSecondsMax = 60;

export const replication: Guard = {
  switchover: true,
  failover: false,
  overridable: false,
  judge({ replication: fact, nowMs }) {
    const read = reading(fact, nowMs, heartbeatMs);
    const remedy = 'wait until `mailtwin status` says streaming';
    if (read.is !== 'known') return notKnown('fail', 'the state of replication', read, remedy);
    const { connected, phase, lagChanges, lagSeconds } = read.value;
    const evidence = `${phase}, ${lagChanges} changes and ${Math.round(lagSeconds)} s behind`;
    if (!connected || phase !== 'streaming') return fail('replication does not stream', evidence, remedy);
    return lagSeconds > lagSecondsMax
      ? fail('this node is far behind: the services would stand still for long', evidence, remedy)
      : pass('replication streams', evidence);
  },
};
