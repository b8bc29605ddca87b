import { audit, type AuditTotals } from '../../tools/audit/audit.ts';
import { showDifference } from '../../tools/audit/snapshot.ts';
import { AgentPair, type RootPlace } from '../lab/agents.ts';
import { checkRecord } from '../lab/check-record.ts';
import type { Dovecot } from '../lab/dovecot.ts';
import { runLoad, usualUsers, type LoadOptions } from '../lab/imap-load.ts';
import type { Lab, LabHost, LabOptions } from '../lab/lab.ts';
import { differentLinks, differentTrees } from '../lab/trees.ts';

/** A machine that others use as well may take this long; what it takes is no promise of this test. */
const waitSeconds = 240;
/** Less proves little. */
const acknowledgedMin = 150;

export interface Scenario {
  lab: Lab;
  watcher: 'chokidar' | 'fanotify';
  seed: string;
  /** Of load while the pair runs. */
  seconds: number;
  /** Directories of a host's disk that are replicated, each a root of its own. Default: `store`. */
  roots?: readonly string[];
  load?: Partial<LoadOptions>;
}

export interface Findings {
  /** What `verify --deep` printed when it found something. */
  verify: string;
  trees: string[];
  audit: string[];
  audited: AuditTotals;
  /** I1 and I5 by what the clients saw. */
  record: string[];
  /** Of the second Dovecot's log. */
  log: string[];
  agentErrors: string[];
  summary: string;
}

/** What `Findings` holds when the copy is the same. */
export const nothingWrong = { verify: '', trees: [], audit: [], record: [], log: [], agentErrors: [] };

/** One kind of store on one kind of disk, captured by one watcher. */
export interface Copy extends Pick<Scenario, 'watcher' | 'roots'> {
  name: string;
  lab: Omit<LabOptions, 'hosts'>;
  /** Whether the tests make it: the others are made by the soak alone. */
  isInTests: boolean;
}

const memory = { diskDir: '/dev/shm' };

export const copies: readonly Copy[] = [
  { name: 'chokidar, ext4', watcher: 'chokidar', lab: {}, isInTests: true },
  { name: 'fanotify, ext4', watcher: 'fanotify', lab: {}, isInTests: true },
  { name: 'chokidar, tmpfs', watcher: 'chokidar', lab: memory, isInTests: false },
  { name: 'fanotify, tmpfs', watcher: 'fanotify', lab: memory, isInTests: false },
  {
    name: 'fanotify, tmpfs, indexes and control files in roots of their own',
    watcher: 'fanotify',
    lab: { ...memory, mail: { layout: 'maildir++', separate: true } },
    roots: ['store', 'index', 'control'],
    isInTests: true,
  },
  { name: 'chokidar, tmpfs, nested folders', watcher: 'chokidar', lab: { ...memory, mail: { layout: 'fs' } }, isInTests: true },
];

export function rootsOf(host: LabHost, names: readonly string[] = ['store']): RootPlace[] {
  return names.map((name) => ({ name, path: `${host.disk}/${name}` }));
}

/** Differences as lines, and the totals. */
export async function auditBoth(a: Dovecot, b: Dovecot, users: readonly string[]): Promise<{ lines: string[]; totals: AuditTotals }> {
  const endpoint = (server: Dovecot) => ({ ...server.imap, secure: false, user: '', password: server.password });
  const login = (user: string) => ({ a: { user, password: a.password }, b: { user, password: b.password } });
  const steps = audit({ a: endpoint(a), b: endpoint(b), users: users.map(login) });
  const lines: string[] = [];
  for (;;) {
    const step = await steps.next();
    if (step.done) return { lines, totals: step.value };
    lines.push(showDifference(step.value));
  }
}

/**
 * A Dovecot at work on host a, an agent on each host; the pair is introduced while mail comes in. At the end the first
 * server is stopped, and a second one on host b opens what arrived there.
 */
export async function replicate(scenario: Scenario): Promise<Findings> {
  const { lab, watcher, seed } = scenario;
  const times: string[] = [];
  let since = performance.now();
  const lap = (what: string) => {
    times.push(`${what} ${((performance.now() - since) / 1000).toFixed(1)} s`);
    since = performance.now();
  };
  const [a, b] = [lab.host(0), lab.host(1)];
  await a.dovecot.start();
  const record = await runLoad({ dovecot: a.dovecot, seed: `${seed}/before`, seconds: 2, ...scenario.load });
  lap('first load');
  const agent = (host: LabHost) => ({
    node: `mail-${host.name}`,
    dir: `${host.disk}/agent`,
    roots: rootsOf(host, scenario.roots),
    namespace: host.namespace,
    listen: `${host.address}:7420`,
    watcher,
    // This load deletes more in a minute than any office does.
    config: [['massDelete: 20%', 'massDelete: 100%']] as const,
  });
  await using pair = await AgentPair.create({ primary: agent(a), standby: agent(b) });
  lap('pairing');
  const load = runLoad({ dovecot: a.dovecot, seed, seconds: scenario.seconds, acknowledgedMin, record, ...scenario.load });
  try {
    await pair.standby.start();
  } finally {
    await load;
  }
  lap('load');
  await pair.filled(waitSeconds * 1000);
  await pair.primary.cli(['wait', '--timeout', String(waitSeconds)], { timeoutMs: waitSeconds * 1000 + 60_000 });
  lap('wait');
  await a.dovecot.stop();
  lap('stop');
  await pair.wait(waitSeconds);
  lap('wait again');
  const verified = await pair.primary.cli(['verify', '--deep'], { mayFail: true, timeoutMs: waitSeconds * 1000 });
  lap('verify');
  const trees = rootsOf(a, scenario.roots).flatMap((root, i) => differentTrees(root.path, rootsOf(b, scenario.roots)[i]?.path ?? ''));
  const links = rootsOf(a, scenario.roots).flatMap((root, i) => differentLinks(root.path, rootsOf(b, scenario.roots)[i]?.path ?? ''));
  const status = await pair.primary.status();
  const capture = status.capture.watcher;
  await pair.standby.stop();
  await pair.primary.stop();
  lap('trees and stop');

  await a.dovecot.start();
  await b.dovecot.start();
  const { lines, totals } = await auditBoth(a.dovecot, b.dovecot, scenario.load?.users ?? usualUsers);
  lap('audit');
  return {
    verify: verified.code === 0 ? '' : verified.stdout + verified.stderr,
    trees,
    audit: lines,
    audited: totals,
    record: await checkRecord(record, b.dovecot),
    log: [...b.dovecot.alarmingLogLines(), ...b.dovecot.errorLogLines()],
    agentErrors: [...pair.primary.errors(), ...pair.standby.errors(), ...(capture === watcher ? [] : [`the watcher was ${capture}`])],
    summary: `${record.summary()}; audited ${JSON.stringify(totals)}; ${times.join(', ')}; hard links that differ: ${links.length}`,
  };
}
