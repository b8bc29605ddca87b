import fs from 'node:fs';
import path from 'node:path';
import { exitCodes, type RepairOptions, type RepairResult } from '../../protocol/control.ts';
import type { Config } from '../config/config.ts';
import { roleWrites, type DurableRole } from '../failover/role-store.ts';
import { noteIndexOf, ownDiskKey } from '../journal/turn-round.ts';
import { syncDir } from '../platform/durable-file.ts';
import { OperatorError } from '../platform/errors.ts';
import { lockDirectory, openLmdbKv, storeFileName } from '../platform/lmdb-kv.ts';
import { systemClock } from '../platform/clock.ts';
import { walkLmdbFile } from '../platform/lmdb-walk.ts';
import { readToldRole } from './node-state.ts';
import { checkStored } from './parts.ts';

/**
 * Puts a damaged store aside and begins a new one that keeps what must never be lost: role and epoch (I3). Everything else
 * is found again: the agent compares its own disk and the other node's.
 *
 * Role and epoch come from the copy beside the store. That copy never claims more than the store did (role-keeper.ts), so a
 * node that had stepped down, or was fenced, does not come back as primary. Without the copy a person says what the node
 * is, and may not say primary.
 *
 * @throws OperatorError `store-locked`, `store-whole`, `no-role` or `role`; nothing is changed then.
 */
export async function repairStore(config: Config, { as }: RepairOptions): Promise<RepairResult> {
  const dir = path.join(config.state, 'store');
  const file = path.join(dir, storeFileName);
  if (!fs.existsSync(file))
    throw new OperatorError('no-store', `there is no store ${file}`, 'start the agent: it makes one', exitCodes.refused);
  const lock = lockDirectory(dir);
  let aside: string;
  let role: DurableRole;
  try {
    const damage = await damageOf(file);
    if (damage === null)
      throw new OperatorError(
        'store-whole',
        `every page and record of ${file} can be read; nothing was changed`,
        'start the agent; when it still says store-damaged, send a `mailtwin support-bundle`',
        exitCodes.refused,
      );
    role = roleOf(config, as);
    aside = `${file}.damaged-${new Date().toISOString().replaceAll(/[:.]/g, '')}`;
    fs.renameSync(file, aside);
    syncDir(dir);
  } finally {
    fs.closeSync(lock);
  }
  const kv = openLmdbKv(dir);
  try {
    // One commit: a new store without its role would take that of the configuration.
    kv.commit([...roleWrites(role), ...(role.role === 'standby' ? [[ownDiskKey, Buffer.from([1])] as const] : [])]);
    if (role.role !== 'fenced') noteIndexOf(kv, role.role);
    if (kv.trouble) throw new OperatorError(kv.trouble.code, kv.trouble.detail, kv.trouble.remedy);
    await kv.flushed();
  } catch (error) {
    await kv.close();
    fs.renameSync(aside, file);
    throw error;
  }
  await kv.close();
  return { ...role, aside };
}

async function damageOf(file: string): Promise<string | null> {
  try {
    await walkLmdbFile(file, { entry: checkStored, clock: systemClock });
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function roleOf(config: Config, as: RepairOptions['as']): DurableRole {
  const told = readToldRole(config.state);
  if (told === null) {
    if (as === null)
      throw new OperatorError(
        'no-role',
        `what this node was is only in its damaged store: ${path.join(config.state, 'role')} is missing or cannot be read`,
        'run `mailtwin status` on the other node. When that one is primary, run `mailtwin repair-store --as standby` here; when it is not there, `--as fenced` keeps this node out of service',
        exitCodes.refused,
      );
    return { role: as, epoch: 1, seenEpoch: 1 };
  }
  if (as === null || as === told.role) return told;
  if (told.role === 'fenced')
    throw new OperatorError(
      'role',
      `this node is fenced at epoch ${told.epoch}; a repair does not change that`,
      'run `mailtwin repair-store` without --as, then `mailtwin rejoin`',
      exitCodes.refused,
    );
  return { ...told, role: as };
}
