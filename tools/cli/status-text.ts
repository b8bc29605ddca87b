import type { Status } from '../../protocol/control.ts';
import { plural, printable, showAge, showBytes, showCount, showSeconds } from './format.ts';
import type { Paint } from './paint.ts';
import { fraction, progressLine, Speed } from './progress.ts';

const unprovenShownMax = 5;
/** A standby that is this far behind is worth a colour. */
const lagWarnSeconds = 10;

/** What `mailtwin status` prints for people. `nowMs` is the wall clock, for ages. */
export function statusText(status: Status, paint: Paint, nowMs: number, columns: number): string {
  const { replication } = status;
  const lines = [
    `${paint.bold(printable(status.node))}  ${paint.bold(status.role)}${status.active ? ', active' : ''}, epoch ${status.epoch}${paint.dim(`  at ${status.at}`)}`,
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
  if (replication.held) lines.push(row('held', paint.bad(`${replication.held.code}: ${printable(replication.held.detail)}`)));
  lines.push(row('lag', lagText(status, paint)));
  lines.push(row('possible loss', lossText(status, paint)));
  lines.push(...unprovenLines(status, paint));
  lines.push(row('last verify', verifyText(status, paint, nowMs)));
  lines.push(
    row(
      'watcher',
      status.capture.watcher === 'none'
        ? 'none'
        : `${status.capture.watcher}, ${plural(status.capture.watches, 'watch', 'watches')}${overflowText(status)}`,
    ),
  );
  for (const root of status.roots) {
    const free = root.freeBytes === null ? '' : `, ${showBytes(root.freeBytes)} free`;
    lines.push(
      row(
        'root',
        `${printable(root.name)}  ${printable(root.path)} (${root.format}): ${plural(root.files, 'file')}, ${showBytes(root.bytes)}${free}`,
      ),
    );
  }
  for (const { kind, count, example } of status.skipped)
    lines.push(row('not replicated', `${showCount(count)} × ${printable(kind)}, for example ${printable(example)}`));
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
  const text = amounts(loss.seconds, loss.changes, loss.mailboxes === null ? null : `in ${plural(loss.mailboxes, 'mailbox', 'mailboxes')}`);
  if (text === null) return paint.warn('unknown');
  return (loss.seconds ?? 0) > lagWarnSeconds ? paint.bad(text) : text;
}

function amounts(seconds: number | null, changes: number | null, more: string | null): string | null {
  if (seconds === null && changes === null) return null;
  if (changes === 0 && (seconds ?? 0) === 0) return 'none';
  return [seconds === null ? null : showSeconds(seconds), changes === null ? null : plural(changes, 'change'), more]
    .filter((part) => part !== null)
    .join(', ');
}

function unprovenLines({ replication: { unproven } }: Status, paint: Paint): string[] {
  if (unproven.length === 0) return [row('unproven', 'none')];
  const lines = [row('unproven', paint.warn(plural(unproven.length, 'directory', 'directories')))];
  for (const { root, path, reason } of unproven.slice(0, unprovenShownMax))
    lines.push(row('', `${printable(root)}:${printable(path) || '/'}  ${paint.dim(printable(reason))}`));
  if (unproven.length > unprovenShownMax)
    lines.push(row('', paint.dim(`and ${showCount(unproven.length - unprovenShownMax)} more (--json shows all)`)));
  return lines;
}

function verifyText({ lastVerify }: Status, paint: Paint, nowMs: number): string {
  if (!lastVerify) return paint.warn('never');
  const how = lastVerify.deep ? ', deep' : '';
  const when = `${showAge(lastVerify.at, nowMs)}${how}`;
  if (lastVerify.result === 'clean') return `${paint.good('clean')}, ${when}`;
  return `${paint.bad(lastVerify.result === 'different' ? plural(lastVerify.differences, 'difference') : 'failed')}, ${when}`;
}

function overflowText({ capture }: Status): string {
  return capture.overflows === 0 ? '' : `, ${plural(capture.overflows, 'overflow')}`;
}
