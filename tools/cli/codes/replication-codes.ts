import type { CodeEntries } from './code-entry.ts';

const bySelf = 'Replication goes on by itself.';

/** Codes of the agent's own store below the state directory. */
export const storeCodes = {
  'store-damaged': {
    means: 'The store of the agent is damaged. The agent ended with exit code 5 and is not restarted; mail services go on.',
    causes: ['the disk', 'a machine that was switched off while its disk lied about writes'],
    next: 'Check the disk, run `mailtwin repair-store`, start the agent. Never remove `store/` by hand: role and epoch are in it.',
  },
  'store-locked': {
    means: 'Another process uses the store of the agent.',
    causes: ['a second agent on the same state directory'],
    next: 'Stop the other one, or give this one its own state directory.',
  },
  'store-unwritable': {
    means: 'The store of the agent cannot be written.',
    causes: ['owner or mode of the state directory', 'a read-only file system'],
    next: 'Make the state directory writable for the user of the agent.',
  },
  'store-unmappable': {
    means: 'The process may not map as much memory as its store needs.',
    causes: ['a limit of address space'],
    next: 'Raise or remove it: `ulimit -v`, `LimitAS` of the unit.',
  },
  'store-failed': {
    means: 'The store of the agent cannot be written any more.',
    causes: ['the disk of the state directory'],
    next: 'Look at that disk and at the log of the agent.',
  },
  'state-full': {
    means: 'The disk of the state directory is full: nothing more is taken.',
    causes: ['something else fills that disk'],
    next: 'Make room there; everything goes on by itself.',
  },
  'state-unwritable': {
    means: 'The disk of the state directory takes no writes, or the directory is not what it was when the agent started.',
    causes: ['the disk failed or became read-only', 'something was mounted over it'],
    next: 'Mend it, or mount what belongs there; the agent tries again by itself.',
  },
  'disk-slow': {
    means: 'A disk has not taken what is to be written for some time.',
    causes: ['a failing disk', 'a backup or a check of the array', 'storage over a network that stands still'],
    next: 'Nothing, when it passes. Otherwise look at the disk, the kernel log, and what else writes there.',
  },
  'store-whole': {
    means: '`mailtwin repair-store` found no damage and changed nothing.',
    causes: ['the store is in order'],
    next: 'Start the agent. If it still says `store-damaged`, send a `mailtwin support-bundle`.',
  },
  'no-store': {
    means: '`mailtwin repair-store` found no store.',
    causes: ['the agent never ran on this state directory'],
    next: 'Start the agent; it makes one.',
  },
  'no-role': {
    means: '`mailtwin repair-store` cannot tell what this node was, and changed nothing.',
    causes: ['the file `role` of the state directory is gone as well'],
    next: 'Look at the other node. If that is primary: `mailtwin repair-store --as standby`; if it is not there: `--as fenced`.',
  },
} as const satisfies CodeEntries;

