import { decode, encode } from '../../protocol/codec.ts';

import type { MessageOf } from '../../protocol/messages.ts';
import { ProtocolError } from '../../protocol/ops.ts';
import { metaKey } from '../journal/keys.ts';
import type { Clock } from '../platform/clock.ts';
import type { Kv, KvWrite } from '../platform/kv.ts';
import type { PeerReading } from './peer-view.ts';

/**
 * What a standby last heard of its primary, over a restart: on the morning after a crash nobody else can tell.
 *
 * - `lastHeard.read()`: what was heard before this process began; null when nothing was.
 * - `lastHeard.note(reading)`: keeps it, not at each heartbeat: at once when it says something else than before, and every
 *   five seconds when only time passes.
 * - `lastHeard.end(reading)`: keeps it at once.
 * - `forgetLastHeard()`: for a node that becomes primary; what it heard as a standby is over.
 */

const key = metaKey('last-heard');
const everyMs = 5000;
/** Of what a heartbeat names, more is not needed to show what is wrong. */
const namedMax = 20;

/** `frame`: the heartbeat as the wire has it, base64; another release may not know its form any more. */
type Stored = Omit<PeerReading, 'heardMonotonicMs' | 'excludes' | 'heartbeat'> & { frame: string };

export class LastHeard {
  readonly #kv: Kv;
  readonly #clock: Clock;
  #saved: { said: string; atMs: number } | null = null;

  constructor(kv: Kv, clock: Clock) {
    this.#kv = kv;
    this.#clock = clock;
  }

  read(): PeerReading | null {
    const value = this.#kv.get(key);
    if (!value) return null;
    const { frame, ...stored } = JSON.parse(value.toString('utf8')) as Stored;
    // A monotonic clock begins anew with a boot. A wall clock that was set back makes it young, and never younger than now.
    const ageMs = Math.max(0, this.#clock.wallMs() - stored.heardWallMs);
    const heartbeat = heartbeatIn(Buffer.from(frame, 'base64'));
    return { ...stored, heartbeat, excludes: null, heardMonotonicMs: this.#clock.monotonicMs() - ageMs };
  }

  note(reading: PeerReading): void {
    const { heartbeat } = reading;
    if (heartbeat === null) return;
    const said = saidBy(reading);
    const nowMs = this.#clock.monotonicMs();
    if (this.#saved?.said === said && nowMs - this.#saved.atMs < everyMs) return;
    this.#saved = { said, atMs: nowMs };
    this.#kv.commit([[key, packed(reading, heartbeat)]]);
  }

  end(reading: PeerReading): void {
    this.#saved = null;
    this.note(reading);
  }
}

export function forgetLastHeard(): KvWrite {
  return [key, null];
}

/** All but what moves with every message. */
function saidBy({ role, epoch, active, agentVersion, serverVersion, heartbeat }: PeerReading): string {
  const { phase, unproven, leftOut } = heartbeat ?? {};
  return JSON.stringify([role, epoch, active, agentVersion, serverVersion, phase, unproven, leftOut]);
}

function packed({ heardMonotonicMs: _, excludes: __, heartbeat: ___, ...rest }: PeerReading, heartbeat: MessageOf<'heartbeat'>): Buffer {
  const { warnings, doubts, lagging } = heartbeat;
  const short = {
    ...heartbeat,
    warnings: warnings.slice(0, namedMax),
    doubts: doubts.slice(0, namedMax),
    lagging: lagging.slice(0, namedMax),
  };
  const stored: Stored = { ...rest, frame: encode(short).toString('base64') };
  return Buffer.from(JSON.stringify(stored), 'utf8');
}

function heartbeatIn(frame: Buffer): MessageOf<'heartbeat'> | null {
  try {
    const message = decode(frame, () => 0);
    return message.type === 'heartbeat' ? message : null;
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return null;
  }
}
