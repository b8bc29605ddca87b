import type { CodeEntries } from './code-entry.ts';

const nothing = 'Nothing was changed.';
const both = 'Read `mailtwin status` on both nodes.';
const again = 'Run the takeover command again: it goes on where it was.';

/** Codes of a takeover, and of the role of a node. */
export const takeoverCodes = {
  guard: {
    means: `A check forbids the takeover. ${nothing}`,
    causes: ['the message names the checks that failed, with their evidence'],
    next: 'Do what each check says, or give `--override GUARD` where the message offers it. `mailtwin explain GUARD` explains one.',
  },
  loss: {
    means: `The predicted loss was not accepted. ${nothing}`,
    causes: ['the question was not answered with yes', 'the command runs without a terminal'],
    next: 'Answer yes, or give `--accept-loss`.',
  },
  'on-primary': {
    means: `A takeover runs on the node that is to become active; this one is the primary. ${nothing}`,
    causes: ['the command was run on the wrong node'],
    next: 'Run it on the standby.',
  },
  'other-takeover': {
    means: 'Another takeover runs.',
    causes: ['somebody else gave the command'],
    next: 'Wait for its end: `mailtwin status`.',
  },
  'unfinished-takeover': {
    means: 'A takeover was interrupted and must be ended first.',
    causes: ['the agent or the machine was stopped in the middle of it'],
    next: again,
  },
  'takeover-unfinished': {
    means: 'A takeover of this node was interrupted after its commit point: nothing serves.',
    causes: ['the agent or the machine was stopped in the middle of it'],
    next: again,
  },
  takeover: { means: 'A takeover ended.', causes: [], next: 'Read its outcome in the notice.' },
  'plan-stale': {
    means: `The state has moved since the plan was made. ${nothing}`,
    causes: ['the pair went on while the plan lay in its file'],
    next: 'Plan again with `--dry-run`.',
  },
  'peer-silent': {
    means: 'The other node does not answer a step of the takeover.',
    causes: ['it failed in that moment'],
    next: 'Read `mailtwin status`; run `mailtwin switchover` again, or `mailtwin failover` if it is dead.',
  },
  drain: {
    means: 'The last changes did not arrive in time; the switchover was rolled back.',
    causes: ['a slow line or disk', 'a very large file on its way'],
    next: 'Wait until `mailtwin status` shows no lag, then run it again.',
  },
  positions: {
    means: 'The two nodes do not stand at the same position; the switchover was rolled back.',
    causes: ['the copy differs'],
    next: 'Run `mailtwin verify` on the primary.',
  },
  'still-written': {
    means: 'Somebody wrote below a root after the mail services were stopped; the switchover was given up.',
    causes: [
      'a delivery agent that is not among `services.units`',
      'with `services.commands`: `status` says stopped while processes live on',
    ],
    next: 'The message names the last file: find who writes there, stop that too, and run it again.',
  },
  'still-going-down': {
    means: 'The agent has just started and still stops services and takes addresses away.',
    causes: ['the machine was just started'],
    next: 'Read `journalctl -u mailtwin`, then run the command again.',
  },
  'given-up': {
    means: 'The command was given up before its commit point.',
    causes: ['Ctrl-C, or the connection to the other node ended'],
    next: 'Run it again when you want it.',
  },
  'hook-failed': {
    means: 'A hook failed, so the takeover stopped before its commit point.',
    causes: ['the program ended with another code than 0, or took too long'],
    next: 'Its output is in the log. Mend it, or remove it from `takeover.hooks`.',
  },
  'step-failed': {
    means: 'A step of the takeover failed in a way that nobody foresaw.',
    causes: ['see the log of the agent'],
    next: again,
  },
  'not-undone': {
    means: 'The old primary could not be told to serve again.',
    causes: ['it is not heard any more'],
    next: 'Look at it; it serves again by itself within `takeover.quiesceMaxSeconds`.',
  },
  failed: { means: 'A takeover failed without a code of its own.', causes: ['see the message'], next: both },
  overtaken: {
    means: 'The role of this node changed while the command ran.',
    causes: ['another takeover with a higher epoch came in between', 'the agent is being stopped'],
    next: both,
  },
  void: {
    means: 'The interrupted takeover does not count any more.',
    causes: ['another takeover with a higher epoch came in between'],
    next: both,
  },
  'old-epoch': {
    means: 'The other node has heard of a newer epoch.',
    causes: ['another takeover came in between'],
    next: 'Plan again with `--dry-run`.',
  },
  'wrong-proof': {
    means: 'The proof of fencing is for another epoch.',
    causes: ['another takeover came in between'],
    next: 'Plan again with `--dry-run`.',
  },
  'not-quiesced': {
    means: 'The primary is in service and was not quiesced for this switchover.',
    causes: ['it gave the switchover up by itself'],
    next: 'Run `mailtwin switchover` again.',
  },
  'not-active': { means: 'The node is not active.', causes: ['its start or its takeover is not at its end'], next: both },
  'not-primary': { means: 'The node is not the primary.', causes: ['the roles were exchanged'], next: both },
  'is-primary': {
    means: 'The node is the primary.',
    causes: ['the command was run on the wrong node'],
    next: 'Run the command on the standby.',
  },
  'stepping-down': { means: 'The node is stepping down and not done yet.', causes: ['a takeover runs'], next: 'Ask again in a moment.' },
  'stepped-down': {
    means: 'The node has stepped down already.',
    causes: ['a takeover passed its commit point'],
    next: 'Run `mailtwin switchover` on the other node again; it goes on from there.',
  },
  starting: { means: 'The agent is starting.', causes: ['it was just started'], next: 'Ask again in a moment.' },
  'no-answer': { means: 'The node did not change its role in time.', causes: ['stopping or starting services takes long'], next: both },
  'not-down': {
    means: 'The node must be down and is not.',
    causes: ['a mail service does not stop', 'an address cannot be removed'],
    next: 'Stop the services and remove the service addresses by hand, or cut its power.',
  },
  active: { means: 'Whether this node serves has changed.', causes: [], next: 'Nothing.' },
  fenced: {
    means: 'The other node has taken over; this one stays down.',
    causes: ['a failover replaced it'],
    next: 'Run `mailtwin salvage --apply` and `mailtwin rejoin` here.',
  },
  yielded: {
    means: 'This node steps down because the other one takes over.',
    causes: ['a failover was started while this node was heard again'],
    next: 'Run `mailtwin rejoin` here when the other node serves.',
  },
  'starts-alone': {
    means: 'The peer stayed silent, and nobody answers for the service addresses: this primary serves without it.',
    causes: ['the peer is down'],
    next: 'Look at the peer.',
  },
  isolated: {
    means: 'A primary that has started stays down: peer, gateways and witnesses are all silent.',
    causes: ['this node is cut off'],
    next: 'Mend its network; it starts by itself when a gateway or witness answers.',
  },
  'probe-failed': {
    means: 'A primary that has started stays down: it could not find out whether somebody answers for the service addresses.',
    causes: ['a port is missing or down'],
    next: '`mailtwin nics` says why; it looks again by itself.',
  },
  'address-answered': {
    means: 'A primary that has started stays down: somebody answers for a service address.',
    causes: ['the other node has taken over', 'a third host has the address'],
    next: 'Find out who holds it. If the other node has taken over, run `mailtwin rejoin` here.',
  },
  rival: {
    means: 'Both nodes are primary of the same epoch, and neither serves.',
    causes: ['a state directory was copied or put back'],
    next: 'Decide which has the newer mail, and run `mailtwin rejoin` on the other.',
  },
  'activation-failed': {
    means: 'The node could not go into service; it is tried again.',
    causes: ['an address or a service did not come up'],
    next: 'Mend what the message names.',
  },
  'effect-failed': {
    means: 'Something of a node in service did not come up.',
    causes: ['an address or a service, as the message says'],
    next: 'Mend what it names; after a takeover run its command again.',
  },
  'switchover-given-up': {
    means: 'A primary that was quiesced for a switchover serves again.',
    causes: ['nothing more was heard of the switchover, or it was rolled back'],
    next: 'Run `mailtwin switchover` again when you want it.',
  },
  'audit-log': {
    means: `A line of the audit log was changed. ${nothing}`,
    causes: ['somebody edited `audit.ndjson` in the state directory'],
    next: 'Find out who did. Keep the file elsewhere, remove it, and run the command again.',
  },
  'releases-crossed': {
    means: '`mailtwin migrate status` cannot order the two nodes: neither is ahead.',
    causes: ['one has the newer system, the other the newer mail server', 'they run different distributions or mail servers'],
    next: 'Bring both to the newer release of each, the standby first.',
  },
} as const satisfies CodeEntries;