/** Codes of roots, mounts and places of a disk. */
export const rootCodes = {
  'root-missing': {
    means: 'The directory of a root is missing. Nothing of it is replicated or deleted.',
    causes: ['its file system is not mounted', 'it was renamed'],
    next: `Mount or restore it. ${bySelf}`,
  },
  'root-changed': {
    means: 'Another directory stands where a root was. Nothing of it is replicated or deleted.',
    causes: ['its file system is not mounted', 'the store was put there anew'],
    next: `Mount the right one; ${bySelf.toLowerCase()} If the new one is right: \`mailtwin accept-root NAME\`.`,
  },
  'root-unreadable': {
    means: 'The agent cannot read a root.',
    causes: ['permissions', 'the disk', 'too few open files or too little memory'],
    next: `Let the agent read it. ${bySelf}`,
  },
  'root-read-only': {
    means: 'The file system of a root of the standby is read-only.',
    causes: ['the kernel found an error of the disk'],
    next: `Look at \`dmesg\` and the disk, and mount it writable. ${bySelf}`,
  },
  'roots-accepted': {
    means: 'A root or file system was accepted as it is; the standby looks at it from the beginning.',
    causes: ['`mailtwin accept-root` was run'],
    next: 'Nothing; a command that was waiting can be run again.',
  },
  'unknown-root': {
    means: 'There is no root of that name. Nothing was changed.',
    causes: ['a typing error'],
    next: 'Use one of the names in the message.',
  },
  'mount-missing': {
    means: 'A file system below a root is not mounted. What is below waits, alone.',
    causes: ['it was unmounted', 'it cannot be read'],
    next: `Mount it. ${bySelf} If it does not come back: \`mailtwin accept-root ROOT/PATH\`.`,
  },
  'mount-changed': {
    means: 'Another file system is mounted below a root than the one that was replicated. What is below waits, alone.',
    causes: ['the wrong volume was mounted', 'a volume was replaced'],
    next: 'Mount the right one, or accept this one: `mailtwin accept-root ROOT/PATH`.',
  },
  'standby-mount': {
    means: 'A file system of the standby is missing; what belongs on it waits, alone.',
    causes: ['it is not mounted on the standby'],
    next: `Mount it there. ${bySelf}`,
  },
  'held-place': {
    means: '`mailtwin wait` or a takeover cannot pass a place that is held.',
    causes: ['a missing disk', 'a deletion that waits for a person'],
    next: 'The message names the place; `mailtwin status` says what mends it.',
  },
  staging: {
    means: 'The standby finds no directory in which to stage what arrives.',
    causes: ['the agent may not write on the file system of the root', 'the disk is full or failing'],
    next: 'Let the agent write there, or name a directory on that file system as `roots[].staging`.',
  },
  sandbox: {
    means: 'A path is read-only for the agent alone: the sandbox of its unit does not leave it open.',
    causes: ['a root, the state directory or the gate was changed in the configuration'],
    next: '`mailtwin sandbox install`, then `systemctl restart mailtwin`.',
  },
  'sandbox-file': {
    means: 'The drop-in for the sandbox cannot be written.',
    causes: ['the command does not run as root'],
    next: 'Run `mailtwin sandbox install` as root.',
  },
  'foreign-files': {
    means: 'A root of a standby that was never filled holds files of somebody else. The agent does not start.',
    causes: ['the standby was filled by another tool before', 'the wrong directory is configured'],
    next: 'Start it once with `mailtwin run --adopt` to keep what is the same, or `--move-aside` to put it away.',
  },
  disk: {
    means: 'A disk is nearly full.',
    causes: ['mail grows', 'history keeps much'],
    next: 'Make room or grow the file system; replication pauses below `limits.freeSpaceMin`.',
  },
} as const satisfies CodeEntries;

