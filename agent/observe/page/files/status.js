import { $, el, prose, show, svg, time } from './dom.js';
import { drawLag } from './lag.js';
import { poll } from './poll.js';
import { duration, moment, number, size, speak, words } from './words.js';

speak();
$('footer').textContent = words.footer;
poll('/status.json', 2000, (facts) => {
  const { status, next } = facts;
  $('own-name').textContent = status.node;
  document.title = `${next.some(({ level }) => level === 'bad') ? '! ' : ''}${status.node}: mailtwin`;
  $('content').hidden = false;
  verdict(facts);
  show($('next'), next.length === 0 ? el('li', {}, words.nothing) : next.map((step) => nextItem(step, status)));
  pairOf(facts);
  numbers(facts);
  drawLag($('lag'), $('lag-text'), facts.lag);
  attention(status);
  show($('roots'), status.roots.map(rootItem));
  nics(facts);
  doctor(facts.doctor);
  events(facts.events);
});

function verdict({ status, next }) {
  const bad = next.filter(({ level }) => level === 'bad').length;
  const level = bad > 0 ? 'bad' : next.length > 0 ? 'warn' : 'good';
  $('verdict').className = `verdict ${level}`;
  const text = bad > 0 ? words.act(bad) : next.length > 0 ? words.look(next.length) : words.well;
  if ($('headline').textContent !== text) $('headline').textContent = text;
  // The clock ticks; a screen reader need not tell it.
  $('subline').setAttribute('aria-hidden', 'true');
  $('subline').textContent = `${status.node}, ${words.role[status.role]}: ${words.asOf(moment(status.at))}`;
}

function nextItem({ level, code, text: told, remedy: advice }, { node, peer }) {
  const title = words.title[code];
  const heard = peer.lastHeardAt === null ? words.neverHeard : words.heard(moment(peer.lastHeardAt));
  const [text, remedy] = words.say[code]?.({ node, other: peer.node ?? words.otherNode, heard }) ?? [told, advice];
  return el(
    'li',
    {},
    el('span', { class: `tag ${level}` }, words.level[level]),
    el('strong', {}, title ?? text),
    title ? el('p', {}, text) : null,
    remedy ? el('p', {}, `${words.whatToDo} `, ...prose(remedy)) : null,
  );
}

function pairOf({ status, services }) {
  const { peer, replication } = status;
  $('own').className = `node${status.active ? ' active' : ''}`;
  show(
    $('own'),
    el('h3', {}, status.node),
    el('span', { class: 'tag' }, words.role[status.role]),
    el('span', { class: `tag ${status.active ? 'good' : ''}` }, status.active ? words.active : words.notActive),
    el('p', {}, `${words.thisNode}, ${words.epoch(status.epoch)}`),
    el('p', {}, words.version(status.agentVersion)),
    services ? el('p', {}, words.services[services]) : null,
  );
  $('peer').className = `node${peer.connected ? (peer.role === 'primary' ? ' active' : '') : ' lost'}`;
  show(
    $('peer'),
    el('h3', {}, peer.node ?? words.noPeer),
    el('span', { class: 'tag' }, peer.role === null ? words.unknown : words.role[peer.role]),
    el('span', { class: `tag ${peer.connected ? 'good' : 'bad'}` }, peer.connected ? words.connected : words.notConnected),
    el('p', {}, `${words.otherNode}, ${peer.epoch === null ? words.unknown : words.epoch(peer.epoch)}`),
    el('p', {}, peer.agentVersion === null ? '' : words.version(peer.agentVersion)),
    peer.connected ? null : el('p', {}, peer.lastHeardAt === null ? words.neverHeard : words.heard(moment(peer.lastHeardAt))),
  );
  const flows = peer.connected && !replication.held;
  $('stream').className = `stream${flows ? '' : ' lost'}`;
  const points =
    status.role === 'standby' ? { line: 'M100 13H12', head: 'M0 13 14 5v16z' } : { line: 'M0 13h88', head: 'M100 13 86 5v16z' };
  show(
    $('stream'),
    el('strong', {}, replication.held ? words.held : words.phase[replication.phase]),
    svg(
      'svg',
      { viewBox: '0 0 100 26', 'aria-hidden': 'true', preserveAspectRatio: 'none' },
      svg('path', { class: 'wire', d: points.line }),
      svg('path', { class: 'wire-head', d: points.head }),
    ),
    el('span', {}, `${words.lag}: ${lagText(replication)}`),
  );
}

function lagText({ lagSeconds, lagChanges }) {
  if (lagSeconds === null) return words.unknown;
  return lagChanges === 0 ? words.lagNone : duration(lagSeconds);
}

function numbers({ status }) {
  const { possibleLoss: loss, replication, lastVerify } = status;
  const lossIsNone = loss.changes === 0;
  const fill = replication.fill;
  show(
    $('numbers'),
    figure(
      words.possibleLoss,
      loss.seconds === null ? words.unknown : lossIsNone ? words.lossNone : words.lossSeconds(duration(loss.seconds)),
      loss.seconds === null ? 'bad' : lossIsNone ? 'good' : loss.seconds > 60 ? 'bad' : '',
      [
        loss.seconds === null && status.peer.lastHeardAt !== null ? words.sinceHeard(moment(status.peer.lastHeardAt)) : null,
        loss.changes ? words.changes(number(loss.changes)) : null,
        loss.mailboxes ? words.mailboxes(number(loss.mailboxes)) : null,
      ],
    ),
    figure(words.lag, lagText(replication), '', [
      replication.lagBytes ? size(replication.lagBytes) : null,
      fill ? words.fill(number(fill.filesDone), fill.filesTotal === null ? '?' : number(fill.filesTotal)) : null,
    ]),
    figure(
      words.verify,
      lastVerify === null
        ? words.never
        : lastVerify.result === 'different'
          ? words.verifyDifferences(number(lastVerify.differences))
          : words.verifyResult[lastVerify.result],
      lastVerify === null ? 'warn' : lastVerify.result === 'clean' ? 'good' : 'bad',
      lastVerify === null ? [] : [moment(lastVerify.at), lastVerify.deep ? words.deep : null],
    ),
    figure(
      words.unproven,
      replication.unproven.length === 0 ? words.unprovenNone : words.places(number(replication.unproven.length)),
      replication.unproven.length === 0 ? 'good' : 'warn',
      [],
    ),
  );
}