/** Codes of bringing a replaced node back. */
export const salvageCodes = {
  'not-fenced-here': {
    means: `\`mailtwin salvage\` and \`mailtwin rejoin\` run on the node that was replaced; this one was not. ${nothing}`,
    causes: ['the command was run on the wrong node'],
    next: both,
  },
  'not-fenced-peer': {
    means: 'The active node takes salvaged mail from a replaced node, or a standby, alone.',
    causes: ['the roles were exchanged meanwhile'],
    next: both,
  },
  'not-fenced': {
    means: 'The node is not fenced: it is no replaced primary, or it still answers.',
    causes: ['another host was switched off than the one that was meant', 'there is nothing to rejoin'],
    next: 'In a takeover: find out which host was switched off, and correct `fencing`. Otherwise nothing.',
  },
  unsalvaged: {
    means: `This node has mail that the active one lacks. ${nothing}`,
    causes: ['a failover lost the tail'],
    next: 'Run `mailtwin salvage --apply`, or `mailtwin rejoin --salvage`. With `--override unsalvaged` it goes to history.',
  },
  'salvage-runs': { means: 'A salvage runs already.', causes: ['somebody else started it'], next: 'Wait for its end.' },
  'salvage-content': {
    means: 'What arrived at the active node is not what was sent.',
    causes: ['the file changed meanwhile', 'memory or network'],
    next: 'Run `mailtwin salvage --apply` again; nothing is brought twice.',
  },
  'salvage-order': {
    means: 'Parts of a message arrived in the wrong order.',
    causes: ['a reconnection'],
    next: 'Run `mailtwin salvage --apply` again.',
  },
  'salvage-read': {
    means: 'A file of this node cannot be read, or changed while it was read.',
    causes: ['the disk', 'something writes in this store'],
    next: 'Look at the disk, and stop what writes there.',
  },
  'salvage-disk': {
    means: 'The disk of the active node does not take the message.',
    causes: ['it is full or failing'],
    next: 'Mend it, then run `mailtwin salvage --apply` again.',
  },
  'salvage-path': {
    means: 'The folder for the message is missing on the active node.',
    causes: ['the user removed it meanwhile'],
    next: 'Make the folder there, then run `mailtwin salvage --apply` again.',
  },
  'salvage-taken': {
    means: 'Something else stands where the message belongs; it was not touched.',
    causes: ['the same name was used meanwhile'],
    next: 'Look at it on the active node.',
  },
  'no-root': {
    means: 'The active node has no root of that name.',
    causes: ['the configurations differ'],
    next: 'Give both nodes the same roots.',
  },
} as const satisfies CodeEntries;

