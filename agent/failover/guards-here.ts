import { fail, freshMs, notKnown, pass, some, warn, type Guard } from './guard-result.ts';
import { reading } from './guard-facts.ts';

/** Guards that judge this node: its role, its disks, its ports, its mail server. */

const isHere = { switchover: true, failover: true };

export const role: Guard = {
  ...isHere,
  overridable: false,
  judge({ own, peerNode, kind }) {
    const evidence = `${own.node} is ${own.role} of epoch ${own.epoch}`;
    if (peerNode === null) return fail('this node is not paired', evidence, 'run `mailtwin pair` on both nodes');
    if (own.role === 'standby') return pass('this node is the standby', evidence);
    if (own.role === 'primary') return fail('this node is the primary', evidence, `run \`mailtwin ${kind}\` on the standby, ${peerNode}`);
    return fail('this node is fenced', evidence, 'run `mailtwin rejoin` here first');
  },
};

export const otherTakeover: Guard = {
  ...isHere,
  overridable: false,
  judge({ running, peerTakeover, nowMs, peerNode }) {
    if (running !== null) return fail('a takeover runs on this node', running, 'wait for its end; `mailtwin status` shows it');
    const read = reading(peerTakeover, nowMs, freshMs);
    if (read.is === 'known' && read.value !== null)
      return fail(`${peerNode} is quiesced for another takeover`, read.value, 'wait until it is over or given up');
    return pass('no other takeover runs', 'why' in read ? read.why : read.age);
  },
};

export const localHealth: Guard = {
  ...isHere,
  overridable: true,
  judge({ localHealth: fact, nowMs }) {
    const read = reading(fact, nowMs, freshMs);
    if (read.is !== 'known') return notKnown('warn', 'the health of this node', read, 'run `mailtwin doctor`');
    if (read.value.length === 0) return pass('this node is well', read.age);
    return fail(
      `this node has ${read.value.length === 1 ? 'a problem' : 'problems'}`,
      some(read.value),
      'run `mailtwin doctor` and mend what it names',
    );
  },
};

export const initialFill: Guard = {
  ...isHere,
  overridable: true,
  judge({ fill, nowMs }) {
    const read = reading(fill, nowMs, Infinity);
    const remedy = 'wait for the end of the fill: `mailtwin status`';
    if (read.is !== 'known') return notKnown('fail', 'whether this node was ever filled', read, remedy);
    const { complete, filesDone, filesTotal } = read.value;
    if (complete) return pass('this node was filled, and was complete under the primary that it has', `${filesDone} files`);
    return fail(
      'this node was not complete since the other one became primary: it holds a part of the mail, or an old copy',
      `${filesDone} of ${filesTotal ?? 'an unknown number of'} files`,
      remedy,
    );
  },
};

export const foreignWrites: Guard = {
  ...isHere,
  overridable: true,
  judge({ foreign, nowMs }) {
    const read = reading(foreign, nowMs, freshMs);
    const remedy = 'stop what writes there, then run `mailtwin verify` on the primary';
    if (read.is !== 'known') return notKnown('warn', 'whether somebody else writes on this copy', read, remedy);
    if (read.value.count === 0) return pass('nobody else writes on this copy', read.age);
    return fail(`somebody else changed ${read.value.count} places of this copy`, read.value.example, remedy);
  },
};

/** A few damaged files are no reason to serve nothing; but nobody takes them over unasked. */
export const damagedFiles: Guard = {
  ...isHere,
  overridable: true,
  judge({ damaged, nowMs }) {
    const read = reading(damaged, nowMs, freshMs);
    const remedy = 'let the primary bring them again first, if it lives: it does so by itself; `mailtwin scrub` names them';
    if (read.is !== 'known') return notKnown('warn', 'whether files of this copy are damaged', read, remedy);
    const { count, example } = read.value;
    if (count === 0) return pass('no file of this copy is known to be damaged', read.age);
    return warn(`${count} ${count === 1 ? 'file of this copy is' : 'files of this copy are'} damaged`, `for example ${example}`, remedy);
  },
};

const verifyDaysMax = 8;

export const lastVerify: Guard = {
  ...isHere,
  overridable: true,
  judge({ lastVerify: fact_, nowMs }) {
    const read = reading(fact_, nowMs, Infinity);
    const remedy = 'run `mailtwin verify` on the primary';
    if (read.is !== 'known') return notKnown('warn', 'the last verification', read, remedy);
    if (read.value === null) return warn('it was never verified that both nodes hold the same', 'no verification', remedy);
    const { result, differences, leftOut, secondsAgo } = read.value;
    const days = secondsAgo / 86_400;
    const evidence = `${result}, ${days < 1 ? 'within the last day' : `${Math.floor(days)} days ago`}`;
    if (result === 'different') return fail(`the last verification found ${differences} differences`, evidence, remedy);
    if (result === 'incomplete')
      return warn(
        `what was compared is the same, but ${leftOut} places were left out of it: what the primary has there is not on this node`,
        evidence,
        'see `mailtwin status` on the primary, which names them',
      );
    if (result === 'failed') return warn('the last verification did not come to its end', evidence, remedy);
    return days > verifyDaysMax
      ? warn('the last verification is long ago', evidence, remedy)
      : pass('the last verification found no difference', evidence);
  },
};

