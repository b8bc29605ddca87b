import { randomUUID } from 'node:crypto';
import type { FenceLevelConfig } from '../../agent/config/takeover-sections/fencing.ts';
import { createFencing, type FenceReceipt, type Fencing } from '../../agent/fencing/fencing.ts';
import { verifyReceipt } from '../../agent/fencing/receipt.ts';
import { identityFromPem, makeIdentity } from '../../agent/link/identity.ts';
import { systemClock } from '../../agent/platform/clock.ts';
import { exec } from '../../agent/platform/exec.ts';
import { silentLog } from '../../agent/platform/log.ts';
import { realFiles } from '../../agent/platform/real-files.ts';

const made = makeIdentity('mail-b').files;
const own = identityFromPem(made['node.key'] ?? '', made['node.crt'] ?? '');

/** Whom a test fences. */
export const fenceTarget = { node: 'mail-a', pair: 'pair-1', epoch: 2 };

/** The fencing of mail-b, with real programs and files. */
export function fencingOf(levels: FenceLevelConfig[]): Fencing {
  return createFencing({
    levels,
    node: 'mail-b',
    keyPem: own.keyPem,
    exec,
    files: realFiles,
    clock: systemClock,
    log: silentLog,
    newId: randomUUID,
  });
}

/** Whether a receipt of this fencing proves that the target is off. */
export function provesOff(receipt: FenceReceipt | null): boolean {
  const { node, pair, epoch } = fenceTarget;
  return receipt !== null && verifyReceipt(receipt, own.spki, { target: node, pair, epoch, wallMs: Date.now() }) === null;
}