/** Codes of addresses and ports. */
export const networkCodes = {
  'no-network': {
    means: 'The configuration has no section `network`.',
    causes: ['the agent moves no addresses here'],
    next: 'Add the section and start the agent again.',
  },
  'no-such-role': {
    means: 'There is no network role of that name.',
    causes: ['a typing error'],
    next: 'Use one of the roles in the message.',
  },
  'no-such-port': {
    means: 'This node has no such port, or it carries no addresses of its own.',
    causes: ['a typing error', 'the port is part of a bond or bridge'],
    next: 'Use a port that the message names.',
  },
  'port-in-use': {
    means: 'Another role has the port.',
    causes: ['two roles want one port without VLANs'],
    next: 'Give the other role another port, or exchange them: `mailtwin nics swap`.',
  },
  'nic-unmapped': {
    means: 'A network role has no port on this node.',
    causes: ['the card was replaced', 'the role is new'],
    next: '`mailtwin nics` shows the ports, `mailtwin nics assign ROLE PORT` gives it one.',
  },
  'no-carrier': {
    means: 'The port of a role has no link.',
    causes: ['the cable is pulled', 'the switch is down'],
    next: 'Plug it in, or assign the role to another port.',
  },
  'segment-unproven': {
    means: 'Nothing proves that the port of a role is in its segment.',
    causes: ['cables are swapped', 'the gateway is dead or new'],
    next: '`mailtwin nics identify` shows which cable is which. If you know better: `mailtwin nics assign ROLE PORT --unproven`.',
  },
  'address-taken': {
    means: 'Somebody else answers for a service address, so it was not taken.',
    causes: ['the other node still has it', 'a third host has it', 'a gateway with proxy ARP'],
    next: 'Stop that one first. With proxy ARP: turn it off, or `--override addresses-free` after a proof of fencing.',
  },
  'address-conflict': {
    means: 'Somebody else answers for an address of this active node.',
    causes: ['an old primary', 'a host that was given the address'],
    next: 'Find that host and take the address from it.',
  },
  'address-missing': {
    means: 'A service address was removed from this node and cannot be set again now.',
    causes: ['networkd, NetworkManager, netplan or a person'],
    next: 'The message says why; it is tried again. Let that program leave the port alone.',
  },
  'address-flapping': {
    means: 'Service addresses or routes are removed again and again.',
    causes: ['networkd, NetworkManager, netplan or a script'],
    next: 'The message says who, where that is known: let it leave the port alone. They are set again with pauses of up to a minute.',
  },
  'no-light': {
    means: 'The port cannot blink.',
    causes: ['its driver cannot', 'another `ethtool -p` runs'],
    next: 'End that, or pull a cable and watch `mailtwin nics identify`.',
  },
  'role-map': {
    means: 'The stored map of roles and ports is damaged.',
    causes: ['the disk of the state directory'],
    next: 'Remove `network-roles.json` from the state directory, and assign the roles again.',
  },
  'ip-command': {
    means: 'A call of `ip` failed; what came before was taken back.',
    causes: ['iproute2 is missing', 'the agent is not root'],
    next: 'Run the command of the message by hand to see why.',
  },
} as const satisfies CodeEntries;

