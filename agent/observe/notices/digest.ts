import type { DoctorFinding, Status } from '../../../protocol/control.ts';
import { queueText } from '../../../protocol/queue.ts';

/** When the daily digest is due, and what it says. Pure: what the local calendar shows is handed in. */

/** The moment as a wall calendar and a wall clock show it, for example `2026-03-29` and 180 (03:00). */
export interface LocalTime {
  day: string;
  minute: number;
}

export function localTime(wallMs: number): LocalTime {
  const at = new Date(wallMs);
  const two = (n: number) => String(n).padStart(2, '0');
  return { day: `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`, minute: at.getHours() * 60 + at.getMinutes() };
}

/**
 * Once for each local day, at the time or as soon after it as the agent runs. A day without that time (clocks go forward)
 * has its digest right after the gap, a day that has it twice has one, and a clock that is set back sends none again.
 */
export function isDigestDue(lastDay: string | null, now: LocalTime, atMinute: number): boolean {
  return lastDay !== null && now.day > lastDay && now.minute >= Math.min(atMinute, 24 * 60 - 1);
}

/** The day that counts as told when an agent begins: today's digest still comes when its time is ahead. */
export function firstDay(now: LocalTime, atMinute: number): string {
  return now.minute < atMinute ? '' : now.day;
}

export interface DigestFacts {
  status: Status;
  /** State of the mail services; null where the agent runs none. */
  services: string | null;
  /** Fence levels that can be read, as text; null where none are configured. */
  fence: string | null;
  /** What the doctor last found wrong; null when it was not asked. */
  findings: readonly DoctorFinding[] | null;
  /** How many notices went since the last digest. */
  told: number;
}

export interface Digest {
  /** True when nothing needs anybody. */
  isWell: boolean;
  headline: string;
  lines: string[];
}

export function digestOf({ status, services, fence, findings, told }: DigestFacts): Digest {
  const { node, role, active, epoch, peer, replication, lastVerify, roots, warnings } = status;
  const failed = (findings ?? []).filter(({ level }) => level === 'fail');
  const { verdict } = status;
  const isWell = verdict.level === 'good' && failed.length === 0;
  const lag =
    replication.lagSeconds === null ? 'not known' : `${replication.lagSeconds.toFixed(1)} s, ${replication.lagChanges ?? 0} changes`;
  const lines = [
    `node       ${node}: ${role}, ${active ? 'active' : 'not active'}, epoch ${epoch}, mailtwin ${status.agentVersion}`,
    `peer       ${peer.node ?? 'none'}: ${peer.connected ? `connected, ${peer.role ?? 'role not known'}` : `NOT connected, last heard ${peer.lastHeardAt ?? 'never'}`}`,
    `stream     ${replication.phase}${replication.held ? `, HELD: ${replication.held.detail}` : ''}`,
    `lag        ${lag}`,
    `unproven   ${replication.unproven.length === 0 ? 'none' : `${replication.unproven.length} places`}`,
    `verify     ${lastVerify ? `${lastVerify.result} at ${lastVerify.at}, ${lastVerify.differences} differences, ${lastVerify.leftOut} places left out` : 'never'}`,
    ...roots.map(
      ({ name, files, bytes, freeBytes }) =>
        `disk       ${name}: ${files} files, ${gigabytes(bytes)}, ${freeBytes === null ? 'free space not known' : `${gigabytes(freeBytes)} free`}`,
    ),
    ...status.queues.map((queue) => `mail queue ${queueText(queue.node, queue)}`),
    ...status.certificates.map(
      ({ name, endsAt, problem }) => `certificate ${name}: ${problem ?? `until ${endsAt?.slice(0, 10) ?? 'an unknown day'}`}`,
    ),
    `services   ${services ?? 'not run by the agent'}`,
    `fencing    ${fence ?? 'not configured'}`,
    `notices    ${told} since the last digest`,
    ...warnings.flatMap(({ code, text, remedy }) => ['', `WARNING ${code}: ${text}`, `  what to do: ${remedy}`]),
    ...failed.flatMap(({ id, summary, evidence, remedy }) => ['', `DOCTOR ${id}: ${summary} (${evidence})`, `  what to do: ${remedy}`]),
  ];
  const problems = warnings.length + failed.length;
  return {
    isWell,
    headline: isWell || failed.length === 0 ? verdict.text : `${problems} thing${problems === 1 ? '' : 's'} to look at`,
    lines,
  };
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
