import type { CodeEntries } from './code-entry.ts';

const tryAgain = 'Nothing was changed. Run `mailtwin pair` on the primary for a new code and try again.';

/** Codes of pairing. */
export const pairingCodes = {
  paired: { means: 'Pairing succeeded.', causes: [], next: 'Nothing.' },
  unpaired: {
    means: 'This node has no peer: nothing is replicated.',
    causes: ['the nodes were not paired yet', 'the other node was set up anew'],
    next: 'Run `mailtwin pair` on the primary, then `mailtwin pair HOST:PORT` on the standby.',
  },
  'already-paired': {
    means: 'The node has a peer already.',
    causes: ['the pairing was done before', 'the other node was set up anew or replaced'],
    next: 'Nothing to do. If the other node is new, run the command again with `--replace` on both.',
  },
  'no-offer': {
    means: 'No code waits on the primary.',
    causes: ['`mailtwin pair` was not run there', 'its agent was restarted'],
    next: 'Run `mailtwin pair` on the primary first.',
  },
  'no-code': {
    means: 'No code was given.',
    causes: ['the command runs without a terminal and standard input is empty'],
    next: 'Run it on a terminal, or give the code on standard input.',
  },
  'bad-code': {
    means: 'What was typed is not a code.',
    causes: ['a letter is missing'],
    next: 'Type it as the primary shows it: XXXX-XXXX-XXXX-XXXX.',
  },
  'wrong-code': {
    means: 'The code is not the one that the primary shows.',
    causes: ['a typing error', 'a newer code was made meanwhile'],
    next: 'Type it again; after five wrong tries the code is void.',
  },
  expired: { means: 'The code has expired; it lives ten minutes.', causes: ['the pairing began too late'], next: tryAgain },
  used: { means: 'The code was used already; it works once.', causes: ['the nodes are paired by it'], next: tryAgain },
  'too-many-tries': {
    means: 'The code is void after five wrong tries.',
    causes: ['typing errors', 'somebody guesses'],
    next: 'Make a new code; find out who else reaches the port when it was not you.',
  },
  busy: {
    means: 'Something of the same kind is under way: another pairing, a verification, or the restoring of a file.',
    causes: ['two persons work at the same time'],
    next: 'Wait until it has ended and run the command again.',
  },
  declined: {
    means: 'A person said that the fingerprints are not right.',
    causes: ['they differ'],
    next: 'Find out which node answered. ' + tryAgain,
  },
  cancelled: {
    means: 'Nobody waits for the pairing any more; the code stays valid until it expires.',
    causes: ['Ctrl-C on the primary'],
    next: 'Use the code, or make a new one with `mailtwin pair`.',
  },
  'broken-off': { means: 'The connection broke during the pairing.', causes: ['the network, or the other side ended'], next: tryAgain },
  'pairing-unsure': {
    means: 'The connection broke at the last step: this node knows the other one, and the other may or may not know this one.',
    causes: ['the network failed in that moment'],
    next: 'Run `mailtwin status` on both. If one is unpaired, pair again with `--replace`.',
  },
  impostor: {
    means: 'Whoever answers at that address does not know the code.',
    causes: ['a wrong address', 'somebody stands between the nodes'],
    next: 'Check the address and find out who answers there.',
  },
  'peer-file': {
    means: 'What pairing stored about the other node cannot be read.',
    causes: ['the file belongs to another user', 'the file is damaged'],
    next: 'Run the agent as the owner of the state directory; put the file back from a backup, or remove it and pair again.',
  },
} as const satisfies CodeEntries;

const bySelf = 'The agents connect again by themselves.';

