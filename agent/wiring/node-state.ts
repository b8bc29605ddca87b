import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Role } from '../../protocol/messages.ts';
import type { Config } from '../config/config.ts';
import { metaKey } from '../journal/keys.ts';
import { packNumber, readNumber } from '../journal/replica-index.ts';
import { writeDurable } from '../platform/durable-file.ts';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode } from '../platform/files.ts';
import type { Kv } from '../platform/kv.ts';
import type { Log } from '../platform/log.ts';

const roles: readonly Role[] = ['primary', 'standby', 'fenced'];
const roleKey = metaKey('role');
const epochKey = metaKey('epoch');
const seenKey = metaKey('epoch-seen');

/** Role and epoch in force: durable state, which a configuration file cannot change back. */
export class NodeState {
  readonly #kv: Kv;
  readonly #stateDir: string;
  #role: Role;
  #epoch: number;
  #epochSeen: number;

  /**
   * @throws OperatorError `role` (exit code 3) when the configuration contradicts the role of a node that was never
   * part of a takeover; after one the configuration's role is only what the node began its life as.
   */
  constructor(kv: Kv, config: Config, log: Log) {
    this.#kv = kv;
    this.#stateDir = config.state;
    const stored = kv.get(roleKey)?.toString();
    this.#epoch = readNumber(kv.get(epochKey)) ?? 1;
    this.#epochSeen = Math.max(this.#epoch, readNumber(kv.get(seenKey)) ?? 1);
    const known = roles.find((role) => role === stored);
    if (known === undefined) {
      this.#role = config.role;
      kv.commit([
        [roleKey, Buffer.from(config.role)],
        [epochKey, packNumber(this.#epoch)],
      ]);
      this.#tell();
      return;
    }
    this.#role = known;
    if (known === config.role) return;
    if (this.#epoch <= 1 && known !== 'fenced')
      throw new OperatorError(
        'role',
        `the configuration says ${config.role}, but this node is ${known} by its state in ${config.state}`,
        `set \`role: ${known}\` in ${config.file}; a role changes by a takeover, never by the configuration`,
        3,
      );
    log.info({ role: known, epoch: this.#epoch }, `a takeover made this node ${known}; \`role: ${config.role}\` is what it began as`);
  }

  get role(): Role {
    return this.#role;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** The highest epoch that this node has heard of; never falls (I3). */
  get epochSeen(): number {
    return this.#epochSeen;
  }

  /** Remembers an epoch that somebody else has. */
  sawEpoch(epoch: number): void {
    if (epoch <= this.#epochSeen) return;
    this.#epochSeen = epoch;
    this.#kv.commit([[seenKey, packNumber(epoch)]]);
  }

  /** Resolves when the new role and epoch would survive a power cut; before that nobody may act on them. */
  async set(role: Role, epoch: number): Promise<void> {
    if (epoch < this.#epoch) throw new Error(`the epoch cannot fall from ${this.#epoch} to ${epoch}`);
    this.#kv.commit([
      [roleKey, Buffer.from(role)],
      [epochKey, packNumber(epoch)],
      [seenKey, packNumber(Math.max(epoch, this.#epochSeen))],
    ]);
    await this.#kv.flushed();
    this.#role = role;
    this.#epoch = epoch;
    this.#epochSeen = Math.max(epoch, this.#epochSeen);
    this.#tell();
  }

  /** For commands that run while an agent has the store: a copy that decides nothing. */
  #tell(): void {
    writeDurable(roleFile(this.#stateDir), `${this.#role} ${this.#epoch}\n`);
  }
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