/** Codes of fencing. */
export const fencingCodes = {
  'no-fencing': {
    means: 'Nothing is configured that could prove the other node off.',
    causes: ['the section `fencing` is missing'],
    next: 'Add it, at least `- type: manual`.',
  },
  'fence-path': {
    means: 'Some levels cannot read the power of the other node.',
    causes: ['the BMC or outlet is not reachable'],
    next: '`mailtwin fence test`. Until it is mended a failover needs a person at the machine.',
  },
  'fence-agent-missing': {
    means: 'The fence agent cannot be started.',
    causes: ['it is not installed', 'a typing error'],
    next: 'Install it (Debian: `fence-agents`), or correct its name.',
  },
  'fence-agent-metadata': {
    means: 'The program does not describe itself as a fence agent does.',
    causes: ['it is another program'],
    next: 'Name a fence agent of ClusterLabs, or use `type: command`.',
  },
  'fence-agent-unfit': {
    means: 'This fence agent cannot prove that a node is off.',
    causes: ['it can only power-cycle', 'it cannot read the state back'],
    next: 'Use another one, or `type: command`.',
  },
  'fence-command-missing': {
    means: 'The command of a level cannot be started.',
    causes: ['a wrong path', 'it is not executable'],
    next: 'Correct it in the section `fencing`.',
  },
  'fence-unreadable': {
    means: 'The state of the other node cannot be read.',
    causes: ['address, login or cipher suite of the BMC', 'the network to it'],
    next: '`mailtwin fence test`, and the device itself.',
  },
  'fence-timeout': {
    means: 'A level took longer than it may.',
    causes: ['the device is slow or gone'],
    next: 'Look at the device; raise `fencing[].timeoutSeconds` if it is slow.',
  },
  'fence-failed': {
    means: 'Switching off failed; the next level is tried.',
    causes: ['the login may only read', 'the device refused'],
    next: 'Look at the device.',
  },
  'fence-still-on': {
    means: 'Switching off was said to have worked, and the state still reads on.',
    causes: ['the wrong outlet or machine', 'a second power supply'],
    next: 'Look at the device; combine outlets with `all`.',
  },
  'fence-no-step-down': {
    means: 'The other node did not step down.',
    causes: ['its services do not stop', 'it is cut off'],
    next: 'Another level, or a person, must prove it off.',
  },
  'fence-aborted': { means: 'Fencing was broken off; nothing is proved.', causes: ['Ctrl-C'], next: 'Run the command again.' },
  'fence-not-stated': {
    means: 'The manual level needs a person who states that the node is off.',
    causes: ['`--fenced-by-hand` was not given'],
    next: 'Give `--fenced-by-hand EVIDENCE`: what you saw.',
  },
  'fence-wrong-node': {
    means: 'The name that was typed is not that of the node to be fenced.',
    causes: ['a typing error'],
    next: 'Type the name as it is.',
  },
} as const satisfies CodeEntries;

