import { stringify } from 'yaml';
import { defaultExcludes } from '../../protocol/exclude.ts';
import { configKeys } from './keys.ts';
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

const lineMax = 116;

/** What the schema says of a key, as comment lines. */
function said(key: string, indent = ''): string {
  const means =
    configKeys()
      .find((each) => each.key === key)
      ?.means.replaceAll('`', '') ?? '';
  const lines: string[] = [];
  for (const word of means.split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || indent.length + last.length + word.length + 3 > lineMax) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.map((line) => `${indent}# ${line}`).join('\n');
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

${said('node')}
node: ${scalar(values.node)}

${said('role')}
role: ${values.role}

${said('state')}
state: ${scalar(values.state)}

${said('listen')}
listen: ${scalar(showHostPort(values.listen))}

peer:
${said('peer.addresses', '  ')}
  addresses:${addresses}

# The directory trees that are kept identical.
${['path', 'format', 'staging', 'exclude', 'mayBeEmpty'].map((key) => said(`roots[].${key}`).replace('# ', `# ${key}: `)).join('\n')}
roots:
${roots}
capture:
${said('capture.watcher', '  ')}
  watcher: auto
${said('capture.settleMs', '  ')} In milliseconds.
  settleMs: 3
${said('capture.restMaxMs', '  ')} In milliseconds.
  restMaxMs: 1000
${said('capture.rescanHours', '  ')} In hours.
  rescanHours: 24

limits:
${said('limits.bandwidth', '  ')} off, a rate such as 20MB/s, or by local
  # time of day, the first window that fits:
  #   bandwidth:
  #     - { from: "08:00", to: "18:00", rate: 20MB/s }
  #     - { from: "18:00", to: "08:00", rate: off }
  bandwidth: off
${said('limits.massDelete', '  ')}
  massDelete: 20%
${said('limits.massDeleteFilesMin', '  ')}
  massDeleteFilesMin: 1000
${said('limits.freeSpaceMin', '  ')}
  freeSpaceMin: 256MiB

history:
${said('history.keep', '  ')}
  keep: 14d
${said('history.max', '  ')}
  max: 20GiB

scrub:
${said('scrub.days', '  ')} In days; 0 = never.
  days: 14
${said('scrub.maxRate', '  ')}
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
${said('log.level', '  ')} debug, info, warn or error.
  level: info
`;
}
