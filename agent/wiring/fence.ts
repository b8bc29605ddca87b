import { randomUUID } from 'node:crypto';
import { exitCodes, type LevelReading, type StreamLine } from '../../protocol/control.ts';
import type { Config } from '../config/config.ts';
import { createFencing, noFencing, type Fencing } from '../fencing/fencing.ts';
import { FenceProbe } from '../fencing/probe.ts';
import type { Identity } from '../link/identity.ts';
import { systemClock } from '../platform/clock.ts';
import { exec } from '../platform/exec.ts';
import type { Log } from '../platform/log.ts';
import { realFiles } from '../platform/real-files.ts';

/** What this node has to switch the other one off. */
export interface FenceParts {
  fencing: Fencing;
  /** Not started. */
  probe: FenceProbe;
}

export function makeFencing(config: Config, identity: Identity, log: Log): FenceParts {
  const { keyPem } = identity;
  const clock = systemClock;
  const fencing = createFencing({
    levels: config.fencing,
    node: config.node,
    keyPem,
    exec,
    files: realFiles,
    clock,
    log,
    newId: randomUUID,
  });
  return { fencing, probe: new FenceProbe({ fencing, clock, log }) };
}

/** `mailtwin fence test`: exit code 0 when at least one level that needs neither the peer nor a person can read the state. */
export async function testFencing({ fencing, probe }: FenceParts, signal: AbortSignal, push: (line: StreamLine) => void): Promise<void> {
  const total = fencing.levels.length;
  if (total === 0) throw noFencing(exitCodes.failed);
  const readings: LevelReading[] = [];
  const begin = () => {
    const next = fencing.levels[readings.length];
    if (next) push({ kind: 'progress', done: readings.length, total, text: `reading level ${next.level}, ${next.name}` });
  };
  begin();
  for await (const reading of fencing.test(signal)) {
    readings.push(reading);
    probe.note(reading);
    begin();
  }
  const automatic = readings.filter(({ type }) => type === 'agent' || type === 'command' || type === 'all');
  const readable = automatic.filter(({ state }) => state !== 'unknown').length;
  push({
    kind: 'done',
    summary: `${readable} of ${automatic.length} automatic fence levels can read the power state of the other node`,
    exitCode: readable > 0 ? exitCodes.done : exitCodes.failed,
    facts: { readings },
  });
}
