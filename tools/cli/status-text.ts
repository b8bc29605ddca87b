import type { Status } from '../../protocol/control.ts';
import { queueText } from '../../protocol/queue.ts';
import { plural, printable, showAge, showBytes, showCount, showSeconds } from './format.ts';
import type { Paint } from './paint.ts';
import { fraction, progressLine, Speed } from './progress.ts';

const unprovenShownMax = 5;
const laggingShownMax = 5;
/** A standby that is this far behind is worth a colour. */
const lagWarnSeconds = 10;

/** What `mailtwin status` prints for people. `nowMs` is the wall clock, for ages. */
export function statusText(status: Status, paint: Paint, nowMs: number, columns: number): string {
  const { replication } = status;
  const lines = [
    `${paint.bold(printable(status.node))}  ${paint.bold(status.role)}${status.active ? ', active' : ''}, epoch ${status.epoch}${paint.dim(`  at ${status.at}`)}`,
    row('verdict', paint[status.verdict.level](status.verdict.text)),
    ...takeoverLines(status, paint, nowMs),
    row('peer', peerText(status, paint, nowMs)),
    ...versionLines(status, paint),
    row('phase', phaseText(status, paint)),
  ];
  if (replication.fill) {
    const { filesDone, filesTotal, bytesDone, bytesTotal } = replication.fill;
    const progress = { label: 'fill', files: { done: filesDone, total: filesTotal }, bytes: { done: bytesDone, total: bytesTotal } };
    lines.push(
      row(
        '',
        fraction(progress) === null
          ? `${plural(filesDone, 'file')}, ${showBytes(bytesDone)} so far`
          : progressLine(progress, new Speed(), columns - labelWidth),
      ),
    );
  }
  for (const { root, path, seconds, reason } of replication.lagging.slice(0, laggingShownMax))
    lines.push(row('lagging', paint.warn(`${printable(`${root}/${path}`)}, ${showSeconds(seconds)}: ${printable(reason)}`)));
  if (replication.held) lines.push(row('held', paint.bad(`${replication.held.code}: ${printable(replication.held.detail)}`)));
  lines.push(row('lag', lagText(status, paint)));
  lines.push(row('possible loss', lossText(status, paint)));
  lines.push(...queueLines(status, paint, nowMs));
  lines.push(...unprovenLines(status, paint), ...doubtLines(status, paint, nowMs));
  lines.push(row('last verify', verifyText(status, paint, nowMs)));
  lines.push(...scrubLines(status, paint, nowMs));
  lines.push(
    row(
      'watcher',
      status.capture.watcher === 'none'
        ? 'none'
        : `${status.capture.watcher}, ${plural(status.capture.watches, 'watch', 'watches')}${overflowText(status)}`,
    ),
  );
  for (const { text } of status.fileSystems) lines.push(row('file systems', paint.warn(printable(text))));
  for (const root of status.roots) {
    const free = root.freeBytes === null ? '' : `, ${showBytes(root.freeBytes)} free`;
    lines.push(
      row(
        'root',
        `${printable(root.name)}  ${printable(root.path)} (${root.format}): ${plural(root.files, 'file')}, ${showBytes(root.bytes)}${free}`,
      ),
    );
  }
  lines.push(...leftOutLines(status, paint));
  for (const warning of status.warnings) {
    lines.push(row('warning', paint.warn(`${warning.code}: ${printable(warning.text)}`)));
    if (warning.remedy !== '') lines.push(row('', `what to do: ${printable(warning.remedy)}`));
  }
  return lines.join('\n');
}

const labelWidth = 16;

function row(label: string, text: string): string {
  return `  ${label.padEnd(labelWidth - 2)}${text}`;
}

/** Whether this node can take over now. */
function takeoverLines({ canTakeOver }: Status, paint: Paint, nowMs: number): string[] {
  if (!canTakeOver) return [];
  const { can, text, reasons, at } = canTakeOver;
  const read = paint.dim(`  ${showAge(at, nowMs)}`);
  return [
    row('takeover', `${can ? paint.good(printable(text)) : paint.bad(printable(text))}${read}`),
    ...reasons.map(({ guard, text: why, remedy }) =>
      row('', `${guard}: ${printable(why)}${remedy === '' ? '' : paint.dim(`; what to do: ${printable(remedy)}`)}`),
    ),
  ];
}

