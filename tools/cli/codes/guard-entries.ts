import type { GuardName } from '../../../protocol/takeover.ts';
import type { CodeEntry } from './code-entry.ts';

/** The checks of a takeover. Which of them `--override` takes is said by each refusal. */
export const guardEntries: Readonly<Record<GuardName, CodeEntry>> = {
  role: {
    means: 'This node is a standby that is paired.',
    causes: ['it is the primary', 'it was replaced and must rejoin'],
    next: 'Run the command on the standby; on a replaced node run `mailtwin rejoin`.',
  },
  'other-takeover': {
    means: 'No other takeover runs on either node.',
    causes: ['somebody else gave the command'],
    next: 'Wait for its end: `mailtwin status`.',
  },
  'local-health': {
    means: 'This node has no problem that it knows of.',
    causes: ['disk, watcher or services'],
    next: 'Run `mailtwin doctor` and mend what it names.',
  },
  'initial-fill': {
    means: 'The copy was complete under the present primary.',
    causes: ['the fill is not at its end'],
    next: 'Wait; `mailtwin status` shows the progress.',
  },
  unproven: {
    means: 'Nothing on the primary is in doubt.',
    causes: ['places that cannot be read there'],
    next: '`mailtwin status` on the primary names them.',
  },
  'foreign-writes': {
    means: 'Nobody else wrote on the copy.',
    causes: ['a mail server or script on the standby'],
    next: 'Stop it, then `mailtwin verify` on the primary.',
  },
  'damaged-files': {
    means: 'No file of the copy is known to be damaged. It warns and never refuses.',
    causes: ['the disk of the standby'],
    next: '`mailtwin scrub` names them; a primary that lives brings them again.',
  },
  'last-verify': {
    means: 'The last verification found no difference, at most eight days ago. An old or missing one warns; differences refuse.',
    causes: ['nobody ran `mailtwin verify`', 'the nodes differ'],
    next: 'Run `mailtwin verify` on the primary.',
  },
  'predicted-loss': {
    means: 'What this takeover would lose is known.',
    causes: ['a failover loses what was not acknowledged'],
    next: 'Bring the primary back and use `mailtwin switchover`, or accept the loss.',
  },
  'peer-state': {
    means: 'Switchover: the primary serves. Failover: it does not.',
    causes: ['the wrong one of the two commands', 'the primary died less than five seconds ago'],
    next: 'Use `mailtwin switchover` while the primary serves, `mailtwin failover` when it is gone.',
  },
  isolation: {
    means: 'This node is not the one that is cut off: a gateway or witness answers.',
    causes: ['cables or switch of this node', 'no gateway and no witness is configured'],
    next: 'Look at the network of this node; name `network.witnesses`.',
  },
  'fence-path': {
    means: 'Something can prove the primary off.',
    causes: ['`fencing` is missing', 'the BMC does not answer'],
    next: '`mailtwin fence test`; have somebody at the machine.',
  },
  'agent-version': {
    means: 'The agent of this node is not older than that of the primary.',
    causes: ['the primary was updated first'],
    next: 'Update this node.',
  },
  'mail-server-version': {
    means: 'The mail server of this node is not older than that of the primary, or was seen to read what that one writes.',
    causes: ['the primary was updated first'],
    next: 'Update this node.',
  },
  'disk-space': { means: 'This node has more than `limits.freeSpaceMin` free.', causes: ['the disk is full'], next: 'Make room.' },
  'nic-roles': {
    means: 'Every network role has its port here, with link and proven segment.',
    causes: ['a cable', 'a new card'],
    next: '`mailtwin nics`, then plug or assign.',
  },
  'addresses-free': {
    means: 'Nobody but the primary answers for the service addresses; after fencing nobody does.',
    causes: ['the primary is not off', 'another host has the address', 'proxy ARP'],
    next: 'Find that host; `mailtwin nics` shows who answers.',
  },
  'mail-config': {
    means: 'The configuration of the mail server on this node is valid.',
    causes: ['`services.configCheck` fails or is missing'],
    next: 'Mend it; its output is the evidence.',
  },
  'mail-units': {
    means: 'Nothing was found that keeps the mail services from starting here.',
    causes: ['a unit is missing, masked or lacks the gate'],
    next: 'Do what the message says.',
  },
  'clock-skew': {
    means: 'The clocks agree; more than two seconds warn, more than five minutes refuse.',
    causes: ['no NTP'],
    next: 'Let both nodes take the time from NTP.',
  },
  replication: {
    means: 'Replication streams and lags by a minute at most. For a switchover alone.',
    causes: ['a comparison or a fill runs', 'the line is slow'],
    next: 'Wait until `mailtwin status` says streaming.',
  },
};
