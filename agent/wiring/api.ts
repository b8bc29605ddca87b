import { exitCodes, type StreamLine } from '../../protocol/control.ts';
import type { Message } from '../../protocol/messages.ts';
import type { SalvageCounts } from '../../protocol/salvage.ts';
import type { AgentApi } from '../control/api.ts';
import type { PairingServer } from '../link/pairing-server.ts';
import type { NetworkControl } from '../network/network.ts';
import { systemClock } from '../platform/clock.ts';
import { OperatorError } from '../platform/errors.ts';
import { displayPath, joinPath } from '../platform/files.ts';
import type { Log } from '../platform/log.ts';
import { notCompared, type NotCompared } from '../replicate/primary/not-compared.ts';
import type { PrimaryRole, VerifyDifference } from '../replicate/primary/role.ts';
import type { StandbyRole } from '../replicate/standby/role.ts';
import { buildStatus, readLastVerify, saveLastVerify, type StatusParts } from '../replicate/status.ts';
import { testFencing, type FenceParts } from './fence.ts';
import { acceptRoots, allowDelete, type Audit } from './held.ts';
import { Lines } from './lines.ts';
import type { Migrate } from './migrate.ts';
import { nicsApi } from './nics.ts';
import type { Takeover } from './takeover/takeover.ts';
import type { RunningRole } from './roles.ts';
import type { KeepRequest } from './put-back/keep.ts';
import type { RejoinRequest } from './salvage/rejoin.ts';
import { scrubApi } from './scrub.ts';
import type { Salvage } from './salvage/salvage.ts';

export interface ApiParts {
  statusParts: () => StatusParts;
  running: () => RunningRole;
  /** Says something to the other node, when it is connected. */
  tellPeer: (message: Message) => void;
  pairing: PairingServer;
  fence: FenceParts;
  network: NetworkControl;
  node: string;
  takeover: Takeover;
  migrate: Migrate;
  metrics: () => Promise<string>;
  audit: Audit;
  salvage: Salvage;
  keepThisStore: (request: KeepRequest, push: (line: StreamLine) => void, signal: AbortSignal) => Promise<void>;
  rejoin: (request: RejoinRequest, push: (line: StreamLine) => void, signal: AbortSignal) => Promise<void>;
  notifyTest: AgentApi['notifyTest'];
  log: Log;
  stop: () => void;
}

const verifyWaitMs = 60_000;
const shownMax = 1000;