/** Codes of replication. */
export const replicationCodes = {
  comparing: {
    means: 'Both nodes are being compared after a gap.',
    causes: ['a reconnection or a restart'],
    next: 'Wait; `mailtwin status` shows the progress.',
  },
  incomplete: {
    means: 'The copy is not complete yet.',
    causes: ['the first fill runs', 'the standby came back with an older state'],
    next: 'Wait; `mailtwin status` shows the progress. A takeover is refused until then.',
  },
  lagging: {
    means: 'A file has not followed for minutes; everything else goes on.',
    causes: ['something writes to it without a pause', 'the standby has no room for it'],
    next: 'Stop what writes there for a moment, or add it to `exclude`. It is tried again by itself.',
  },
  unproven: {
    means: 'Places of the primary could not be read or watched: the copy may differ there.',
    causes: ['permissions', 'a damaged directory', 'more names than the index takes'],
    next: 'Mend what is named; each place is tried again with pauses of up to an hour, and by each `mailtwin wait`.',
  },
  doubt: {
    means: 'The standby may lack something of the places that are named.',
    causes: ['owner, ACL or time could not be set there', 'the place cannot be had on its disk'],
    next: 'Mend what is named; each place is tried again by itself.',
  },
  'in-doubt': {
    means:
      'Status: some places are in doubt. Takeover: the other node was asked to step down and did not answer, so what it does is not known.',
    causes: ['status: see `doubt` and `unproven`', 'takeover: the network or the primary failed in that moment'],
    next: 'Status: mend what is named. Takeover: bring the primary back and run `mailtwin switchover` again, or run `mailtwin failover`, which proves it off.',
  },
  'left-out': {
    means: 'Something below a root is not replicated, and nobody asked for that.',
    causes: ['a symbolic link that leads out of its root', 'a socket or device where the standby has mail from before'],
    next: 'Put the directory itself there (mount it), add its place as a root, or name it in `exclude`. The standby keeps what it had.',
  },
  'exclude-differs': {
    means: 'The two nodes leave out different paths.',
    causes: ['`roots[].exclude` was changed on one node alone'],
    next: 'Write the same list in the same order on both and start the agents again.',
  },
  'foreign-write': {
    means: 'Somebody else writes on the copy of the standby.',
    causes: ['a mail server or a script runs there', 'a restore was made on the wrong node'],
    next: 'Stop it, then run `mailtwin verify` on the primary.',
  },
  held: {
    means: 'Replication is held, or a command cannot end because it is.',
    causes: ['the code beside it says why'],
    next: '`mailtwin status` names the cause and what mends it.',
  },
  'held-places': {
    means: 'Some places wait, each alone, for a disk or for a person.',
    causes: ['a missing mount', 'a mass deletion'],
    next: '`mailtwin status` names each with what mends it.',
  },
  'mass-delete': {
    means: 'A mass deletion is held; everything else goes on.',
    causes: ['a user or a script removed or rewrote much at once', 'a store that is going away'],
    next: 'See whether the store is intact. If the deletion is wanted: `mailtwin allow-delete PLACE`. If the files come back, the hold ends by itself.',
  },
  'not-held': {
    means: 'Nothing is held at the place that was named. Nothing was changed.',
    causes: ['a typing error', 'the hold has ended'],
    next: '`mailtwin allow-delete` without a place shows what is held.',
  },
  'put-back': {
    means:
      'The store of the primary is an older state than its standby knows. Nothing is sent or undone, and the primary does not serve, until a person decides.',
    causes: ['a snapshot of the machine or a backup of the volume was put back'],
    next: '`mailtwin failover` on the standby keeps what the standby has; `mailtwin keep-this-store` on the primary keeps the older state.',
  },
  'standby-put-back': {
    means: 'The standby came back with an older state. It is filled again and is not ready before that.',
    causes: ['a snapshot or a backup of the standby was put back'],
    next: 'Nothing; wait until `mailtwin status` says streaming.',
  },
  'numbers-fell': {
    means: 'Mailboxes have lower UIDs than before the agent was started.',
    causes: ['these mailboxes were restored from a backup'],
    next: 'Nothing after a restore; clients may download them again. Otherwise find out who changed them.',
  },
  'not-put-back': {
    means: '`mailtwin keep-this-store` is for a primary that says `put-back`; this node is not one. Nothing was changed.',
    causes: ['the command was run on the wrong node, or too late'],
    next: '`mailtwin status` on both nodes.',
  },
  'not-standby': {
    means: 'The other node is not a standby and cannot give way to the older state.',
    causes: ['a takeover came in between'],
    next: '`mailtwin status` on both nodes.',
  },
  'server-runs': {
    means: '`mailtwin keep-this-store` raises UIDs, which it can only do while the mail server is stopped; the agent does not run it here.',
    causes: ['there is no section `services`'],
    next: 'Stop the mail server, run the command with `--server-stopped`, start the mail server again.',
  },
  'no-space': {
    means: 'The standby has no room.',
    causes: ['less than `limits.freeSpaceMin` would stay free'],
    next: `Make room there. ${bySelf}`,
  },
  'standby-io': {
    means: 'The standby cannot write what it gets.',
    causes: ['its disk', 'permissions'],
    next: 'Look at its disk; its log names the file. Sending is tried again by itself.',
  },
  stuck: {
    means: 'The standby has accepted something and cannot put it in place; or the other side takes no messages.',
    causes: ['the disk of the standby', 'a stopped process'],
    next: 'Look at that disk and at `mailtwin status` there.',
  },
  sync: {
    means: 'What the standby received cannot be written to its disk.',
    causes: ['the disk of the standby'],
    next: 'Look at that disk; the standby starts anew by itself.',
  },
  'history-full': {
    means: 'The history is larger than `history.max`, because a mass deletion is kept until the date that is named.',
    causes: ['much was deleted at once'],
    next: 'Nothing while the disk has room. Otherwise give it more, or raise `history.max`.',
  },
  capture: {
    means: 'The watcher of changes does not answer.',
    causes: ['the machine is overloaded', 'the watcher failed and is started again'],
    next: 'Read the log of the agent; `mailtwin doctor` checks the watcher.',
  },
  'no-capture': {
    means: 'Changes of the mail store are not being watched.',
    causes: ['no watcher could be started'],
    next: '`mailtwin doctor` says what it lacks.',
  },
  'fanotify-unavailable': {
    means: 'The watcher fanotify was asked for and cannot be used.',
    causes: ['the agent lacks CAP_SYS_ADMIN or CAP_DAC_READ_SEARCH', 'the kernel or the file system does not offer it'],
    next: 'Give the agent these capabilities, or set `capture.watcher` to `auto` or `chokidar`.',
  },
  'watch-refused': {
    means: 'The kernel refuses another inotify watch.',
    causes: ['`fs.inotify.max_user_watches` or `max_user_instances` is too low'],
    next: 'Raise both with sysctl; the package installs higher ones.',
  },
  verify: {
    means: 'A verification did not end clean.',
    causes: ['the nodes differ', 'places are left out or held', 'it could not be finished'],
    next: 'Run `mailtwin verify` again. What differs is sent anew.',
  },
  verifying: { means: 'A verification runs already.', causes: ['somebody else started it'], next: 'Wait until it has ended.' },
  moving: {
    means: 'Mail came in while the standby compared its disk, so the result would be worthless.',
    causes: ['the verification ran on the standby'],
    next: 'Run `mailtwin verify` on the primary; it compares both at rest.',
  },
} as const satisfies CodeEntries;