/** Codes of the mail services. */
export const serviceCodes = {
  'services-start': {
    means: 'A mail service did not start.',
    causes: ['its configuration', 'a port that is taken'],
    next: 'Its journal says why; nothing else was undone.',
  },
  'services-stop': {
    means: 'A mail service still runs, also after SIGKILL.',
    causes: ['a process that waits for a dead disk'],
    next: 'Stop it by hand, or cut the power, before anything else.',
  },
  'login-check': {
    means: 'The login that proves the service failed.',
    causes: ['user or password of `services.imap`', 'the mail server serves another copy'],
    next: 'Read the log of the mail server.',
  },
  'started-by-others': {
    means: 'Mail services ran on a node that is not active; the agent stopped them and names what they wrote.',
    causes: ['systemd without the gate', 'a container with a restart policy', 'a person'],
    next: 'Find who starts them; `mailtwin gate install` for systemd. Then `mailtwin verify` on the primary.',
  },
  'no-units': {
    means: 'The configuration names no units.',
    causes: ['`services.units` is empty'],
    next: 'Name them, or write `units: auto`.',
  },
  'gate-files': {
    means: 'The drop-ins of the gate cannot be written.',
    causes: ['the command does not run as root'],
    next: 'Run `mailtwin gate install` as root.',
  },
  'daemon-reload': {
    means: 'Files were written, and systemd was not told.',
    causes: ['`systemctl daemon-reload` failed'],
    next: 'Run `systemctl daemon-reload`.',
  },
} as const satisfies CodeEntries;

/** Codes of the verdict about a node, and of `/readyz`. */
export const verdictEntries = {
  well: { means: 'Nothing needs attention.', causes: [], next: 'Nothing.' },
  attention: {
    means: 'Replication works, and something needs attention.',
    causes: ['the warnings below it'],
    next: '`mailtwin status` names each with what to do.',
  },
  'cannot-take-over': {
    means: 'This standby could not take over now.',
    causes: ['a check of the takeover fails'],
    next: '`mailtwin status` names the checks; `mailtwin failover --dry-run` shows all of them.',
  },
  'no-status': { means: 'The agent cannot tell its status.', causes: ['it is starting, or failing'], next: 'Read the log of the agent.' },
} as const satisfies CodeEntries;
