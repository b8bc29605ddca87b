import { readFileSync } from 'node:fs';
import { join } from 'node:path';
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
  const stored = readRole(kv);
  if (stored === null) {
    const first: DurableRole = { role: config.role, epoch: 1, seenEpoch: 1 };
    kv.commit(roleWrites(first));
    tellRole(config.state, first);
    return first;
  }
  const { role, epoch } = stored;
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

/** For commands that run while an agent has the store: a copy that decides nothing. */
export function tellRole(stateDir: string, { role, epoch }: DurableRole): void {
  writeDurable(roleFile(stateDir), `${role} ${epoch}\n`);
}

function roleFile(stateDir: string): string {
  return join(stateDir, 'role');
}

/** The configuration with the role that the node has by its last agent, where that is one to start with. */
export function withDurableRole(config: Config): Config {
  try {
    const [role] = readFileSync(roleFile(config.state), 'utf8').split(' ');
    return role === 'primary' || role === 'standby' ? { ...config, role } : config;
  } catch (error) {
    if (errnoCode(error) === undefined) throw error;
    return config;
  }
}
