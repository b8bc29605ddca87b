/**
 * The acceptance report after a move: each mailbox before and after, for the support technician. Pure.
 *
 * - `compareMarks(before, after)`: mailbox by mailbox (I4, I5).
 * - `acceptanceText(report)`, `acceptanceHtml(report)`: for people; the HTML stands alone and loads nothing.
 */

export interface MailboxMark {
  /** Whose, and which: as people know it. */
  mailbox: string;
  uidValidity: number;
  uidNext: number;
  highestModseq: number;
  messages: number;
  /** Digest over UIDs, names and flags; null where none was made. */
  digest: string | null;
}

export interface MailboxResult {
  mailbox: string;
  verdict: 'same' | 'grown' | 'changed' | 'wrong';
  /** What differs, in words; empty when nothing does. */
  what: string[];
  before: MailboxMark | null;
  after: MailboxMark | null;
}

export interface AcceptanceReport {
  pair: string;
  from: string;
  to: string;
  /** ISO 8601. */
  madeAt: string;
  downtimeSeconds: number | null;
  results: MailboxResult[];
  counts: Record<MailboxResult['verdict'], number>;
}

/** `wrong`: a client would download again, or meet another message under a UID that it knows. */
export function compareMarks(before: readonly MailboxMark[], after: readonly MailboxMark[]): MailboxResult[] {
  const then = new Map(before.map((mark) => [mark.mailbox, mark]));
  const now = new Map(after.map((mark) => [mark.mailbox, mark]));
  return [...new Set([...then.keys(), ...now.keys()])]
    .sort()
    .map((mailbox) => compareOne(mailbox, then.get(mailbox) ?? null, now.get(mailbox) ?? null));
}

function compareOne(mailbox: string, before: MailboxMark | null, after: MailboxMark | null): MailboxResult {
  const result = (verdict: MailboxResult['verdict'], what: string[]) => ({ mailbox, verdict, what, before, after });
  if (before === null) return result('changed', ['is new']);
  if (after === null) return result('wrong', ['is gone']);
  const wrong: string[] = [];
  if (after.uidValidity !== before.uidValidity)
    wrong.push(`UIDVALIDITY was ${before.uidValidity} and is ${after.uidValidity}: clients download it anew (I4)`);
  if (after.uidNext < before.uidNext)
    wrong.push(`UIDNEXT fell from ${before.uidNext} to ${after.uidNext}: UIDs will name other messages (I5)`);
  if (after.highestModseq < before.highestModseq)
    wrong.push(`HIGHESTMODSEQ fell from ${before.highestModseq} to ${after.highestModseq}: clients miss changes`);
  if (wrong.length > 0) return result('wrong', wrong);
  if (before.digest !== null && before.digest === after.digest && before.messages === after.messages) return result('same', []);
  const grown = after.messages - before.messages;
  if (grown < 0) return result('changed', [`${-grown} messages fewer`]);
  if (grown > 0) return result('grown', [`${grown} messages more`]);
  return before.digest === null || after.digest === null
    ? result('same', ['compared by numbers alone'])
    : result('changed', ['flags or messages differ']);
}

export function acceptanceReport(parts: Omit<AcceptanceReport, 'counts'>): AcceptanceReport {
  const counts = { same: 0, grown: 0, changed: 0, wrong: 0 };
  for (const { verdict } of parts.results) counts[verdict]++;
  return { ...parts, counts };
}

export function acceptanceText(report: AcceptanceReport): string {
  const { pair, from, to, madeAt, downtimeSeconds, results } = report;
  const width = Math.max(7, ...results.map(({ mailbox }) => mailbox.length));
  const lines = results.map(({ mailbox, verdict, what, after }) =>
    `${verdict.padEnd(8)}${mailbox.padEnd(width + 2)}${(after ? String(after.messages) : '-').padStart(8)}  ${what.join('; ')}`.trimEnd(),
  );
  return [
    `Acceptance report of pair ${pair}: ${from} to ${to}, ${madeAt}`,
    `${verdictText(report)}${downtimeSeconds === null ? '' : `; clients waited ${downtimeSeconds.toFixed(1)} s`}`,
    '',
    `${'verdict'.padEnd(8)}${'mailbox'.padEnd(width + 2)}${'messages'.padStart(8)}`,
    ...lines,
    '',
  ].join('\n');
}

function verdictText({ counts, results }: AcceptanceReport): string {
  const { same, grown, changed, wrong } = counts;
  const rest = `${same} the same, ${grown} with new mail, ${changed} changed by their users`;
  return wrong > 0
    ? `NOT ACCEPTED: ${wrong} of ${results.length} mailboxes are wrong; ${rest}`
    : `accepted: ${results.length} mailboxes, ${rest}`;
}

const colours: Record<MailboxResult['verdict'], string> = { same: '#1a7f37', grown: '#0969da', changed: '#9a6700', wrong: '#cf222e' };

export function acceptanceHtml(report: AcceptanceReport): string {
  const { pair, from, to, madeAt, downtimeSeconds, results } = report;
  const cell = (mark: MailboxMark | null, of: (mark: MailboxMark) => number) => `<td class="n">${mark ? of(mark) : '–'}</td>`;
  const rows = results.map(
    ({ mailbox, verdict, what, before, after }) =>
      `<tr><td style="color:${colours[verdict]}">${verdict}</td><td>${escape(mailbox)}</td>${cell(after ?? before, (m) => m.uidValidity)}${cell(before, (m) => m.uidNext)}${cell(after, (m) => m.uidNext)}${cell(before, (m) => m.messages)}${cell(after, (m) => m.messages)}<td>${escape(what.join('; '))}</td></tr>`,
  );
  const waited = downtimeSeconds === null ? '' : ` Clients waited ${downtimeSeconds.toFixed(1)} s.`;
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Acceptance report of ${escape(pair)}</title>
<style>
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em; color: #1f2328; }
table { border-collapse: collapse; } th, td { border-bottom: 1px solid #d0d7de; padding: .3em .8em; text-align: left; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
</style>
<h1>Acceptance report of ${escape(pair)}</h1>
<p>From ${escape(from)} to ${escape(to)}, ${escape(madeAt)}.${waited}</p>
<p><strong>${escape(verdictText(report))}</strong></p>
<table>
<tr><th>verdict</th><th>mailbox</th><th>UIDVALIDITY</th><th>UIDNEXT before</th><th>after</th><th>messages before</th><th>after</th><th>what</th></tr>
${rows.join('\n')}
</table>
</html>
`;
}

/** Mailbox names are written by strangers. */
function escape(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? '').replace(/[\u0000-\u001f\u007f]/g, '\u{fffd}');
}