/** Only where the releases of the two nodes differ. */
function versionLines({ agentVersion, mailServer, peer }: Status, paint: Paint): string[] {
  const pairs: [what: string, here: string | null, there: string | null][] = [
    ['mailtwin', agentVersion, peer.agentVersion],
    ['mail server', mailServer, peer.mailServer],
  ];
  const differing = pairs.filter(([, here, there]) => here !== null && there !== null && here !== there);
  if (differing.length === 0) return [];
  const text = differing.map(([what, here, there]) => `${what} ${printable(here ?? '')} here, ${printable(there ?? '')} there`).join('; ');
  return [row('versions', paint.warn(text))];
}

function peerText({ peer }: Status, paint: Paint, nowMs: number): string {
  if (peer.node === null) return 'none yet';
  const facts = [peer.connected ? paint.good('connected') : paint.bad('not connected')];
  if (peer.role !== null) facts.push(peer.role);
  if (peer.epoch !== null) facts.push(`epoch ${peer.epoch}`);
  if (peer.address !== null) facts.push(printable(peer.address));
  facts.push(peer.lastHeardAt === null ? 'never heard' : `heard ${showAge(peer.lastHeardAt, nowMs)}`);
  if (peer.clockSkewSeconds !== null && Math.abs(peer.clockSkewSeconds) >= 1)
    facts.push(
      paint.warn(`its clock is ${showSeconds(Math.abs(peer.clockSkewSeconds))} ${peer.clockSkewSeconds > 0 ? 'ahead' : 'behind'}`),
    );
  const error = peer.connected || peer.lastError === null ? '' : ` (${printable(peer.lastError)})`;
  return `${printable(peer.node)}  ${facts.join(', ')}${error}`;
}

function phaseText({ replication }: Status, paint: Paint): string {
  const text = replication.phase === 'initial' ? 'initial fill' : replication.phase;
  if (replication.phase === 'streaming') return paint.good(text);
  return replication.phase === 'unpaired' || replication.phase === 'disconnected' ? paint.bad(text) : paint.warn(text);
}

function lagText({ replication: r }: Status, paint: Paint): string {
  const text = amounts(r.lagSeconds, r.lagChanges, r.lagBytes === null ? null : showBytes(r.lagBytes));
  if (text === null) return paint.warn('unknown');
  return (r.lagSeconds ?? 0) > lagWarnSeconds ? paint.warn(text) : text;
}

function lossText({ possibleLoss: loss }: Status, paint: Paint): string {
  const where = loss.mailboxes === null ? null : `in ${plural(loss.mailboxes, 'mailbox', 'mailboxes')}`;
  const about = loss.complete ? '' : 'about ';
  const what =
    loss.messages === null || loss.bytes === null
      ? 'messages not known'
      : loss.messages === 0 && loss.complete
        ? null
        : `${about}${plural(loss.messages, 'message')} of ${showBytes(loss.bytes)}`;
  const text = amounts(
    loss.seconds,
    loss.changes,
    [what, where].filter((part) => part !== null).join(' ') || null,
    loss.complete && loss.messages !== null,
  );
  if (text === null) return paint.warn('unknown');
  return (loss.seconds ?? 0) > lagWarnSeconds || !loss.complete ? paint.bad(text) : text;
}

/** Mail that waits in the queues; one that is empty is said in few words, so that it is seen to be watched. */
function queueLines({ queues, node: own, active }: Status, paint: Paint, nowMs: number): string[] {
  return queues.map((queue) => {
    const { node, messages, oldestAt, at } = queue;
    const oldest = oldestAt === null || messages === 0 ? '' : `, the oldest came ${showAge(oldestAt, nowMs)}`;
    const stuck = node === own && !active && messages !== 0 ? '; nobody delivers them, as this node is not active' : '';
    const text = `${printable(queueText(node, queue))}${oldest}${stuck}`;
    return row('mail queue', `${messages === 0 ? text : paint.warn(text)}${paint.dim(`  counted ${showAge(at, nowMs)}`)}`);
  });
}

