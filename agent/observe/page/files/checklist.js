import { $, el, prose, show, time } from './dom.js';
import { poll } from './poll.js';
import { duration, moment, number, speak, words } from './words.js';

speak();
$('footer').textContent = words.footer;
poll('/checklist.json', 60_000, ({ node, plan, refusal, at }) => {
  $('own-name').textContent = node;
  document.title = `${node}: ${words.pageChecklist}`;
  const stamp = () => [time(at, words.asOf(moment(at))), `. ${words.refreshed}`];
  if (!plan) {
    $('verdict').className = 'verdict warn';
    $('headline').textContent = words.onPrimary;
    show($('subline'), ...prose(`${refusal.message}. ${refusal.remedy}. `), ...stamp());
    $('content').hidden = true;
    return;
  }
  const fails = plan.guards.filter(({ level }) => level === 'fail');
  const warns = plan.guards.filter(({ level }) => level === 'warn');
  $('verdict').className = `verdict ${fails.length > 0 ? 'bad' : warns.length > 0 ? 'warn' : 'good'}`;
  $('headline').textContent = fails.length > 0 ? words.refused(fails.length) : warns.length > 0 ? words.warns(warns.length) : words.ready;
  show($('subline'), `${words.checklistFor(plan.node, plan.target)}, ${words.epoch(plan.epoch)}, `, ...stamp());
  $('content').hidden = false;
  show($('do'), ...orders(plan, fails));
  show($('loss'), ...losses(plan.predictedLoss));
  show($('guards'), ...[...fails, ...warns, ...plan.guards.filter(({ level }) => level === 'pass')].map(guardItem));
  show($('steps'), ...plan.steps.map(stepItem));
});

function orders({ target, kind }, fails) {
  const file = `mailtwin-${kind}.plan.json`;
  const step = (text, command) => el('li', {}, box(), text, command ? el('p', {}, el('code', {}, command)) : null);
  return [
    step(words.read),
    step(words.goLook(target)),
    ...(fails.length > 0
      ? [
          step(
            words.mend,
            fails
              .filter(({ overridable }) => overridable)
              .map(({ guard }) => `--override ${guard}`)
              .join(' '),
          ),
        ]
      : []),
    step(words.dryRun, `mailtwin ${kind} --dry-run`),
    step(words.apply, `mailtwin ${kind} --apply ${file} --confirm ${target}`),
    step(words.after(target), 'mailtwin rejoin'),
  ];
}

function losses({ seconds, messages, mailboxes, changes }) {
  const figure = (name, value) => el('div', {}, el('dt', {}, name), el('dd', { class: 'big' }, value ?? words.unknown));
  return [
    figure(words.lossWindow, seconds === null ? null : duration(seconds)),
    figure(words.lossMessages, messages === null ? null : number(messages)),
    figure(words.lossMailboxes, mailboxes === null ? null : number(mailboxes)),
    figure(words.lossChanges, changes === null ? null : number(changes)),
  ];
}

function guardItem({ guard, level, summary, evidence, remedy, overridable }) {
  return el(
    'li',
    {},
    box(),
    el('span', { class: `tag ${{ pass: 'good', warn: 'warn', fail: 'bad' }[level]}` }, words.guardLevel[level]),
    el('strong', {}, guard),
    `: ${summary}`,
    evidence === '' ? null : el('p', { class: 'soft' }, `${words.evidence} ${evidence}`),
    level === 'pass' || remedy === '' ? null : el('p', {}, `${words.whatToDo} `, ...prose(remedy)),
    level === 'fail' ? el('p', { class: 'soft' }, overridable ? words.overridable : words.notOverridable) : null,
  );
}

function stepItem({ title, where, pointOfNoReturn }) {
  return el(
    'li',
    {},
    box(),
    el('span', { class: 'tag' }, where),
    title,
    pointOfNoReturn ? el('p', {}, el('strong', {}, words.noReturn)) : null,
  );
}

/** A box to tick with a pen. */
function box() {
  return el('span', { class: 'box', 'aria-hidden': 'true' });
}
