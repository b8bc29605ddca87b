import { words } from './words.js';

// Shows what the agent tells. Everything comes from outside and goes into the page as text, never as markup.
const language = document.documentElement.lang === 'de' ? 'de' : 'en';
const w = (key) => words[language][key] ?? words.en[key] ?? key;
const everyMs = 2000;
/** A reading this old is shown as old. */
const staleMs = 15_000;
const pointsMax = 150;
const lags = [];
/** The agent looks once a minute at most, and is asked more often, so that what it found is here soon. */
const doctorEveryMs = 20_000;
const doctorStaleMs = 200_000;
let events = [];
/** What the agent found when it examined itself; null before the first time. */
let doctor = null;
let doctorAtMs = 0;
/** The last status, to be shown again when the agent has found something. */
let lastStatus = null;
let readAtMs = 0;

for (const element of document.querySelectorAll('[data-word]')) element.textContent = w(element.dataset.word);

function el(name, content = '', className = '') {
  const element = document.createElement(name);
  if (className !== '') element.className = className;
  for (const part of [content].flat()) element.append(part instanceof Node ? part : String(part));
  return element;
}

function card(title, content, className = '') {
  const section = el('section', [], className);
  section.append(el('h2', title), ...[content].flat());
  return section;
}

function facts(pairs) {
  const list = el('dl');
  for (const [name, value, className = ''] of pairs) list.append(el('dt', name), el('dd', value ?? w('unknown'), className));
  return list;
}

/** How far the reading again of all content is, and what it found. */
function scrubCards({ scrub }) {
  if (!scrub) return [];
  return [
    card(
      w('scrub'),
      facts([
        [w('damaged'), `${number(scrub.damagedCount)} ${w('files')}`, scrub.damagedCount > 0 ? 'bad' : scrub.lastPass ? 'good' : ''],
        ...(scrub.pass ? [[w('scrubPass'), `${number(Math.floor(scrub.pass.share * 100))} %`]] : []),
        [w('oldestRead'), time(scrub.lastPass && scrub.oldestUnprovedAt)],
      ]),
    ),
  ];
}

const time = (iso) => (iso === null ? w('never') : new Date(iso).toLocaleString(language, { dateStyle: 'medium', timeStyle: 'medium' }));
const number = (value) => value.toLocaleString(language, { maximumFractionDigits: 1 });
const seconds = (value) => (value === null ? w('unknown') : `${number(value)} ${w('seconds')}`);
const yes = (value) => (value === null ? w('unknown') : w(value ? 'yes' : 'no'));

function size(bytes) {
  if (bytes === null) return w('unknown');
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  for (; bytes >= 1000 && at < units.length - 1; at++) bytes /= 1000;
  return `${number(bytes)} ${units[at]}`;
}

/** The lag of the last minutes as a line; its highest value is named, because a line has no scale. */
function graph() {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const most = Math.max(1, ...lags.map((lag) => lag ?? 0));
  svg.setAttribute('viewBox', `0 0 ${pointsMax} 100`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `${w('graph')}: ${seconds(lags.at(-1) ?? null)}`);
  const draw = (className, points) => {
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    line.setAttribute('class', className);
    line.setAttribute('points', points);
    svg.append(line);
  };
  draw('base', `0,99 ${pointsMax},99`);
  let run = [];
  const end = () => {
    // One point alone would be no line.
    if (run.length > 0) draw('line', [...run, ...(run.length === 1 ? run : [])].join(' '));
    run = [];
  };
  lags.forEach((lag, i) => (lag === null ? end() : run.push(`${pointsMax - lags.length + i},${98 - (lag / most) * 94}`)));
  end();
  return [svg, el('p', `${w('graph')}; 0 – ${seconds(most)}`, 'dim')];
}

