import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { DebianHost } from './debian-host.ts';
import { runNow } from './processes.ts';
import type { Release } from './release.ts';

/** The mail server of a Debian that a test boots, and a way to give it a message. */
const common = ['dovecot-imapd', 'dovecot-lmtpd', 'postfix', 'ipmitool', 'zsh', 'man-db', 'faketime', 'systemd-timesyncd'];
export const mailPackages: Record<Release, readonly string[]> = {
  bookworm: [...common, 'fence-agents'],
  trixie: [...common, 'fence-agents-ipmilan'],
};
export const users = ['anna', 'bert'];
export const password = 'geheim';

/** Dovecot and Postfix as an appliance has them: users in a file, Maildir in /var/vmail, delivery by LMTP. */
export function mailServer(host: DebianHost, release: Release): void {
  runNow('chroot', [host.tree, 'groupadd', '-f', '-g', '5000', 'vmail']);
  if (!host.read('/etc/passwd').includes('\nvmail:'))
    runNow('chroot', [host.tree, 'useradd', '-u', '5000', '-g', 'vmail', '-d', '/var/vmail', '-M', 'vmail']);
  mkdirSync(join(host.tree, 'var/vmail'), { recursive: true });
  runNow('chroot', [host.tree, 'chown', 'vmail:vmail', '/var/vmail']);
  host.write('/etc/dovecot/users', [...users, 'probe'].map((user) => `${user}:{PLAIN}${password}::::::\n`).join(''));
  for (const [file, text] of Object.entries(dovecotFiles[release])) host.write(`/etc/dovecot/${file}`, text);
  host.write('/etc/mailname', 'example.test\n');
  host.write(
    '/etc/postfix/main.cf',
    `compatibility_level = 3.6
myhostname = mail.example.test
mydestination =
inet_interfaces = all
inet_protocols = ipv4
mynetworks = 127.0.0.0/8 10.77.0.0/24
virtual_mailbox_domains = example.test
virtual_transport = lmtp:unix:private/dovecot-lmtp
maillog_file = /var/log/postfix.log
`,
  );
}

const lmtpListener = `service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0660
    user = postfix
    group = postfix
  }
}
`;

/** What is changed in the configuration that Debian's packages bring. */
const dovecotFiles: Record<Release, Record<string, string>> = {
  bookworm: {
    'conf.d/10-auth.conf': 'auth_mechanisms = plain login\n',
    'local.conf': `protocols = imap lmtp
disable_plaintext_auth = no
ssl = no
mail_location = maildir:/var/vmail/%n
auth_username_format = %Ln
passdb {
  driver = passwd-file
  args = username_format=%n /etc/dovecot/users
}
userdb {
  driver = static
  args = uid=vmail gid=vmail home=/var/vmail/%n
}
${lmtpListener}`,
  },
  trixie: {
    'conf.d/10-auth.conf': 'auth_mechanisms = plain login\n',
    // Debian's puts INBOX into /var/mail, and an empty `mail_inbox_path` below the mail path: the line has to go.
    'conf.d/10-mail.conf': `mail_driver = maildir
mail_path = /var/vmail/%{user | username}
namespace inbox {
  inbox = yes
}
`,
    'local.conf': `protocols = imap lmtp
auth_allow_cleartext = yes
ssl = no
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
userdb static {
  fields {
    uid = vmail
    gid = vmail
    home = /var/vmail/%{user | username}
  }
}
${lmtpListener}`,
  },
};

/** One message by SMTP (RFC 5321). @throws when the server does not take responsibility for it. */
export async function smtp(host: string, recipient: string, message: string): Promise<void> {
  const socket = connect({ host, port: 25 });
  socket.setEncoding('latin1');
  socket.setTimeout(30_000, () => socket.destroy(new Error('the SMTP server is silent')));
  const lines = [`EHLO client`, 'MAIL FROM:<sender@example.net>', `RCPT TO:<${recipient}>`, 'DATA', `${message}.`, 'QUIT'];
  const wanted = ['220', '250', '250', '250', '354', '250', '221'];
  let buffer = '';
  try {
    await new Promise<void>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the SMTP server closed the connection')));
      socket.on('data', (text: string) => {
        buffer += text;
        const reply = /^(?:\d{3}-.*\r\n)*(\d{3}) .*\r\n$/.exec(buffer);
        if (!reply) return;
        buffer = '';
        if (reply[1] !== wanted.shift()) reject(new Error(`the SMTP server said ${reply[0]}`));
        else if (lines.length === 0) resolve();
        else socket.write(`${lines.shift()}\r\n`);
      });
    });
  } finally {
    socket.destroy();
  }
}
