import { ownersToldMax, type NodeAbilities, type OwnerName } from '../../protocol/abilities.ts';
import type { Message } from '../../protocol/messages.ts';
import type { Channel } from '../link/channel.ts';
import type { Log } from '../platform/log.ts';
import { compareAbilities, type AbilityFinding } from './abilities.ts';

export interface AbilityTalkParts {
  role: 'primary' | 'standby';
  node: string;
  log: Log;
  own: () => NodeAbilities;
  /** This node's names of these numbers. */
  namesOf: (owners: readonly Omit<OwnerName, 'name'>[]) => Promise<OwnerName[]>;
}

/**
 * What the file systems of the two nodes can do, told anew with each connection: the primary begins, the standby answers
 * with its own, and with its names of the primary's owners. Both then know what differs.
 */
export class AbilityTalk {
  readonly #p: AbilityTalkParts;
  #findings: readonly AbilityFinding[] = [];

  constructor(parts: AbilityTalkParts) {
    this.#p = parts;
  }

  /** What the standby cannot keep as the primary has it; empty before the first connection. */
  get findings(): readonly AbilityFinding[] {
    return this.#findings;
  }

  /** A connection stands. */
  async connected(channel: Channel): Promise<void> {
    if (this.#p.role === 'primary') channel.sendControl({ type: 'abilities', abilities: await this.#own([]) });
  }

  /** Takes the other node's abilities; false for another message. `peer` is its name. */
  async take(channel: Channel, message: Message, peer: string): Promise<void> {
    if (message.type !== 'abilities') return;
    const theirs = message.abilities;
    const own = await this.#own(theirs.owners);
    const { node, role } = this.#p;
    if (role === 'standby') channel.sendControl({ type: 'abilities', abilities: own });
    this.#found(
      role === 'primary'
        ? compareAbilities(own, theirs, { primary: node, standby: peer })
        : compareAbilities(theirs, own, { primary: peer, standby: node }),
    );
  }

  async #own(asked: readonly OwnerName[]): Promise<NodeAbilities> {
    const own = this.#p.own();
    const owners = new Map([...own.owners, ...asked].map((owner) => [`${owner.kind} ${owner.id}`, owner]));
    return { ...own, owners: await this.#p.namesOf([...owners.values()].slice(0, ownersToldMax * 2)) };
  }

  #found(findings: readonly AbilityFinding[]): void {
    const known = new Set(this.#findings.map(({ text }) => text));
    for (const { code, text, remedy } of findings) if (!known.has(text)) this.#p.log.warn({ code, remedy }, text);
    this.#findings = findings;
  }
}