function showState(s) {
  const { peer, replication: r, possibleLoss: loss, appliance } = s;
  const findings = freshFindings();
  const hasFailed = findings?.some(({ level }) => level === 'fail') ?? false;
  const isIll = s.warnings.length > 0 || hasFailed;
  const isWell = s.verdict.level === 'good';
  const isReady = s.canTakeOver === null ? isWell : s.canTakeOver.can;
  const percent = s.verdict.percent === null ? '' : ` (${number(s.verdict.percent)} %)`;
  say(
    isWell && hasFailed ? 'warn' : s.verdict.level,
    `${w(`is-${isWell && hasFailed ? 'attention' : s.verdict.code}`)}${percent} – ${w(s.active ? 'serves' : isReady ? 'passive' : 'passiveNotReady')}`,
  );
  const cards = [
    ...takeOverCards(s),
    card(w('todo'), s.warnings.length === 0 ? el('p', w(isIll ? 'seeDoctor' : 'nothingToDo')) : list(s.warnings), 'wide'),
    doctorCard(findings),
    card(
      w('thisNode'),
      facts([
        [w('node'), s.node],
        [w('role'), w(s.role)],
        [w('active'), yes(s.active), s.active ? 'good' : ''],
        [w('epoch'), s.epoch],
        [w('version'), s.agentVersion],
        [w('mailServer'), s.mailServer ?? w('none')],
      ]),
    ),
    card(
      w('otherNode'),
      facts([
        [w('node'), peer.node],
        [w('role'), peer.role === null ? w('unknown') : w(peer.role)],
        [w('heard'), time(peer.lastHeardAt), peer.connected ? '' : 'bad'],
        [w('epoch'), peer.epoch],
        [w('version'), peer.agentVersion],
        [w('mailServer'), peer.mailServer],
      ]),
    ),
    card(w('stream'), [
      facts([
        [w('phase'), w(r.phase)],
        [w('lag'), seconds(r.lagSeconds)],
        [w('waiting'), r.lagChanges === null ? w('unknown') : `${number(r.lagChanges)}, ${size(r.lagBytes)}`],
        [w('loss'), lossText(loss)],
        ...s.queues.map((queue) => [`${w('queueOf')} ${queue.node}`, queueText(queue), queue.messages === 0 ? '' : 'warn']),
        ...(r.fill
          ? [[w('fill'), `${number(r.fill.filesDone)} / ${r.fill.filesTotal === null ? '?' : number(r.fill.filesTotal)} ${w('files')}`]]
          : []),
      ]),
      ...graph(),
    ]),
  ];
  if (r.unproven.length > 0)
    cards.push(
      card(
        w('doubt'),
        el(
          'ul',
          r.unproven.slice(0, 50).map(({ root, path, reason }) => el('li', `${root} ${path}: ${reason}`)),
        ),
        'wide',
      ),
    );
  if (r.lagging.length > 0)
    cards.push(
      card(
        `${w('lagging')} (${number(r.laggingCount)})`,
        el(
          'ul',
          r.lagging.slice(0, 50).map(({ root, path, seconds: age, reason }) => el('li', `${root}/${path}, ${seconds(age)}: ${reason}`)),
        ),
        'wide',
      ),
    );
  if (s.leftOut.length > 0)
    cards.push(
      card(
        w('leftOut'),
        el(
          'ul',
          s.leftOut.map(({ text, count, unexpected, examples }) =>
            el('li', el('span', `${number(count)} × ${text}: ${examples.join(', ')}`, unexpected > 0 ? 'warn' : 'dim')),
          ),
        ),
        'wide',
      ),
    );
  if (appliance) cards.push(...applianceCards(appliance));
  cards.push(
    card(
      w('roots'),
      facts(
        s.roots.flatMap((root) => [
          [root.name, `${number(root.files)} ${w('files')}, ${size(root.bytes)}, ${size(root.freeBytes)} ${w('free')}`],
        ]),
      ),
    ),
    card(
      w('verify'),
      s.lastVerify
        ? facts([
            [
              time(s.lastVerify.at),
              `${w(s.lastVerify.result)}${s.lastVerify.deep ? `, ${w('deep')}` : ''}`,
              { clean: 'good', incomplete: 'warn' }[s.lastVerify.result] ?? 'bad',
            ],
          ])
        : el('p', w('never')),
    ),
    ...scrubCards(s),
    card(
      w('events'),
      events.length === 0
        ? el('p', w('noEvents'))
        : el(
            'ul',
            events.map(({ at, level, text, remedy }) =>
              el('li', [el('span', time(at), level), ` ${text}${remedy === '' ? '' : `: ${remedy}`}`]),
            ),
          ),
    ),
  );
  replace(cards);
}

