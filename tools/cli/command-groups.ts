/** Commands by what a person wants to do, in the order of the help; and where each runs. */
export interface CommandGroup {
  title: string;
  /** What the group is for, in a sentence. */
  about: string;
  /** The first word of each command, and the node on which it runs. */
  commands: Readonly<Record<string, string>>;
}

const both = 'both';

export const commandGroups: readonly CommandGroup[] = [
  {
    title: 'Set up',
    about: 'From an installed package to a pair.',
    commands: {
      init: both,
      pair: 'primary, then standby',
      run: both,
      doctor: both,
      gate: both,
      sandbox: both,
      notify: both,
    },
  },
  {
    title: 'Watch',
    about: 'How the pair stands, and proofs.',
    commands: { status: both, wait: 'primary', verify: 'primary; on the standby its disk alone', scrub: both },
  },
  {
    title: 'Take over',
    about: 'Make the standby the active node.',
    commands: { switchover: 'standby', failover: 'standby', plan: 'anywhere' },
  },
  {
    title: 'Recover',
    about: 'After a takeover, a mass deletion, or damage.',
    commands: {
      salvage: 'a node that was replaced',
      rejoin: 'a node that was replaced',
      'allow-delete': 'primary',
      'accept-root': 'primary',
      'keep-this-store': 'primary',
      'repair-store': 'both, agent stopped',
    },
  },
  { title: 'Hardware', about: 'Ports, power switches, new machines and releases.', commands: { nics: both, fence: both, migrate: both } },
  {
    title: 'Support',
    about: 'Explanations, archives for support, and a try without a second machine.',
    commands: {
      explain: 'anywhere',
      'support-bundle': both,
      demo: 'anywhere',
      completion: 'anywhere',
      version: 'anywhere',
      help: 'anywhere',
    },
  },
];

/** The group of a command by its first word; null when it is in none. */
export function groupOf(name: string): CommandGroup | null {
  return commandGroups.find(({ commands }) => Object.hasOwn(commands, name)) ?? null;
}
