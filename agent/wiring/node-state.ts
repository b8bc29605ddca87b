import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Role } from '../../protocol/messages.ts';
import type { Config } from '../config/config.ts';
import { readRole, roleWrites, type DurableRole } from '../failover/role-store.ts';
import { writeDurable } from '../platform/durable-file.ts';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode } from '../platform/files.ts';
import type { Kv } from '../platform/kv.ts';
import type { Log } from '../platform/log.ts';

/**
 * Role and epoch in force: durable state, which a configuration file cannot change back.
 *
 * @throws OperatorError `role` (exit code 3) when the configuration contradicts the role of a node that was never part
 * of a takeover; after one the configuration's role is only what the node began its life as.
 */
export function settleRole(kv: Kv, config: Config, log: Log): DurableRole {
  let stored = readRole(kv);
  if (stored === null) {
    // A store that is new on a node that is not was lost: what the node was stands beside it, and the configuration must not change that back (I3).
    const told = readToldRole(config.state);
    if (told) log.error({ ...told }, 'the store of this node was lost; it keeps the role and the epoch that are written beside it');
    stored = told ?? { role: config.role, epoch: 1, seenEpoch: 1 };
    kv.commit(roleWrites(stored));
  }
  const { role, epoch } = stored;
  if (JSON.stringify(readToldRole(config.state)) !== JSON.stringify(stored)) tellRole(config.state, stored, log);
  if (role === config.role) return stored;
  if (epoch <= 1 && role !== 'fenced')
    throw new OperatorError(
      'role',
      `the configuration says ${config.role}, but this node is ${role} by its state in ${config.state}`,
      `set \`role: ${role}\` in ${config.file}; a role changes by a takeover, never by the configuration`,
      3,
    );
  log.info({ role, epoch }, `a takeover made this node ${role}; \`role: ${config.role}\` is what it began as`);
  return stored;
}

/**
 * For commands that run while an agent has the store, and for the day on which the store is damaged: a copy, which decides
 * nothing while there is a store.
 */
export function tellRole(stateDir: string, { role, epoch, seenEpoch }: DurableRole, log: Log): void {
  const file = roleFile(stateDir);
  try {
    writeDurable(file, `${role} ${epoch} ${seenEpoch}\n`);
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    log.warn({ error, role, epoch }, 'the copy of role and epoch beside the store cannot be written');
    // No copy is better than an old one, and removing it takes no room.
    try {
      rmSync(file, { force: true });
    } catch (removing) {
      log.warn({ error: removing }, 'nor can it be removed');
    }
  }
}

function roleFile(stateDir: string): string {
  return join(stateDir, 'role');
}

/** The configuration with the role that the node has by its last agent, where that is one to start with. */
export function withDurableRole(config: Config): Config {
  const role = toldRole(config);
  return role === 'primary' || role === 'standby' ? { ...config, role } : config;
}

/** The role that the node has by its last agent; null when none was told, or it cannot be read. */
export function toldRole(config: Pick<Config, 'state'>): Role | null {
  return readToldRole(config.state)?.role ?? null;
}

/** What `tellRole` wrote. Null when there is nothing that can be read. */
export function readToldRole(stateDir: string): DurableRole | null {
  let text: string;
  try {
    text = readFileSync(roleFile(stateDir), 'utf8');
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return null;
  }
  const [, role, epoch, seenEpoch = epoch] = /^(primary|standby|fenced) (\d{1,15})(?: (\d{1,15}))?\n$/.exec(text) ?? [];
  if (role === undefined) return null;
  return { role: role as Role, epoch: Number(epoch), seenEpoch: Math.max(Number(epoch), Number(seenEpoch)) };
}