/** Null when they are not known, or too old to be shown. */
function freshFindings() {
  return doctor !== null && performance.now() - doctorAtMs < doctorStaleMs ? doctor.findings : null;
}

/** What is wrong with the set-up: the failures first. */
function doctorCard(findings) {
  if (findings === null) return card(w('doctor'), el('p', w(doctor === null ? 'examining' : 'unknown')), 'wide');
  const wrong = ['fail', 'warn'].flatMap((level) => findings.filter((finding) => finding.level === level));
  const about = el('p', `${w('checks')}: ${number(findings.length)}, ${time(doctor.at)}; ${w('doctorMore')}`, 'dim');
  if (wrong.length === 0) return card(w('doctor'), [el('p', w('doctorWell'), 'good'), about], 'wide');
  const items = wrong.map(({ id, level, summary, evidence, remedy }) => {
    const lines = [el('p', [el('strong', `${w(level)}: `, level === 'fail' ? 'bad' : 'warn'), summary, ' ', el('span', id, 'dim')])];
    if (evidence !== '') lines.push(el('p', `${w('evidence')}: ${evidence}`, 'dim'));
    if (remedy !== '') lines.push(el('p', [`${w('next')}: `, el('span', remedy, 'remedy')]));
    return el('li', lines);
  });
  return card(w('doctor'), [el('ul', items, 'findings'), about], 'wide');
}

/** The one answer to whether this node can take over, and the way when the primary is lost. */
function takeOverCards({ role, canTakeOver, peer }) {
  if (canTakeOver === null) return [];
  const { can, reasons, at } = canTakeOver;
  const answer = el('p', [el('strong', w(can ? 'canTakeOver' : 'cannotTakeOver'), can ? 'good' : 'bad'), ' ', el('span', time(at), 'dim')]);
  const lines = reasons.map(({ guard, text, evidence, remedy }) =>
    el('li', [
      el('p', [text, ' ', el('span', guard, 'dim')]),
      ...(evidence === '' ? [] : [el('p', `${w('evidence')}: ${evidence}`, 'dim')]),
      ...(remedy === '' ? [] : [el('p', [`${w('next')}: `, el('span', remedy, 'remedy')])]),
    ]),
  );
  const content = [answer, ...(lines.length === 0 ? [] : [el('ul', lines, 'findings')])];
  if (role === 'standby' && !peer.connected) {
    const link = Object.assign(el('a', w('checklist')), { href: 'checklist' });
    content.push(el('p', [`${w('primaryLost')} `, link, ' · ', el('code', 'mailtwin failover --dry-run')]));
  }
  return [card(w('takeover'), content, 'wide')];
}

function applianceCards({ services, addresses, nics, fencing, alarms }) {
  const rows = [];
  for (const level of fencing)
    rows.push([
      `${w('fencing')} ${level.level}, ${level.name}`,
      w(level.state === 'unknown' ? 'dead' : 'readable'),
      level.state === 'unknown' ? 'bad' : 'good',
    ]);
  if (services) rows.push([w('services'), w(services.state), '']);
  if (addresses) rows.push([w('addresses'), addresses.held.length === 0 ? w('none') : addresses.held.join(', '), '']);
  const cards = rows.length === 0 ? [] : [card(w('hardware'), facts(rows))];
  if (nics.length > 0)
    cards.push(
      card(
        w('network'),
        el(
          'ul',
          nics.map(({ role, port, carrier }) =>
            el('li', [
              `${role} → ${w('port')} ${port ?? w('none')}: `,
              el('span', w(carrier ? 'carrier' : 'noCarrier'), carrier ? 'good' : 'bad'),
            ]),
          ),
        ),
      ),
    );
  if (alarms.length > 0) cards.push(card(w('look'), list(alarms), 'wide'));
  return cards;
}

function list(items) {
  return el(
    'ul',
    items.map(({ text, remedy }) => el('li', remedy === '' ? text : [`${text} `, el('span', `${w('next')}: ${remedy}`, 'dim')])),
  );
}

