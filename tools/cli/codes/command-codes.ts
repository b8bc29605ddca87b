import type { CodeEntries } from './code-entry.ts';

/** Codes of commands, of the configuration, and of the agent's start. */
export const commandCodes = {
  usage: {
    means: 'The command line cannot be understood.',
    causes: ['a required option or argument is missing', 'an address is not HOST:PORT', 'the command takes no such option'],
    next: 'Read the message and `mailtwin COMMAND --help`. Nothing was changed.',
  },
  config: {
    means: 'The configuration file is missing, cannot be read, or holds a wrong key or value.',
    causes: ['a typing error in the line that is named', 'the command reads another file than you think: name it with `--config`'],
    next: 'Correct the line that is named. `man mailtwin.yaml` has every key.',
  },
  exists: {
    means: '`mailtwin init` found something where it would write, and wrote nothing.',
    causes: ['this node was set up before', 'two nodes on one machine are to share a directory'],
    next: 'Use what is there, move it away, or name other places with `--config` and `--state`.',
  },
  'init-failed': {
    means: '`mailtwin init` could not write the configuration or the key. Nothing was changed.',
    causes: ['the user may not write there', 'the disk is full or read-only'],
    next: 'Run it as root, or name other places with `--config` and `--state`.',
  },
  'few-files': {
    means: 'This process may open too few files at once to start.',
    causes: ['a low limit of the shell or of the unit'],
    next: 'Raise it: `ulimit -n` in the shell, `LimitNOFILE` in the unit.',
  },
  'agent-not-running': {
    means: 'No agent answers on the control socket of this node.',
    causes: ['the agent was not started, or has ended', 'the command reads another configuration than the agent does'],
    next: 'Start it: `systemctl start mailtwin`, or `mailtwin run`. `journalctl -u mailtwin` says why it ended.',
  },
  'no-permission': {
    means: 'The control socket of the agent is closed to you.',
    causes: ['the command runs as another user than the agent'],
    next: 'Run the command as the user of the agent, usually root: `sudo mailtwin ...`.',
  },
  'agent-silent': {
    means: 'The agent took the request and did not answer.',
    causes: ['the agent hangs, or its disk does'],
    next: 'Read `journalctl -u mailtwin`; restart the agent when it does not recover.',
  },
  'agent-ended': {
    means: 'The agent ended before the command had its result.',
    causes: ['the agent was stopped or restarted meanwhile', 'the agent failed'],
    next: 'Read `journalctl -u mailtwin`, start the agent and run the command again. An interrupted takeover goes on where it was.',
  },
  'already-running': {
    means: 'Another agent uses this state directory.',
    causes: ['the unit runs, and `mailtwin run` was started beside it'],
    next: 'Use the agent that runs. A second node on this machine needs its own configuration and state directory.',
  },
  'no-state': {
    means: 'The state directory is missing.',
    causes: ['this node was never set up', 'the disk of the state directory is not mounted'],
    next: 'Mount it, correct `state` in the configuration, or run `mailtwin init` on a new node.',
  },
  'no-key': {
    means: 'The key of this node is missing.',
    causes: ['the state directory is new or was emptied'],
    next: 'Put `node.key` and `node.crt` back from a backup, or run `mailtwin init` and pair again.',
  },
  'bad-key': {
    means: 'The key of this node cannot be used.',
    causes: ['the files belong to another user', 'the files are damaged'],
    next: 'Run the agent as their owner. If they are damaged, put them back from a backup, or make new ones and pair again.',
  },
  'control-socket': {
    means: 'The agent cannot make its control socket.',
    causes: ['the state directory belongs to another user', 'it lies on a network file system'],
    next: 'Let the state directory be local and belong to the user of the agent.',
  },
  'start-failed': {
    means: 'The agent cannot start, for a reason that has no code of its own.',
    causes: ['the disk of the state directory fails or is full'],
    next: 'Read the log line before this one. When state directory and disk are in order, send a `mailtwin support-bundle`.',
  },
  'part-failed': {
    means: 'A part of the agent failed; it is started again within a minute.',
    causes: ['a passing fault of disk or network', 'a fault of mailtwin'],
    next: 'Wait. When it does not pass, `journalctl -u mailtwin` has the details; send a `mailtwin support-bundle`.',
  },
  internal: {
    means: 'A fault of mailtwin.',
    causes: ['a case that nobody foresaw'],
    next: 'Report it with the log of the agent and a `mailtwin support-bundle`.',
  },
  'wrong-role': {
    means: 'The command belongs on the other node.',
    causes: ['the roles were exchanged by a takeover'],
    next: 'Look at `mailtwin status`, and run the command on the other node.',
  },
  role: {
    means: 'The role changed; or the configuration names another role than this node has.',
    causes: ['a takeover moved the role', 'the configuration was copied from the other node'],
    next: 'Where the agent refuses to start, set `role` to what the message says. A role changes by a takeover, never by the configuration.',
  },
  'metrics-address': {
    means: 'Metrics and status page cannot be served on the configured address.',
    causes: ['another program has the port', 'the address is not one of this host'],
    next: 'Set `metrics` to a free address of this host, or to `off`.',
  },
  'metrics-tls': {
    means: 'Certificate or key of `metrics.tls` cannot be used.',
    causes: ['a file is missing or is not PEM', 'the key does not belong to the certificate', 'the key is open to other users'],
    next: 'Give a certificate and its own key as PEM, and `chmod 600` the key.',
  },
  'secret-file': {
    means: 'A file with a secret cannot be used.',
    causes: ['it is missing', 'it is open to every user, or to a group other than that of root', 'it is not one line'],
    next: 'Write the secret as one line and `chmod 600` the file.',
  },
  'bundle-file': {
    means: 'The support archive cannot be written.',
    causes: ['you may not write there, or something has that name'],
    next: 'Name another file with `--out`.',
  },
  'snapshot-file': {
    means: 'The snapshot of the mailboxes cannot be written or read.',
    causes: ['you may not write there', 'the file is no snapshot'],
    next: 'Make one with `mailtwin migrate snapshot FILE` before the move.',
  },
  'report-file': {
    means: 'The report cannot be written.',
    causes: ['you may not write there'],
    next: 'Name another file with `--html`.',
  },
  'plan-file': {
    means: 'The file of a plan cannot be read or written, or holds no plan.',
    causes: ['a wrong name', 'another release of mailtwin wrote it'],
    next: 'Write a plan with `--dry-run FILE`.',
  },
  'unknown-code': {
    means: '`mailtwin explain` was asked for a code that there is not.',
    causes: ['a typing error', 'the code is of another release'],
    next: '`mailtwin explain` lists every code.',
  },
  'demo-failed': {
    means: '`mailtwin demo` did not come to its end.',
    causes: ['one of its agents failed'],
    next: 'Run `mailtwin demo --keep` and read the logs in the directory that it names.',
  },
  interrupted: {
    means: 'The command was interrupted.',
    causes: ['Ctrl-C, or the agent was stopped'],
    next: 'Run it again. An interrupted takeover says whether it goes on or is rolled back.',
  },
  'not-confirmed': {
    means: 'Nobody answered the question of the command. Nothing was changed.',
    causes: ['the command runs without a terminal'],
    next: 'Run it on a terminal, or give the option that the message names.',
  },
  'wrong-name': {
    means: 'The name that was typed is not that of the node. Nothing was changed.',
    causes: ['a typing error', 'the command was run on the other node than intended'],
    next: 'Type the name that the message shows, or give it with `--confirm`.',
  },
  'no-notices': {
    means: 'The configuration has no section `notices`: nobody is told of anything.',
    causes: ['the section was never written'],
    next: 'Add it and start the agent again; `man mailtwin.yaml` has its keys.',
  },
  'notices-through-self': {
    means: 'Notices would go through the very mail server that is replicated, and die with it.',
    causes: ['`notices.smtp.host` is this host or a service address'],
    next: 'Name a mail server that is not replicated, or set `notices.smtp.evenThroughThisHost: true`.',
  },
  'notices-ca': {
    means: 'The file of certificates for notices is missing.',
    causes: ['a wrong path in `notices.smtp.caFile`'],
    next: 'Correct the path, or omit the key to trust the certificates of the system.',
  },
} as const satisfies CodeEntries;
