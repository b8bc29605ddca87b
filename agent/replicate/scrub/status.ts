import type { DamagedFileStatus, ScrubState, Status } from '../../../protocol/control.ts';
import { displayPath } from '../../platform/files.ts';
import type { PeerReading } from '../peer-view.ts';
import type { PrimaryRole } from '../primary/role.ts';
import type { StandbyRole } from '../standby/role.ts';
import type { ScrubStatus } from './scrubber.ts';

interface Roles {
  primary: PrimaryRole | null;
  standby: StandbyRole | null;
}

const shownMax = 200;
const dayMs = 86_400_000;
/** A pass that began late ends late; this much more is a reason to say so. */
const lateTimes = 2.5;
const iso = (wallMs: number): string => new Date(Math.min(wallMs, 8.64e15)).toISOString();

/** Where content is not read again: damage is met by others all the same. */
const off: ScrubStatus = {
  share: null,
  files: 0,
  bytes: 0,
  startedMs: null,
  hurried: false,
  last: null,
  oldestUnprovedMs: null,
  days: 0,
  readBytes: 0,
};

/** How far the reading again is, and what is damaged, whoever found it. */
export function scrubState({ primary, standby }: Roles, reading: PeerReading | null): ScrubState | null {
  if (!primary && !standby) return null;
  const status = (primary?.scrubber ?? standby?.scrubber)?.status ?? off;
  const { share, startedMs, files, bytes, hurried, last, oldestUnprovedMs, days, readBytes } = status;
  return {
    days,
    pass: share === null || startedMs === null ? null : { startedAt: iso(startedMs), share, files, bytes, hurried },
    lastPass: last && {
      startedAt: iso(last.startedMs),
      endedAt: iso(last.endedMs),
      files: last.files,
      bytes: last.bytes,
      found: last.found,
    },
    oldestUnprovedAt: oldestUnprovedMs === null ? null : iso(oldestUnprovedMs),
    readBytes,
    damaged: damagedFiles({ primary, standby }).slice(0, shownMax),
    damagedCount: primary?.damage.count ?? standby?.receiver.damaged.length ?? 0,
    damagedThere: reading?.heartbeat?.damaged ?? null,
    mended: standby?.receiver.mended ?? null,
  };
}

function damagedFiles({ primary, standby }: Roles): DamagedFileStatus[] {
  const here = (primary?.damage.list() ?? []).map(({ root, path, reason, sinceMs, there }): DamagedFileStatus => {
    return { root, path: displayPath(path), reason, since: iso(sinceMs), there };
  });
  const copy = (standby?.receiver.damaged ?? []).map(({ root, path, text, sinceMs }): DamagedFileStatus => {
    return { root, path: displayPath(path), reason: text, since: iso(sinceMs), there: null };
  });
  return [...here, ...copy];
}

const offers = {
  good: 'the standby has the good version',
  unknown: 'whether the standby has the good version is not known yet',
  damaged: 'the standby does not have the good version either',
  missing: 'the standby does not have it',
} as const;

/** What a person has to know of damaged files. Those of a copy are brought again by themselves. */
export function damageWarnings(
  { primary, standby }: Roles,
  { scrub: state, peer }: Pick<Status, 'scrub' | 'peer'>,
  nowMs: number,
): Status['warnings'] {
  const warnings: Status['warnings'] = [];
  if (!state) return warnings;
  const days = state.oldestUnprovedAt === null ? 0 : (nowMs - Date.parse(state.oldestUnprovedAt)) / dayMs;
  if (days > lateTimes * state.days)
    warnings.push({
      code: 'scrub-late',
      text: `content of this node was not read again for ${Math.floor(days)} days, and should be within ${state.days}`,
      remedy: 'let the agent run, raise `scrub.maxRate`, or allow more `scrub.days`',
    });
  const [first] = state.damaged;
  const many = state.damagedCount === 1 ? 'one file of this node is' : `${state.damagedCount} files of this node are`;
  if (first && primary)
    warnings.push({
      code: 'damaged-here',
      text: `${many} damaged on the disk, for example ${first.root}/${first.path}: ${first.reason}; ${offers[first.there ?? 'unknown']}`,
      remedy:
        first.there === 'damaged' || first.there === 'missing'
          ? 'look at the disk of this node; bring the file back from a backup; what the standby keeps of it is in its history'
          : `look at the disk of this node, then bring the good version back: \`mailtwin scrub restore ${quoted(`${first.root}/${first.path}`)}\``,
    });
  if (first && standby)
    warnings.push({
      code: 'damaged-copy',
      text: `${many} damaged on the disk and not brought again yet, for example ${first.root}/${first.path}: ${first.reason}`,
      remedy: 'look at the disk of this node; the primary brings them again by itself, unless its own are damaged, too',
    });
  if (standby && state.damagedThere !== null && state.damagedThere > 0)
    warnings.push({
      code: 'damaged-there',
      text: `${state.damagedThere} ${state.damagedThere === 1 ? 'file is' : 'files are'} damaged on the disk of ${peer.node ?? 'the primary'}; this copy keeps what it has of them`,
      remedy: `run \`mailtwin scrub\` on ${peer.node ?? 'the primary'}, which names them`,
    });
  return warnings;
}

/** A word of a shell. */
function quoted(text: string): string {
  return /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