/** Codes by which the standby refuses a batch, or a large file, of the primary: the label of `mailtwin_rejected_batches_total`. */
export const batchCodes = {
  base: {
    means: 'The version that a delta builds on is not what the standby has.',
    causes: ['somebody else wrote on the copy', 'a disk returned other content'],
    next: 'Nothing: the whole file is sent. If it repeats, run `mailtwin verify` on the primary.',
  },
  content: {
    means: 'What arrived does not have the checksum that was announced.',
    causes: ['the file changed while it was sent', 'memory or network damaged it'],
    next: 'Nothing: it is sent again. If it repeats, look at the memory of both machines.',
  },
  from: {
    means: 'The batch does not continue the position of the standby.',
    causes: ['a reconnection or a takeover in that moment'],
    next: 'Nothing: the primary takes up where the standby is.',
  },
  io: { means: 'The standby could not write.', causes: ['its disk'], next: 'See `standby-io`.' },
  confined: {
    means: 'The batch names a path that is not below a root of the standby.',
    causes: ['the roots of the nodes differ', 'the other side is no honest agent'],
    next: 'Give both the same roots; otherwise report it.',
  },
  apart: {
    means: 'A directory cannot be renamed on the standby, because its new place is on another file system there.',
    causes: ['the standby has mounts that the primary lacks'],
    next: 'Nothing: the content is sent instead.',
  },
  path: {
    means: 'Some places cannot be had on the standby.',
    causes: ['a name that its file system does not take', 'permissions'],
    next: 'Nothing: the batch is made again without them; `mailtwin status` names them.',
  },
} as const satisfies CodeEntries;

const likePrimary = 'Use a file system on the standby like that of the primary, for example ext4 or xfs with their defaults.';