function amounts(seconds: number | null, changes: number | null, more: string | null, mayBeNone = true): string | null {
  if (seconds === null && changes === null) return null;
  if (mayBeNone && changes === 0 && (seconds ?? 0) === 0) return 'none';
  return [seconds === null ? null : showSeconds(seconds), changes === null ? null : plural(changes, 'change'), more]
    .filter((part) => part !== null)
    .join(', ');
}

function unprovenLines({ replication: { unproven } }: Status, paint: Paint): string[] {
  if (unproven.length === 0) return [row('unproven', 'none')];
  const lines = [row('unproven', paint.warn(plural(unproven.length, 'place')))];
  for (const { root, path, reason } of unproven.slice(0, unprovenShownMax))
    lines.push(row('', `${printable(root)}:${printable(path) || '/'}  ${paint.dim(printable(reason))}`));
  if (unproven.length > unprovenShownMax)
    lines.push(row('', paint.dim(`and ${showCount(unproven.length - unprovenShownMax)} more (--json shows all)`)));
  return lines;
}

function leftOutLines({ leftOut }: Status, paint: Paint): string[] {
  return leftOut.map(({ text, count, kept, unexpected, examples }) => {
    const keeps = kept > 0 ? `; the standby keeps what it had of ${showCount(kept)}` : '';
    const line = `${showCount(count)} × ${printable(text)}, for example ${printable(examples[0] ?? '')}${keeps}`;
    return row('left out', unexpected > 0 ? paint.warn(line) : line);
  });
}

/** On a primary these are its unproven places. */
function doubtLines({ role, replication: { doubts, doubtCount } }: Status, paint: Paint, nowMs: number): string[] {
  if (role === 'primary' || doubts.length === 0) return [];
  const lines = [row('in doubt', paint.warn(plural(doubtCount, 'place')))];
  for (const { root, path, reason, since } of doubts.slice(0, unprovenShownMax))
    lines.push(
      row('', `${printable(root)}:${printable(path) || '/'}  ${paint.dim(`${printable(reason)}, since ${showAge(since, nowMs)}`)}`),
    );
  if (doubtCount > unprovenShownMax) lines.push(row('', paint.dim(`and ${showCount(doubtCount - unprovenShownMax)} more`)));
  return lines;
}

function verifyText({ lastVerify }: Status, paint: Paint, nowMs: number): string {
  if (!lastVerify) return paint.warn('never');
  const how = lastVerify.deep ? ', deep' : '';
  const when = `${showAge(lastVerify.at, nowMs)}${how}`;
  if (lastVerify.result === 'incomplete')
    return `${paint.warn(`no difference, except ${plural(lastVerify.leftOut, 'place')} that ${lastVerify.leftOut === 1 ? 'was' : 'were'} left out`)}, ${when}`;
  if (lastVerify.result === 'clean') return `${paint.good('clean')}, ${when}`;
  return `${paint.bad(lastVerify.result === 'different' ? plural(lastVerify.differences, 'difference') : 'failed')}, ${when}`;
}

/** How the reading again of all content stands. */
function scrubLines({ scrub }: Status, paint: Paint, nowMs: number): string[] {
  if (!scrub || (scrub.days === 0 && scrub.damagedCount === 0)) return [];
  const { pass, lastPass, damagedCount, oldestUnprovedAt } = scrub;
  const found = damagedCount === 0 ? 'nothing found damaged' : paint.bad(`${plural(damagedCount, 'damaged file')}`);
  const done = pass ? `, ${Math.floor(pass.share * 100)} % of a pass` : '';
  const read = oldestUnprovedAt === null ? '' : `, oldest content read ${showAge(oldestUnprovedAt, nowMs)}`;
  const oldest = lastPass ? read : ', not all of it was read yet';
  return [row('scrub', `${found}${done}${oldest}`)];
}

function overflowText({ capture }: Status): string {
  return capture.overflows === 0 ? '' : `, ${plural(capture.overflows, 'overflow')}`;
}
