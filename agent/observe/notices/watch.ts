import type { Status } from '../../../protocol/control.ts';
import type { Notice } from './notice.ts';

/**
 * What has changed between two looks at the agent, pure: the last memory and the present reading in, notices and the
 * new memory out.
 *
 * What happens once (a role, a takeover, a verification) is told at once. What lasts (a lost peer, a full disk) is told
 * when it has lasted `graceMs`, once, and again when it has been over for as long, so that a flapping line is two notices.
 */

export interface Reading {
  status: Status;
  /** Fence levels that cannot read the other node's power state; null = not probed, or none configured. */
  fence: { broken: number; total: number; detail: string } | null;
  /** The last takeover of this node that came to an end. */
  takeover: { id: string; kind: string; outcome: string; summary: string } | null;
  /** Addresses of this node that somebody else answers for, and the like. */
  alarms: readonly { code: string; text: string; remedy: string }[];
}

/** What is kept over a restart: plain JSON. */
export interface Memory {
  role: string;
  epoch: number;
  active: boolean;
  verifyAt: string | null;
  takeover: string | null;
  /** Conditions that were told and are not over. */
  told: Record<string, { level: 'bad' | 'warn'; text: string }>;
}

/** What is counted since this process started; monotonic milliseconds, so it is not kept. */
export interface Pending {
  /** Since when a condition that was not told stands. */
  begun: Record<string, number>;
  /** Since when a condition that was told is over. */
  over: Record<string, number>;
}

export const nothingPending: Pending = { begun: {}, over: {} };

interface Condition {
  level: 'bad' | 'warn';
  text: string;
  remedy: string;
}

const activeKey = 'active';
const toldMax = 100;
const textMax = 600;
/** Told before the agent itself refuses to take more. */
const diskTimes = 2;
/** What the peer warns of is told by the peer. */
const notOurs = new Set(['peer']);
const worst = new Set([
  'damaged-here',
  'damaged-copy',
  'mass-delete',
  'put-back',
  'no-space',
  'state-full',
  'state-unwritable',
  'store-damaged',
  'root-missing',
  'root-changed',
  'mount-missing',
  'mount-changed',
  'stuck',
  'fenced',
  'yielded',
  'rival',
  'not-down',
  'started-by-others',
  'activation-failed',
  'takeover-unfinished',
  'address-conflict',
  'address-missing',
  'address-flapping',
]);

export function look(
  memory: Memory | null,
  pending: Pending,
  reading: Reading,
  options: { nowMs: number; graceMs: number; freeBytesMin: number },
): { memory: Memory; pending: Pending; notices: Notice[] } {
  const { status } = reading;
  const notices: Notice[] = [];
  const say = (level: Notice['level'], code: string, text: string, remedy = '') =>
    void notices.push({ level, code, at: status.at, text: text.slice(0, textMax), remedy: remedy.slice(0, textMax) });
  if (memory) tellEvents(memory, reading, say);
  const { nowMs, graceMs } = options;
  const now = conditions(reading, options.freeBytesMin);
  const told = { ...memory?.told };
  const next: Pending = { begun: {}, over: {} };
  for (const [code, { level, text, remedy }] of now) {
    if (told[code]) continue;
    const since = pending.begun[code] ?? nowMs;
    if (nowMs - since < graceMs || Object.keys(told).length >= toldMax) next.begun[code] = since;
    else {
      told[code] = { level, text: text.slice(0, textMax) };
      say(level, code, text, remedy);
    }
  }
  for (const [code, { text }] of Object.entries(told)) {
    if (now.has(code)) continue;
    const since = pending.over[code] ?? nowMs;
    if (nowMs - since < graceMs) next.over[code] = since;
    else {
      delete told[code];
      say('good', code, `over: ${text}`);
    }
  }
  const { role, epoch, active, node } = status;
  let servesAsTold = memory?.active ?? active;
  if (servesAsTold !== active) {
    // A restart of the agent is no event.
    const since = pending.begun[activeKey] ?? nowMs;
    if (nowMs - since < graceMs) next.begun[activeKey] = since;
    else {
      servesAsTold = active;
      say(active ? 'info' : 'warn', 'active', active ? `${node} is active: it serves the clients` : `${node} is not active any more`);
    }
  }
  return {
    memory: { role, epoch, active: servesAsTold, verifyAt: status.lastVerify?.at ?? null, takeover: reading.takeover?.id ?? null, told },
    pending: next,
    notices,
  };
}

function tellEvents(
  before: Memory,
  { status, takeover }: Reading,
  say: (level: Notice['level'], code: string, text: string, remedy?: string) => void,
): void {
  const { node, role, epoch, lastVerify } = status;
  if (before.role !== role)
    say(
      role === 'fenced' ? 'bad' : 'info',
      'role',
      `${node} was ${before.role} and is ${role} now, epoch ${epoch}`,
      role === 'fenced' ? 'when it was the primary: `mailtwin rejoin` on it brings back what only it has' : '',
    );
  if (takeover && takeover.id !== before.takeover)
    say(takeover.outcome === 'done' ? 'good' : 'bad', 'takeover', `${takeover.kind}: ${takeover.outcome}. ${takeover.summary}`);
  if (lastVerify && lastVerify.at !== before.verifyAt && lastVerify.result === 'incomplete')
    say(
      'warn',
      'verify',
      `a verification found no difference, except ${lastVerify.leftOut} places that are left out or held`,
      'see `mailtwin status` on the primary, which names them',
    );
  else if (lastVerify && lastVerify.at !== before.verifyAt && lastVerify.result !== 'clean')
    say(
      'bad',
      'verify',
      lastVerify.result === 'different'
        ? `a verification found ${lastVerify.differences} differences`
        : 'a verification could not be finished',
      'run `mailtwin verify` again; what differs is sent anew',
    );
}

function conditions({ status, fence, alarms }: Reading, freeBytesMin: number): Map<string, Condition> {
  const found = new Map<string, Condition>();
  const add = (code: string, level: 'bad' | 'warn', text: string, remedy: string) => {
    if (!found.has(code)) found.set(code, { level, text, remedy });
  };
  for (const { code, text, remedy } of [...alarms, ...status.warnings])
    if (!notOurs.has(code)) add(code, worst.has(code) ? 'bad' : 'warn', text, remedy);
  // That the copy is not complete yet is told by itself.
  if (status.canTakeOver?.can === false && status.role === 'standby' && status.possibleLoss.complete)
    add(
      'cannot-take-over',
      'bad',
      `${status.node} could not take over now: ${status.canTakeOver.reasons.map(({ guard, text }) => `${guard}: ${text}`).join('; ')}`,
      status.canTakeOver.reasons.map(({ remedy }) => remedy).join('; '),
    );
  if (fence && fence.broken > 0)
    add(
      'fence-path',
      fence.broken === fence.total ? 'bad' : 'warn',
      `${fence.broken} of ${fence.total} fence levels cannot read the power of the other node: ${fence.detail}`,
      'look at the BMC or outlet: `mailtwin fence test`; until it is mended a failover needs a person who proves the other node off',
    );
  for (const { name, freeBytes } of status.roots)
    if (freeBytes !== null && freeBytes < freeBytesMin * diskTimes)
      add(
        'disk',
        freeBytes < freeBytesMin ? 'bad' : 'warn',
        `root ${name} has ${(freeBytes / 1e9).toFixed(2)} GB free`,
        'make room or grow the file system; replication pauses when there is too little',
      );
  return found;
}