/** Codes of what the file systems of the standby cannot keep as those of the primary do. */
export const abilityCodes = {
  'time-step': { means: 'The disk of the standby keeps times in coarser steps.', causes: ['another file system'], next: likePrimary },
  'time-range': {
    means: 'The disk of the standby keeps no time after 2038 or so.',
    causes: ['ext4 with small inodes, or another file system'],
    next: likePrimary,
  },
  acls: {
    means: 'The disk of the standby has no ACLs; files with one are there with narrower permissions.',
    causes: ['it is mounted without ACLs'],
    next: `Mount it with ACLs. ${likePrimary}`,
  },
  attributes: { means: 'The disk of the standby keeps no extended attributes.', causes: ['another file system'], next: likePrimary },
  case: {
    means: 'The disk of the standby takes names that differ in upper and lower case alone for one.',
    causes: ['a file system that folds case'],
    next: likePrimary,
  },
  normalisation: {
    means: 'The disk of the standby takes names that differ in how accents are written for one.',
    causes: ['a file system that normalises names'],
    next: likePrimary,
  },
  'name-length': {
    means: 'The disk of the standby takes shorter names only.',
    causes: ['an encrypting or another file system'],
    next: likePrimary,
  },
  'any-owner': {
    means: 'The agent on the standby cannot give files every owner; such files are there, in doubt by name.',
    causes: ['it does not run as root', 'it runs in a user namespace'],
    next: 'Run it as root outside of a user namespace, as its unit does.',
  },
  'owner-names': {
    means: 'A user or group has another number on the other node.',
    causes: ['the nodes were installed apart'],
    next: 'Give it the same number on both nodes.',
  },
  selinux: {
    means: 'SELinux is enforcing on the standby, and labels are not replicated.',
    causes: ['the policy of the distribution'],
    next: 'Before a takeover: `semanage fcontext` for the roots, then `restorecon -R`.',
  },
} as const satisfies CodeEntries;

/** Codes of damaged content. */
export const damageCodes = {
  'damaged-here': {
    means: 'A disk of the primary returns other content than was written there. The standby keeps what it has of these files.',
    causes: ['a failing disk, controller or memory'],
    next: 'Look at the disk. `mailtwin scrub` names the files, `mailtwin scrub restore PLACE` brings what the standby has.',
  },
  'damaged-copy': {
    means: 'A file of the copy is damaged and was not brought again yet.',
    causes: ['a failing disk of the standby', 'the primary is not connected'],
    next: 'Look at the disk; the primary brings the file again by itself.',
  },
  'damaged-there': {
    means: 'The primary says that files of its disk are damaged; this copy keeps what it has of them.',
    causes: ['a failing disk of the primary'],
    next: 'Run `mailtwin scrub` on the primary.',
  },
  'scrub-late': {
    means: 'The content of this node was not read again within `scrub.days`.',
    causes: ['the agent did not run', 'disk or `scrub.maxRate` are too slow'],
    next: 'Let the agent run, raise `scrub.maxRate`, or allow more `scrub.days`.',
  },
  'no-scrub': {
    means: 'The content of this node is not read again.',
    causes: ['`scrub.days` is 0', 'the role is not entered yet'],
    next: 'Set `scrub.days` and start the agent again, or see `mailtwin status`.',
  },
  'not-damaged': {
    means: 'The file that was named is not known to be damaged. Nothing was changed.',
    causes: ['a typing error', 'it was mended meanwhile'],
    next: '`mailtwin scrub` names what is damaged.',
  },
  'no-good-version': {
    means: 'The standby has no good version of the file. Nothing was changed.',
    causes: ['it is damaged or missing there as well', 'the standby is not connected'],
    next: 'Bring the file back from a backup.',
  },
  'restore-changed': {
    means: 'The file was replaced meanwhile. Nothing was changed.',
    causes: ['the mail server wrote a new one'],
    next: '`mailtwin scrub` names what is still damaged.',
  },
  'restore-failed': {
    means: 'The good version cannot be written here; the damaged file is as it was.',
    causes: ['the disk is full or failing'],
    next: 'Look at the disk and its free space, then run the command again.',
  },
} as const satisfies CodeEntries;