export const isolation: Guard = {
  ...isHere,
  overridable: true,
  judge({ isolation: fact_, nowMs }) {
    const read = reading(fact_, nowMs, freshMs);
    const remedy = 'look at the cables and the switch of this node: it may be the one that is cut off';
    if (read.is === 'none')
      return warn('whether this node is cut off cannot be told', read.why, 'name gateways or `network.witnesses` in the configuration');
    if (read.is !== 'known') return notKnown('fail', 'whether this node is cut off', read, remedy);
    const { asked, answered } = read.value;
    const silent = asked.filter((address) => !answered.includes(address));
    if (asked.length === 0)
      return warn('whether this node is cut off cannot be told', 'nothing was asked', 'name `network.witnesses` in the configuration');
    if (answered.length === 0) return fail('this node is cut off: no gateway and no witness answers', `asked: ${some(asked)}`, remedy);
    if (silent.length > 0)
      return warn('some gateways or witnesses do not answer', `silent: ${some(silent)}; answered: ${some(answered)}`, remedy);
    return pass('gateways and witnesses answer', some(answered));
  },
};

export const diskSpace: Guard = {
  ...isHere,
  overridable: true,
  judge({ space, nowMs }) {
    const read = reading(space, nowMs, freshMs);
    const remedy = 'make room on this node';
    if (read.is !== 'known') return notKnown('warn', 'free space', read, remedy);
    const short = read.value.filter(({ freeBytes, freeBytesMin }) => freeBytes < freeBytesMin);
    const show = (items: typeof short) => some(items.map(({ root, freeBytes }) => `${root}: ${(freeBytes / 1e9).toFixed(1)} GB free`));
    return short.length > 0
      ? fail('too little room on this node', show(short), remedy)
      : pass('there is room on this node', show(read.value));
  },
};

export const nicRoles: Guard = {
  ...isHere,
  overridable: false,
  judge({ nicRoles: fact_, nowMs }) {
    const read = reading(fact_, nowMs, freshMs);
    const remedy = 'run `mailtwin nics` and plug or assign the port';
    if (read.is === 'none') return pass('no service addresses are configured', read.why);
    if (read.is !== 'known') return notKnown('fail', 'the state of the ports', read, remedy);
    const bad = read.value.filter(({ port, carrier, proven }) => port === null || !carrier || proven === false);
    const why = ({ role: name, port, carrier, detail }: (typeof bad)[number]) =>
      `${name}: ${port === null ? 'mapped to no port' : !carrier ? `${port} has no carrier` : `the gateway does not answer on ${port}`}${detail === '' ? '' : ` (${detail})`}`;
    if (bad.length > 0) return fail('a service address would go to a port that is not proven', some(bad.map(why)), remedy);
    const blind = read.value.filter(({ proven }) => proven === null);
    const all = some(read.value.map(({ role: name, port }) => `${name}: ${port}`));
    if (blind.length > 0)
      return warn(
        'a port has its cable, but no gateway proves the segment',
        some(blind.map(({ role: name, port }) => `${name}: ${port}`)),
        'name a gateway for the role, or look at the cable',
      );
    return pass('every role has its port, with carrier and proven segment', all);
  },
};

export const mailConfig: Guard = {
  ...isHere,
  overridable: true,
  judge({ mailConfig: fact_, nowMs }) {
    const read = reading(fact_, nowMs, freshMs * 4);
    const remedy = "mend the mail server's configuration on this node";
    if (read.is === 'none')
      return warn("the mail server's configuration is not checked", read.why, 'name `services.configCheck` in the configuration');
    if (read.is !== 'known') return notKnown('warn', "the mail server's configuration", read, remedy);
    return read.value.ok
      ? pass("the mail server's configuration is valid", read.value.evidence)
      : fail("the mail server's configuration is not valid", read.value.evidence, remedy);
  },
};

export const mailUnits: Guard = {
  ...isHere,
  overridable: true,
  judge({ mailUnits: fact_, nowMs }) {
    const read = reading(fact_, nowMs, freshMs * 4);
    if (read.is === 'none') return pass('no mail services are configured', read.why);
    if (read.is !== 'known')
      return notKnown('fail', 'whether the mail services can start here', read, 'look at: systemctl status, and at `services.units`');
    const [first, ...more] = read.value;
    if (!first) return pass('nothing was found that keeps the mail services from starting here', read.age);
    return fail(first.what, some([first.evidence, ...more.map(({ what, evidence }) => `${what} (${evidence})`)]), first.remedy);
  },
};
