import type { MessageOf, Role } from '../../protocol/messages.ts';
import type { Position } from '../../protocol/position.ts';
import { systemClock } from '../platform/clock.ts';
import { errnoCode, type Files } from '../platform/files.ts';
import type { Root } from '../replicate/root.ts';

export interface Health {
  changes: number;
  bytes: number;
  ms: number;
  phase: string;
  unproven: number;
  warnings: string[];
  active: boolean;
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
    active: health.active,
    space,
    unproven: health.unproven,
    warnings: health.warnings.slice(0, 50).map((text) => text.slice(0, 1000)),
  };
}
