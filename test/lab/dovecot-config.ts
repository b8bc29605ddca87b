import { dovecotConfig24 } from './dovecot-config-24.ts';
import { labRelease, type Release } from './release.ts';

/** What kind of Dovecot a host runs. Paths are absolute. */
export interface DovecotSettings {
  /** Short: Unix socket paths have 107 bytes. Holds everything of the server but mail. */
  dir: string;
  /** The mail store: one directory a user below it. */
  storeDir: string;
  /** Default `maildir++`. */
  layout?: 'maildir++' | 'fs';
  /** Indexes and control files (uidlist, keywords, subscriptions) in places of their own, one directory a user. */
  indexDir?: string;
  controlDir?: string;
  /** A maildir that all users share as `Public/`. */
  publicDir?: string;
  /** Addresses to listen on. */
  listen: string;
  imapPort: number;
  lmtpPort: number;
  /** Numeric owner of all mail. */
  mailUid: number;
  mailGid: number;
  password: string;
  /** Whose Dovecot it is for. Default `labRelease`. */
  release?: Release;
  /** `dovecot_storage_version` of Dovecot 2.4: which release must be able to read what it writes. Default 2.4.0, as Debian 13 ships it. */
  storageVersion?: '2.3.0' | '2.4.0';
  /** Added at the end, in the syntax of the release. */
  extra?: string;
}

/** dovecot.conf for the Dovecot of the release. */
export function dovecotConfig(settings: DovecotSettings): string {
  return (settings.release ?? labRelease) === 'trixie' ? dovecotConfig24(settings) : dovecotConfig23(settings);
}

function dovecotConfig23(settings: DovecotSettings): string {
  const { dir } = settings;
  const location = (path: string, suffix: string) =>
    [
      `maildir:${path}${suffix}`,
      ...(settings.layout === 'fs' ? ['LAYOUT=fs'] : []),
      ...(settings.indexDir === undefined ? [] : [`INDEX=${settings.indexDir}${suffix}`]),
      ...(settings.controlDir === undefined ? [] : [`CONTROL=${settings.controlDir}${suffix}`]),
    ].join(':');
  return `
base_dir = ${dir}/run
state_dir = ${dir}/state
log_path = ${dir}/dovecot.log
log_timestamp = "%Y-%m-%d %H:%M:%S "
listen = ${settings.listen}
protocols = imap lmtp
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
first_valid_uid = 1
first_valid_gid = 1
mail_uid = ${settings.mailUid}
mail_gid = ${settings.mailGid}
mail_home = ${dir}/home/%u
mail_location = ${location(settings.storeDir, '/%u')}
mail_max_userip_connections = 1000
mail_plugin_dir = /usr/lib/dovecot/modules
passdb {
  driver = static
  args = password=${settings.password}
}
userdb {
  driver = static
  args = uid=${settings.mailUid} gid=${settings.mailGid} home=${dir}/home/%u allow_all_users=yes
}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Drafts {
    special_use = \\Drafts
  }
  mailbox Sent {
    special_use = \\Sent
  }
  mailbox Trash {
    special_use = \\Trash
  }
  mailbox Junk {
    special_use = \\Junk
  }
}
${
  settings.publicDir === undefined
    ? ''
    : `
namespace public {
  type = public
  separator = /
  prefix = Public/
  location = ${location(settings.publicDir, '')}
  list = yes
  subscriptions = no
}
`
}
service imap-login {
  service_count = 0
  process_min_avail = 1
  inet_listener imap {
    port = ${settings.imapPort}
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    port = ${settings.lmtpPort}
  }
}
${settings.extra ?? ''}
`;
}