/** Mail in the queue of an MTA is not replicated. */
function queueText({ messages, more, at, why }) {
  if (messages === null) return `${w('unknown')} (${why})`;
  return `${more ? `${w('atLeast')} ` : ''}${number(messages)} ${w('messages')}, ${w('notReplicated')} (${time(at)})`;
}

function lossText({ seconds: lost, changes, messages, bytes, mailboxes, complete }) {
  if (lost === null || changes === null) return w('unknown');
  if (changes === 0 && complete) return messages === null ? w('unknown') : w('nothing');
  const parts = [seconds(lost), `${number(changes)} ${w('changes')}`];
  if (messages === null) parts.push(w('messagesUnknown'));
  else if (messages > 0)
    parts.push(
      `${complete ? '' : `${w('about')} `}${number(messages)} ${w('messages')} (${number(mailboxes)} ${w('mailboxes')}, ${size(bytes)})`,
    );
  return parts.join(', ');
}

function showChecklist(plan) {
  if (!plan.guards) {
    say('warn', plan.message ?? w('onStandby'));
    return replace([]);
  }
  const worst = ['fail', 'warn', 'pass'].find((level) => plan.guards.some((guard) => guard.level === level)) ?? 'pass';
  say({ fail: 'bad', warn: 'warn', pass: 'good' }[worst], w({ fail: 'someFail', warn: 'someWarn', pass: 'allPass' }[worst]));
  const table = el('table');
  const head = el(
    'tr',
    [w('guard'), w('result'), w('evidence'), w('next')].map((name) => Object.assign(el('th', name), { scope: 'col' })),
  );
  table.append(
    el('thead', head),
    el(
      'tbody',
      plan.guards.map((g) =>
        el('tr', [
          Object.assign(el('th', g.guard), { scope: 'row' }),
          el('td', w(g.level), { pass: 'good', warn: 'warn', fail: 'bad' }[g.level]),
          el('td', `${g.summary} (${g.evidence})`),
          el('td', g.level === 'pass' ? '' : g.remedy),
        ]),
      ),
    ),
  );
  const scroll = el('div', table, 'scroll');
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'region');
  scroll.setAttribute('aria-label', w('checklist'));
  const steps = el(
    'ol',
    plan.steps.map(({ title }) => el('li', title)),
  );
  replace([card(w('checklist'), scroll, 'wide'), card(w('steps'), [steps, el('p', w('command'))], 'wide')]);
}

function say(className, text) {
  const verdict = document.getElementById('verdict');
  verdict.className = className;
  if (verdict.textContent !== text) verdict.textContent = text;
}

function replace(cards) {
  document.getElementById('content').replaceChildren(...cards);
}

const isChecklist = document.body.dataset.page === 'checklist' || location.pathname.endsWith('/checklist');

async function read() {
  try {
    const answer = await fetch(isChecklist ? 'checklist.json' : 'status.json', { cache: 'no-store' });
    const body = await answer.json();
    readAtMs = Date.now();
    document.getElementById('read').textContent = `${w('read')} ${new Date().toLocaleTimeString(language)}`;
    if (isChecklist) return showChecklist(body);
    document.getElementById('pair').textContent = `${body.node}`;
    lags.push(body.replication.lagSeconds);
    if (lags.length > pointsMax) lags.shift();
    events = await (await fetch('events.json', { cache: 'no-store' })).json();
    lastStatus = body;
    showState(body);
  } catch {
    if (Date.now() - readAtMs > staleMs) say('bad', w('stale'));
  }
}

/** On its own, because it may take seconds: the page does not wait for it. */
async function examine() {
  try {
    const answer = await fetch('doctor.json', { cache: 'no-store' });
    if (!answer.ok) return;
    doctor = await answer.json();
    doctorAtMs = performance.now();
    if (lastStatus) showState(lastStatus);
  } catch {
    // What was found is shown until it is too old.
  }
}

if (!isChecklist) {
  void examine();
  setInterval(() => void examine(), doctorEveryMs);
}
await read();
setInterval(() => void read(), isChecklist ? 15_000 : everyMs);