/** Codes of the connection between the two nodes. */
export const connectionCodes = {
  'peer-lost': {
    means: 'The other node is not connected: nothing is replicated.',
    causes: ['its agent or machine is down', 'cable, packet filter or address', 'the message names what was met last'],
    next: 'See whether the other node runs; `mailtwin doctor` tries its addresses. If the primary is dead: `mailtwin failover --dry-run` on the standby.',
  },
  disconnected: {
    means: 'The command needs the other node, and it is not connected.',
    causes: ['its agent is down', 'the network between the nodes'],
    next: '`mailtwin status` names the reason.',
  },
  unreachable: {
    means: 'No connection to the address of the other node.',
    causes: ['its agent does not run', 'a packet filter', 'a wrong address in `peer.addresses`'],
    next: `Try the port from here, and look at the agent there. ${bySelf}`,
  },
  'no-address': {
    means: 'No address of the other node is known.',
    causes: ['it was paired from an address that is gone, and none is configured'],
    next: 'Write its address into `peer.addresses` and start the agent again.',
  },
  silent: {
    means: 'Nothing was heard from the other node for five seconds; the connection was given up.',
    causes: ['the network lost everything', 'the other machine or its disk stands still'],
    next: `Look at the other node. ${bySelf}`,
  },
  'connection-lost': {
    means: 'The connection to the other node broke.',
    causes: ['its agent was restarted', 'the network', 'a packet filter that forgets connections'],
    next: bySelf,
  },
  'channel-closed': {
    means: 'Something was to be sent over a connection that has ended.',
    causes: ['the connection broke in that moment'],
    next: bySelf,
  },
  stopping: {
    means: 'The agent on the other side is being stopped.',
    causes: ['an update or a restart'],
    next: 'Nothing; it connects when it runs again.',
  },
  turning: {
    means: 'The other node is changing its role and takes no connection in this moment.',
    causes: ['a takeover runs'],
    next: bySelf,
  },
  replaced: {
    means: 'A newer connection, or a newer pairing code, took the place of this one.',
    causes: ['a reconnection was faster than the end of the old connection', '`mailtwin pair` was run again'],
    next: 'Nothing, or use the newer code.',
  },
  refused: {
    means: 'The other node refused the connection, or the standby refused batches again and again.',
    causes: ['the message says why', 'the copy differs from what the primary believes'],
    next: 'Follow the message. For batches: run `mailtwin verify` on the primary and read both logs; everything is compared again by itself.',
  },
  'wrong-key': {
    means: 'The other side showed another key than the one that was paired.',
    causes: ['the node was set up anew', 'the address belongs to somebody else'],
    next: 'Compare the fingerprints. If the node is new, pair again with `--replace`.',
  },
  'no-certificate': {
    means: 'The other side showed no key.',
    causes: ['something else than an agent of mailtwin talked to the port'],
    next: 'Find out who connects; the address is in the message.',
  },
  'wrong-pair': {
    means: 'The two nodes belong to different pairs.',
    causes: ['one of them was paired with a third node'],
    next: 'Pair the two again with `--replace`.',
  },
  'same-node': {
    means: 'Both nodes have the same name.',
    causes: ['the configuration was copied'],
    next: 'Give each its own `node` and start the agents again.',
  },
  'same-role': {
    means: 'Both nodes have the same role.',
    causes: ['the configuration was copied', 'one of them missed a takeover'],
    next: 'Read `mailtwin status` on both. A new node gets `role: standby`; a replaced one is made the standby by `mailtwin rejoin`.',
  },
  roots: {
    means: 'The nodes have different roots.',
    causes: ['a name or a format differs', 'a root is configured on one node alone'],
    next: 'Give both the same names and formats; the paths may differ.',
  },
  version: {
    means: 'The two agents have no protocol version in common.',
    causes: ['the releases are too far apart'],
    next: 'Install the same release on both, the standby first.',
  },
  tls: {
    means: 'TLS on the port of the pair failed.',
    causes: ['a port scan', 'something else than an agent talked to the port'],
    next: 'Nothing for a scan. When the peer is meant, see its log.',
  },
  'bad-message': {
    means: 'What arrived is no message of the protocol.',
    causes: ['something else than an agent talked to the port', 'the releases do not fit'],
    next: 'Compare `mailtwin version` on both nodes, and find out who connects.',
  },
  'oversized-frame': {
    means: 'A frame was larger than the protocol allows.',
    causes: ['something else than an agent talked to the port', 'the releases do not fit'],
    next: 'Compare `mailtwin version` on both nodes.',
  },
  'handshake-timeout': {
    means: 'The other side connected and said nothing for ten seconds.',
    causes: ['a port scan', 'the other agent stands still'],
    next: `Look at the other agent. ${bySelf}`,
  },
  epoch: {
    means:
      'The other node claims an epoch to which no takeovers lead from the one of this node; the connection was ended and nothing of it believed.',
    causes: ['the store of one node is damaged', 'whoever has the key of the other node claims what is not so'],
    next: 'Compare `mailtwin status` on both nodes. When the other one is not what it should be, make new keys and pair again.',
  },
  flood: {
    means: 'The other node sent more messages than are dealt with; the connection was ended.',
    causes: ['whoever has the key of the other node sends without end', 'a fault of mailtwin'],
    next: 'Look at the log of the other node. When it is the agent that does this, send a `mailtwin support-bundle`.',
  },
  'too-many-questions': {
    means: 'The other node asked more at once than the protocol allows; the connection was ended.',
    causes: ['a fault of the other agent'],
    next: `${bySelf} Report it when it happens again.`,
  },
  'answer-failed': {
    means: 'A question of the other node could not be answered; the connection was ended.',
    causes: ['a disk of the node that was asked', 'the message has the details'],
    next: bySelf,
  },
  listen: {
    means: 'The agent cannot listen for the other node.',
    causes: ['another program has the port', 'the address is not one of this host', 'the user may not use the port'],
    next: 'Correct `listen` in the configuration.',
  },
  'clock-skew': {
    means: 'The clocks of the two nodes differ.',
    causes: ['one node does not take its time from the network'],
    next: 'Let both take it from NTP.',
  },
  peer: {
    means: 'A warning of the other node, shown here as well.',
    causes: ['see its text'],
    next: 'Run `mailtwin status` on the node that it names.',
  },
  timeout: {
    means: 'Something was not done in its time.',
    causes: ['`wait`: the standby is slow, held, or not connected', 'pairing: the other side said nothing'],
    next: '`mailtwin status` says what holds it; for `mailtwin wait`, a longer `--timeout`.',
  },
} as const satisfies CodeEntries;
