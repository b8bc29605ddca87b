import { readFileSync } from 'node:fs';
import type { DoctorFinding, Status } from '../../protocol/control.ts';
import type { MigrateReport, MigrateStatus } from '../../protocol/migrate.ts';
import { acceptanceHtml, acceptanceReport, acceptanceText, compareMarks, type MailboxMark } from '../failover/acceptance.ts';
import { migrateStatus } from '../failover/migrate-status.ts';
import type { UpgradeFacts } from '../failover/upgrade-status.ts';
import { survey } from '../mailstore/survey.ts';
import type { NetworkControl } from '../network/network.ts';
import { sleep, systemClock } from '../platform/clock.ts';
import { writeDurable } from '../platform/durable-file.ts';
import { OperatorError } from '../platform/errors.ts';
import { displayPath, joinPath, type Files } from '../platform/files.ts';
import type { PeerReading } from '../replicate/peer-view.ts';
import type { Root } from '../replicate/root.ts';
import type { ReleaseReader } from '../services/releases.ts';

export interface MigrateParts {
  status: () => Status;
  network: NetworkControl;
  files: Files;
  roots: () => readonly Root[];
  /** The last takeover on this node: seconds that its steps with services took; null = not known. */
  serviceSeconds: () => number | null;
  releases: ReleaseReader;
  /** What the other node last said. */
  peer: () => PeerReading | null;
  /** What the doctor finds of this node's mail server, now. */
  checkMailServer: () => Promise<readonly DoctorFinding[]>;
}

interface Snapshot {
  mailtwin: 'snapshot';
  version: 1;
  node: string;
  pair: string;
  at: string;
  mailboxes: MailboxMark[];
}

/** Long enough to tell how fast the fill is, short enough to wait for. */
const measuredMs = 2000;

/** The commands around a move to new hardware. */
export class Migrate {
  readonly #p: MigrateParts;

  constructor(parts: MigrateParts) {
    this.#p = parts;
  }

  async status(): Promise<MigrateStatus> {
    const { status, network, serviceSeconds } = this.#p;
    const bytesPerSecond = await this.#fillRate();
    const upgrade = await this.#upgrade();
    const proofs = network.configured ? await network.proveSegments() : null;
    const { pair, replication: r, peer, role, lastVerify, agentVersion, mailServer } = status();
    return migrateStatus({
      paired: pair !== null,
      fill: r.fill
        ? { complete: false, ...r.fill }
        : { complete: r.phase === 'streaming', filesDone: 0, filesTotal: null, bytesDone: 0, bytesTotal: null },
      bytesPerSecond,
      replication:
        r.lagChanges === null || r.lagBytes === null || r.lagSeconds === null
          ? null
          : { connected: peer.connected, phase: r.phase, lagChanges: r.lagChanges, lagBytes: r.lagBytes, lagSeconds: r.lagSeconds },
      roles: (proofs ?? []).map((proof) => ({ name: proof.role, mapped: proof.port !== null, proven: proof.level === 'pass' })),
      versions:
        peer.agentVersion === null || !peer.connected
          ? null
          : {
              agentOlder: isOlder(agentVersion, peer.agentVersion),
              agentNewer: isOlder(peer.agentVersion, agentVersion),
              serverOlder: mailServer !== null && peer.mailServer !== null && isOlder(mailServer, peer.mailServer),
              text: `mailtwin ${agentVersion} here, ${peer.agentVersion} there; ${mailServer ?? 'no mail server'} here, ${peer.mailServer ?? 'none known'} there`,
            },
      verify: lastVerify && {
        result: lastVerify.result,
        secondsAgo: Math.max(0, (systemClock.wallMs() - Date.parse(lastVerify.at)) / 1000),
      },
      role,
      serviceSeconds: serviceSeconds(),
      upgrade,
    });
  }

