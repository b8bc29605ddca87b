import { stringify } from 'yaml';
import { defaultExcludes } from '../../protocol/exclude.ts';
import { showHostPort } from './values.ts';

/** What `mailtwin init` asks for. Paths are text as the operator wrote them. */
export interface TemplateValues {
  node: string;
  role: 'primary' | 'standby';
  state: string;
  listen: { host: string; port: number };
  metrics: { host: string; port: number } | null;
  peerAddresses: { host: string; port: number }[];
  roots: { name: string; path: string; format: 'maildir' | 'plain' }[];
}

/** One value as YAML, in quotes where it needs them. */
function scalar(value: string): string {
  return stringify(value, { lineWidth: 0 }).trimEnd();
}

/** The commented configuration file that `init` writes. It loads back to the same values, with every other one at its default. */
export function renderConfig(values: TemplateValues): string {
  const roots = values.roots
    .map(
      (root) =>
        `  - name: ${scalar(root.name)}\n    path: ${scalar(root.path)}\n    format: ${root.format}\n    exclude:\n${defaultExcludes[root.format].map((text) => `      - ${scalar(text)}\n`).join('')}`,
    )
    .join('');
  const addresses =
    values.peerAddresses.length === 0 ? ' []' : values.peerAddresses.map((a) => `\n    - ${scalar(showHostPort(a))}`).join('');
  return `# Configuration of mailtwin. Sizes: kB, MB, GB (powers of 1000) or KiB, MiB, GiB (powers of 1024).
# A change takes effect when the agent is started again.

# The name of this node, different on the two nodes of a pair.
node: ${scalar(values.node)}

# What this node starts its life as: primary (serves the mail) or standby (holds the copy).
role: ${values.role}

# The agent's own directory: key, journal, index. Never inside a root.
state: ${scalar(values.state)}

# Where this node accepts the pair's connection. The standby connects to the primary; both have it,
# because a takeover turns them round.
listen: ${scalar(showHostPort(values.listen))}

peer:
  # Addresses of the other node as HOST:PORT, tried in order, beside the one that pairing stored.
  addresses:${addresses}

# The directory trees that are kept identical. Names and formats are the same on both nodes; paths may differ.
# format: maildir (Dovecot or Courier) or plain (any other files).
# staging: where a standby stages what arrives, on the same file system; chosen by itself when left out.
# exclude: what is left out, by patterns in the style of .gitignore, the same on both nodes; these when left out. Full-text
#   indexes are made anew by the mail server after a takeover: \`doveadm fts rescan -A\`.
# mayBeEmpty: true takes an empty directory for a root; otherwise it is taken for a mount that is missing.
roots:
${roots}
capture:
  # auto uses fanotify where the kernel and the privileges allow it, otherwise chokidar.
  watcher: auto
  # Milliseconds from a first hint to looking, so that what belongs together goes together.
  settleMs: 3
  # A mailbox that never rests is sent as it is after this many milliseconds.
  restMaxMs: 1000
  # Every root is compared with the index this often, also without a hint. 0 = never.
  rescanHours: 24

limits:
  # Background fill only; changes as they happen are never slowed down. off, a rate such as 20MB/s, or by local
  # time of day, the first window that fits wins:
  #   bandwidth:
  #     - { from: "08:00", to: "18:00", rate: 20MB/s }
  #     - { from: "18:00", to: "08:00", rate: off }
  bandwidth: off
  # When more than this share of a root's files would be lost within ten minutes, deleted or rewritten, that is held
  # until \`mailtwin allow-delete\`. 100% = never.
  massDelete: 20%
  # Fewer files than this are held only when they are most of a small root: more than half of it, or more than 80% when
  # one mailbox loses them, and more than 30 files.
  massDeleteFilesMin: 1000
  # The standby accepts nothing when less than this would stay free.
  freeSpaceMin: 256MiB

history:
  # How long, and up to which size, the standby keeps what replication deleted or overwrote.
  keep: 14d
  max: 20GiB

scrub:
  # All content on this node is read from its disk again within so many days and held against what it was. 0 = never.
  days: 14
  # Never faster than this.
  maxRate: 32MiB/s

# For a takeover: how this node makes sure that the OTHER one is off. Levels are tried in order until one proves it by
# reading the state back. \`mailtwin fence test\` reads each and changes nothing.
#   agent: a fence agent of ClusterLabs; secrets are files that only the agent can read.
#   command: \`status\` ends with 0 = on, 2 = off, anything else = not known.
# fencing:
#   - { type: agent, agent: fence_ipmilan, options: { ip: 192.0.2.9, username: admin, lanplus: "1" }, secrets: { password: /etc/mailtwin/bmc.secret } }
#   - { type: command, off: [/usr/local/sbin/pdu, "off"], status: [/usr/local/sbin/pdu, status] }
#   - { type: cooperative }
#   - { type: manual }

# The mail services, which run on the active node alone: systemd units that have the drop-in 10-mailtwin.conf, or
# commands (\`status\` ends with 0 = running, 3 = stopped: no process of the mail server is left, sessions included).
# imap is a login that proves that mail is served. queue is where an MTA keeps accepted mail that waits, which is counted and
# not replicated: auto finds that of Postfix or Exim among the units; { postfix: DIR }, { exim: DIR }, or none.
# services:
#   units: [mailtwin-active.target, dovecot.service, postfix.service]
#   configCheck: [doveconf, -n]
#   imap: { host: 127.0.0.1, port: 143, user: probe, passwordFile: /etc/mailtwin/probe.secret, tls: starttls }
#   queue: auto

# Service addresses that move with the active role, by the segment that they belong to (a network role). An address
# goes only to a port with carrier on which one of the role's gateways answers. Without this the agent moves none.
# network:
#   roles:
#     - name: lan
#       addresses: [192.0.2.10/24, "2001:db8::10/64"]
#       vlan: 0                          # 0 = untagged
#       gateways: [192.0.2.1, "2001:db8::1"]
#       default: true                    # its gateways are the default routes while this node is active
#       routes: [{ to: 198.51.100.0/24, via: 192.0.2.2 }]
#       proof: []                        # other hosts of the segment whose answer proves it as well
#   witnesses: [192.0.2.1]               # answer as long as this node is not the isolated one

# How a takeover goes. A hook is a program with its arguments; a before hook that fails stops the takeover as long as that
# is possible. Points: before- and after- quiesce, stepdown, fence, epoch, apply, raise, addresses, services, check.
# takeover:
#   startAloneSeconds: 60                # a primary whose peer is silent starts alone after this
#   quiesceMaxSeconds: 30                # a primary quiesced for a switchover serves again when nothing more is heard
#   uidMarginMin: 100000                 # UIDs are raised by at least this after a takeover that may have lost a tail
#   hooks: { after-services: [/usr/local/sbin/tell-everybody, mail-has-moved] }

# Who is told at once when something changes, and once a day how it stands: by mail through a server that is NOT the one
# that is replicated, and by a webhook (POST of JSON). Try it with \`mailtwin notify test\`.
# notices:
#   smtp:
#     host: smtp.example.net
#     port: 587
#     tls: starttls                      # starttls, implicit or none
#     login: { user: mailtwin, passwordFile: /etc/mailtwin/smtp.secret }
#     from: mailtwin@example.net
#     to: [admin@example.net]
#     evenThroughThisHost: false         # true lets the server be this host or a service address
#   webhook: { url: "https://example.net/hook", secretFile: /etc/mailtwin/webhook.secret }
#   digest: "07:00"                      # local time of the daily digest, or off
#   graceSeconds: 60                     # a condition lasts this long before it is told

# Prometheus metrics and health, as HOST:PORT, or off; over a LAN: { listen: HOST:PORT, tls: { cert, key }, auth: { user, passwordFile } }; asked by a name
# of DNS: names: [mail-a.example.org].
metrics: ${values.metrics === null ? 'off' : scalar(showHostPort(values.metrics))}

log:
  # debug, info, warn or error.
  level: info
`;
}