/** What the control socket can ask of this agent. */
export function agentApi(parts: ApiParts): AgentApi {
  const { statusParts, running, pairing } = parts;
  return {
    status: () => buildStatus(statusParts()),
    wait: (timeoutSeconds, signal) =>
      Lines.of(signal, async (push) => {
        const primary = onPrimary(running());
        let last = 0;
        await primary.wait(timeoutSeconds * 1000, signal, (open) => {
          const now = systemClock.monotonicMs();
          if (now - last < 200) return;
          last = now;
          push({ kind: 'progress', done: 0, total: null, text: `${open} changes are not yet durable on the standby` });
        });
        const { count, texts } = notCompared(primary);
        const except = count > 0 ? `, except ${count} left out or held: ${texts.join('; ')}` : '';
        push({
          kind: 'done',
          summary: `all that changed before the call is durable on the standby${except}`,
          exitCode: exitCodes.done,
          facts: { leftOut: count },
        });
      }),
    verify: (deep, signal) =>
      Lines.of(signal, async (push) => {
        const { primary, standby } = running();
        if (primary) await verifyPair(statusParts(), primary, parts.tellPeer, deep, signal, push);
        else if (standby) await verifyStandby(statusParts(), standby, deep, signal, push);
        else throw new OperatorError('fenced', 'this node was replaced and is kept as it is', 'run `mailtwin rejoin` first', 3);
      }),
    ...scrubApi(running, parts.audit),
    offerPairing(replace) {
      return pairing.offer({ replace });
    },
    pairingResult: (signal) =>
      Lines.of(signal, async (push) => {
        const outcome = await pairing.result(signal, (text) => push({ kind: 'progress', done: 0, total: null, text }));
        if (outcome.kind === 'failed')
          throw new OperatorError(outcome.code, outcome.detail, 'make a new code with `mailtwin pair`', exitCodes.failed);
        push({
          kind: 'done',
          summary: `paired with ${outcome.peer.node}, key ${outcome.peer.fingerprint}`,
          exitCode: exitCodes.done,
          facts: { pair: outcome.peer.pair, node: outcome.peer.node, fingerprint: outcome.peer.fingerprint },
        });
      }),
    allowDelete: async (request) => allowDelete(onPrimary(running()), request, parts.audit),
    acceptRoots: async (request) =>
      acceptRoots(
        running().disks,
        running().roots.map(({ name }) => name),
        request,
        parts.audit,
      ),
    fenceTest: (signal) => Lines.of(signal, (push) => testFencing(parts.fence, signal, push)),
    ...nicsApi(parts.network, parts.node),
    takeoverPlan: (request) => parts.takeover.plan(request, new AbortController().signal),
    takeoverRun: (request, signal) => Lines.of(signal, (push) => parts.takeover.run(request, push, signal)),
    takeoverLast: () => parts.takeover.last(),
    salvage: ({ apply, by }, signal) =>
      Lines.of(signal, async (push) => {
        const counts = await parts.salvage.run(apply, by, push, signal);
        push({
          kind: 'done',
          summary: salvageSummary(counts, apply),
          exitCode: counts.missing > 0 ? exitCodes.failed : exitCodes.done,
          facts: { ...counts },
        });
      }),
    keepThisStore: (request, signal) => Lines.of(signal, (push) => parts.keepThisStore(request, push, signal)),
    rejoin: (request, signal) => Lines.of(signal, (push) => parts.rejoin(request, push, signal)),
    metrics: async () => ({ text: await parts.metrics() }),
    migrateStatus: () => parts.migrate.status(),
    migrateSnapshot: (file) => parts.migrate.snapshot(file),
    migrateReport: (file) => parts.migrate.report(file),
    notifyTest: parts.notifyTest,
    stop: parts.stop,
  };
}

function salvageSummary({ missing, brought, there, placed, shown, differs }: SalvageCounts, apply: boolean): string {
  const had = `${there + placed} had arrived already`;
  const rest = `${shown} changes are only shown${differs > 0 ? `, ${differs} files differ and stay as they are there` : ''}`;
  if (apply) return `${brought} brought to the active node, ${had}; ${rest}`;
  return missing === 0
    ? `nothing is only here: ${had}; ${rest}`
    : `${missing} are only here: \`mailtwin salvage --apply\` brings them to the active node; ${had}; ${rest}`;
}

function onPrimary(running: RunningRole): PrimaryRole {
  if (!running.primary)
    throw new OperatorError('wrong-role', 'this node is the standby; the command works on the primary', 'run it on the primary', 3);
  return running.primary;
}

async function verifyPair(
  status: StatusParts,
  primary: PrimaryRole,
  tellPeer: ApiParts['tellPeer'],
  deep: boolean,
  signal: AbortSignal,
  push: (line: StreamLine) => void,
): Promise<void> {
  if (!primary.peer.connected)
    throw new OperatorError('disconnected', 'the standby is not connected', 'see `mailtwin status` for the reason');
  try {
    const report = await primary.verify(deep, verifyWaitMs, signal, ({ files, total, what }) =>
      push({ kind: 'progress', done: files, total, text: what }),
    );
    for (const { node, root, path, what } of report.differences.slice(0, shownMax)) {
      push({ kind: 'difference', root, path: displayPath(path), what: node === 'pair' ? what : `on the ${node} it ${what}` });
    }
    conclude(status, deep, report, push, {
      clean: 'both nodes hold the same',
      next:
        primary.damage.count > 0
          ? 'what this node has damaged is not sent: `mailtwin scrub` names it; other differences are sent again, so run verify once more'
          : 'what differs is sent again, so run verify once more',
      left: withDamage(notCompared(primary), primary, report.differences),
    });
    const verified = readLastVerify(status.kv);
    if (verified) tellPeer({ type: 'verified', ...verified });
  } catch (error) {
    if (!signal.aborted)
      saveLastVerify(status.kv, { at: new Date(systemClock.wallMs()).toISOString(), result: 'failed', deep, differences: 0, leftOut: 0 });
    throw error;
  }
}