  async #upgrade(): Promise<UpgradeFacts> {
    const { status, releases, peer, roots, checkMailServer } = this.#p;
    const own = await releases.read();
    const { node, role, peer: told, possibleLoss, appliance } = status();
    const reading = peer();
    return {
      own: { node, role, releases: own },
      peer: reading && {
        node: reading.node,
        role: reading.role,
        releases: reading.heartbeat?.releases ?? null,
        connected: told.connected,
        heardAt: new Date(reading.heardWallMs).toISOString(),
      },
      formats: roots().map(({ format }) => format.name),
      copyComplete: possibleLoss.complete,
      unfinished: appliance?.takeover.unfinished ?? null,
      findings: role === 'standby' ? await checkMailServer() : null,
    };
  }

  /** Null while nothing is being filled, or nothing moves. */
  async #fillRate(): Promise<number | null> {
    const before = this.#p.status().replication.fill;
    if (!before) return null;
    const sinceMs = systemClock.monotonicMs();
    await sleep(systemClock, measuredMs);
    const after = this.#p.status().replication.fill;
    const bytes = (after?.bytesDone ?? 0) - before.bytesDone;
    return bytes > 0 ? (bytes * 1000) / (systemClock.monotonicMs() - sinceMs) : null;
  }

  /** Writes what every mailbox is now, for a report after the move. @throws OperatorError when the file cannot be written. */
  async snapshot(file: string): Promise<{ mailboxes: number; messages: number }> {
    const { node, pair } = this.#p.status();
    const mailboxes = await this.#marks();
    const snapshot: Snapshot = {
      mailtwin: 'snapshot',
      version: 1,
      node,
      pair: pair ?? '',
      at: new Date(systemClock.wallMs()).toISOString(),
      mailboxes,
    };
    try {
      writeDurable(file, `${JSON.stringify(snapshot)}\n`);
    } catch (error) {
      throw new OperatorError(
        'snapshot-file',
        `${file} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
        'name another file',
      );
    }
    return { mailboxes: mailboxes.length, messages: mailboxes.reduce((sum, { messages }) => sum + messages, 0) };
  }

  /** Compares every mailbox with a snapshot. @throws OperatorError when the file is none. */
  async report(file: string): Promise<MigrateReport> {
    const before = readSnapshot(file);
    const { node } = this.#p.status();
    const report = acceptanceReport({
      pair: before.pair,
      from: before.node,
      to: node,
      madeAt: new Date(systemClock.wallMs()).toISOString(),
      downtimeSeconds: this.#p.serviceSeconds(),
      results: compareMarks(before.mailboxes, await this.#marks()),
    });
    return { text: acceptanceText(report), html: acceptanceHtml(report), counts: report.counts };
  }

  async #marks(): Promise<MailboxMark[]> {
    const marks: MailboxMark[] = [];
    for (const root of this.#p.roots()) {
      if (root.format.name !== 'maildir') continue;
      for (const { mailbox, uidValidity, uidNext, highestModseq, messages, digest } of survey(
        this.#p.files,
        root.path,
        root.format.excluded,
      )) {
        marks.push({ mailbox: displayPath(joinPath(root.name, mailbox)), uidValidity, uidNext, highestModseq, messages, digest });
        await systemClock.yield();
      }
    }
    return marks;
  }
}

function readSnapshot(file: string): Snapshot {
  const bad = (what: string) =>
    new OperatorError('snapshot-file', `${file} ${what}`, 'make one with `mailtwin migrate snapshot FILE` before the move', 2);
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw bad(`cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  const snapshot = value as Partial<Snapshot> | null;
  if (snapshot?.mailtwin !== 'snapshot' || snapshot.version !== 1 || !Array.isArray(snapshot.mailboxes)) throw bad('is no snapshot');
  return snapshot as Snapshot;
}

/** By the numbers in them: `0.9.0` is older than `0.10.0`, `dovecot 2.3.19` than `dovecot 2.3.21`. */
function isOlder(mine: string, theirs: string): boolean {
  const [a, b] = [mine, theirs].map((text) => (text.match(/\d+/g) ?? []).map(Number));
  for (let i = 0; i < Math.max(a?.length ?? 0, b?.length ?? 0); i++) {
    const difference = (a?.[i] ?? 0) - (b?.[i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
