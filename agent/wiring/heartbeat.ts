import type { MessageOf, Role } from '../../protocol/messages.ts';
import type { CertificateTold } from '../../protocol/certificate.ts';
import type { QueueReading } from '../../protocol/queue.ts';
import type { Releases } from '../../protocol/releases.ts';
import { doubtsToldMax, laggingToldMax } from '../../protocol/shortfall.ts';
import type { Position } from '../../protocol/position.ts';
import { systemClock } from '../platform/clock.ts';
import { errnoCode, type Files } from '../platform/files.ts';
import { toldOf, type FileSystemTrouble } from '../replicate/file-systems.ts';
import type { Root } from '../replicate/root.ts';

export interface Health {
  changes: number;
  bytes: number;
  ms: number;
  phase: string;
  /** As in `Sender.complete`; false of a standby. */
  complete: boolean;
  /** What only a primary knows. */
  loss: { mailboxes: number | null; messages: number | null; bytes: number | null; filesTotal: number | null } | null;
  unproven: number;
  leftOut: number;
  warnings: string[];
  doubts: MessageOf<'heartbeat'>['doubts'];
  lagging: MessageOf<'heartbeat'>['lagging'];
  laggingCount: number;
  /** What is wrong with the file systems of this node's roots. */
  fileSystems: readonly FileSystemTrouble[];
  active: boolean;
  appliedMs: number | null;
  queue: QueueReading | null;
  certificate: CertificateTold | null;
  releases: Releases | null;
  /** Files of this node that its disk has damaged. */
  damaged: number;
}

/** What this node tells of itself every second. */
export function heartbeatOf(
  role: Role,
  epoch: number,
  files: Files,
  roots: readonly Root[],
  position: Position,
  health: Health,
): MessageOf<'heartbeat'> {
  const whole = (n: number) => Math.max(0, Math.floor(n));
  const space: [string, number, number][] = [];
  for (const root of roots) {
    try {
      const { freeBytes, totalBytes } = files.space(root.path);
      space.push([root.name, whole(freeBytes), whole(totalBytes)]);
    } catch (error) {
      if (errnoCode(error) === undefined) throw error;
    }
  }
  return {
    type: 'heartbeat',
    wallMs: whole(systemClock.wallMs()),
    role,
    epoch,
    position,
    lagChanges: whole(health.changes),
    lagBytes: whole(health.bytes),
    lagMs: whole(health.ms),
    phase: health.phase,
    complete: health.complete,
    lossMailboxes: health.loss?.mailboxes ?? null,
    lossMessages: health.loss?.messages ?? null,
    lossBytes: health.loss?.bytes ?? null,
    filesTotal: health.loss?.filesTotal ?? null,
    appliedMs: whole(health.appliedMs ?? 0),
    active: health.active,
    space,
    unproven: health.unproven,
    leftOut: health.leftOut,
    warnings: health.warnings.slice(0, 50).map((text) => text.slice(0, 1000)),
    doubts: health.doubts.slice(0, doubtsToldMax),
    laggingCount: health.laggingCount,
    lagging: health.lagging.slice(0, laggingToldMax),
    fileSystems: toldOf(health.fileSystems),
    queue: health.queue,
    certificate: health.certificate,
    releases: health.releases,
    damaged: health.damaged,
  };
}