/** What is known to be damaged here is not the same over there, although a comparison that reads nothing finds no difference. */
function withDamage(left: NotCompared, { damage, unproven }: PrimaryRole, found: readonly VerifyDifference[]): NotCompared {
  if (damage.count === 0) return left;
  const told = new Set([...found, ...unproven.list()].map(({ root, path }) => joinPath(root, path)));
  const files = damage.list().filter(({ root, path }) => !told.has(joinPath(root, path)));
  const [first] = files;
  if (!first) return left;
  const text = `${files.length} damaged on the disk of this node, for example ${joinPath(first.root, displayPath(first.path))}: \`mailtwin scrub\` names them`;
  return { ...left, count: left.count + files.length, texts: [...left.texts, text] };
}

/** On the standby: its disk against what it was sent. Whether that is what the primary has, only the primary's verify tells. */
async function verifyStandby(
  status: StatusParts,
  standby: StandbyRole,
  deep: boolean,
  signal: AbortSignal,
  push: (line: StreamLine) => void,
): Promise<void> {
  const progress = { files: 0, bytes: 0 };
  const total = status.roots.reduce((sum, root) => sum + status.index.totals(root.name).files, 0);
  let found = 0;
  let last = 0;
  const before = standby.receiver.position.checksum;
  const mark = standby.receiver.foreign.mark();
  for await (const { root, path, what } of standby.audit(deep, progress, signal)) {
    found++;
    if (found <= shownMax) push({ kind: 'difference', root, path: displayPath(path), what: `on the standby it ${what}` });
    if (progress.files - last > 1000) push({ kind: 'progress', done: (last = progress.files), total, text: 'files compared' });
  }
  if (standby.receiver.position.checksum !== before && found > 0) {
    throw new OperatorError(
      'moving',
      'mail came in during the comparison, so what was found may only have been on its way',
      'run `mailtwin verify` on the primary: it compares both nodes at rest',
    );
  }
  // All is as the index says: what somebody wrote was undone or replaced.
  if (found === 0) standby.receiver.foreign.forget(mark);
  const heartbeat = standby.peer.connected ? standby.peer.reading?.heartbeat : null;
  const count = heartbeat?.leftOut ?? 0;
  conclude(status, deep, { ...progress, total: found }, push, {
    clean: 'this standby holds what it was sent',
    next: 'run `mailtwin verify` on the primary, which has it sent again',
    left: { count, texts: count > 0 ? ['`mailtwin status` on the primary names them'] : [], byDesign: [] },
  });
}

function conclude(
  status: StatusParts,
  deep: boolean,
  report: { files: number; bytes: number; total: number },
  push: (line: StreamLine) => void,
  { clean, next, left }: { clean: string; next: string; left: NotCompared },
): void {
  const { files, bytes, total } = report;
  const result = total > 0 ? 'different' : left.count > 0 ? 'incomplete' : 'clean';
  saveLastVerify(status.kv, {
    at: new Date(systemClock.wallMs()).toISOString(),
    result,
    deep,
    differences: total,
    leftOut: left.count,
  });
  const compared = `${files} comparisons${deep ? `, ${bytes} bytes read` : ''}, no difference`;
  const design = left.byDesign.length > 0 ? `; left out by design: ${left.byDesign.join(', ')}` : '';
  const except = `${left.count} ${left.count === 1 ? 'place that is' : 'places that are'} left out or held: ${left.texts.join('; ')}`;
  const summaries = {
    clean: `${clean}: ${compared}${design}`,
    incomplete: `${clean}, except ${except} (${compared})${design}`,
    different: `${total} ${total === 1 ? 'difference' : 'differences'}; ${next}${left.count > 0 ? `; not compared: ${except}` : ''}`,
  };
  const codes = { clean: exitCodes.done, incomplete: exitCodes.incomplete, different: exitCodes.failed };
  push({
    kind: 'done',
    summary: summaries[result],
    exitCode: codes[result],
    facts: { files, bytes, differences: total, leftOut: left.count, result, deep },
  });
}