function figure(name, value, level, details) {
  return el(
    'div',
    {},
    el('dt', {}, name),
    el('dd', { class: `big ${level}` }, value),
    el('dd', { class: 'small' }, details.filter(Boolean).join(', ')),
  );
}

const shownMax = 20;

function attention({ replication, skipped }) {
  const items = [
    ...replication.unproven
      .slice(0, shownMax)
      .map(({ root, path, reason }) =>
        el('li', {}, el('strong', {}, `${root === '' ? '' : `${root}: `}${path === '' ? '/' : path}`), el('p', { class: 'soft' }, reason)),
      ),
    ...(replication.unproven.length > shownMax ? [el('li', {}, words.moreThan(number(replication.unproven.length - shownMax)))] : []),
    ...skipped.map(({ kind, count, example }) =>
      el('li', {}, words.skipped(number(count), kind), el('p', { class: 'soft' }, words.example(example))),
    ),
  ];
  show($('attention'), items.length === 0 ? words.attentionNone : el('ul', { class: 'rows' }, ...items));
}

function rootItem({ name, path, format, files, bytes, freeBytes }) {
  return el(
    'li',
    {},
    el('strong', {}, name),
    ` ${path} (${format})`,
    el(
      'p',
      { class: 'soft' },
      `${words.files(number(files))}, ${size(bytes)}, ${freeBytes === null ? words.freeUnknown : words.free(size(freeBytes))}`,
    ),
  );
}

function nics({ status, network, peerNetwork }) {
  if (!network) return show($('nics'), words.nicsNone);
  const peer = status.peer.node ?? words.noPeer;
  // What a lost node told last is no news of its cables (I18).
  const isOld = !status.peer.connected;
  const head = el(
    'div',
    { class: 'nic-row nic-head' },
    el('span', {}, status.node),
    el('span', {}, ''),
    el('span', {}, status.peer.connected || !peerNetwork ? peer : words.lastKnown(peer)),
  );
  show(
    $('nics'),
    head,
    network.roles.map((role) => {
      const there = peerNetwork?.roles.find(({ name }) => name === role.name);
      return el(
        'div',
        { class: 'nic-row' },
        portBox(role, network.ports),
        el('div', { class: 'segment' }, el('span', {}, role.vlan === 0 ? role.name : `${role.name} · VLAN ${role.vlan}`)),
        there ? portBox(there, peerNetwork.ports, isOld) : el('div', { class: 'port none' }, words.unknown),
      );
    }),
  );
}

function portBox({ port, held }, ports, isOld = false) {
  if (port === null) return el('div', { class: 'port none' }, words.noPort);
  const fact = ports.find(({ ifname }) => ifname === port);
  const speed = fact?.speedMbits ? `, ${number(fact.speedMbits)} Mbit/s` : '';
  return el(
    'div',
    { class: `port ${isOld ? 'none' : fact?.carrier ? '' : 'down'}` },
    el('strong', {}, port),
    el('p', {}, `${fact?.carrier ? words.carrier : words.noCarrier}${speed}`),
    held.map((address) => el('p', {}, address)),
  );
}

function doctor(report) {
  if (!report) return show($('doctor'), words.doctorNone);
  const of = (level) => report.findings.filter((finding) => finding.level === level);
  const [fails, warns, passes] = [of('fail'), of('warn'), of('pass')];
  const open = $('doctor').querySelector('details')?.open;
  show(
    $('doctor'),
    el(
      'p',
      { class: 'soft' },
      fails.length + warns.length === 0 ? words.doctorWell(passes.length) : words.doctorSome(fails.length, warns.length, passes.length),
      ' ',
      time(report.at, words.asOf(moment(report.at))),
    ),
    el('ul', { class: 'guards' }, [...fails, ...warns].map(findingItem)),
    el('details', {}, el('summary', {}, words.doctorPassed), el('ul', { class: 'guards' }, passes.map(findingItem))),
  );
  if (open) $('doctor').querySelector('details').open = true;
}

function findingItem({ id, level, summary, evidence, remedy }) {
  const tag = { fail: 'bad', warn: 'warn', pass: 'good' }[level];
  return el(
    'li',
    {},
    el('span', { class: `tag ${tag}` }, words.level[level]),
    el('strong', {}, summary),
    el('p', { class: 'soft' }, evidence === '' ? id : `${id}: ${evidence}`),
    remedy === '' ? null : el('p', {}, `${words.whatToDo} `, ...prose(remedy)),
  );
}

function events(list) {
  show(
    $('events'),
    list.length === 0
      ? el('li', {}, words.eventsNone)
      : list
          .slice(0, 30)
          .map(({ level, at, text }) =>
            el(
              'li',
              {},
              el('span', { class: `tag ${level === 'info' ? '' : level}` }, words.level[level]),
              time(at, moment(at)),
              ` ${text}`,
            ),
          ),
  );
}
