import type { DovecotSettings } from './dovecot-config.ts';

/** dovecot.conf for Dovecot 2.4: the same server as `dovecotConfig` makes of 2.3. */
export function dovecotConfig24(settings: DovecotSettings): string {
  const { dir } = settings;
  const places = (path: string, suffix: string) =>
    [
      'mail_driver = maildir',
      `mail_path = ${path}${suffix}`,
      ...(settings.layout === 'fs' ? ['mailbox_list_layout = fs'] : []),
      ...(settings.indexDir === undefined ? [] : [`mail_index_path = ${settings.indexDir}${suffix}`]),
      ...(settings.controlDir === undefined ? [] : [`mail_control_path = ${settings.controlDir}${suffix}`]),
    ].join('\n');
  return `
dovecot_config_version = 2.4.0
dovecot_storage_version = ${settings.storageVersion ?? '2.4.0'}
base_dir = ${dir}/run
state_dir = ${dir}/state
log_path = ${dir}/dovecot.log
log_timestamp = "%Y-%m-%d %H:%M:%S "
listen = ${settings.listen}
protocols = imap lmtp
ssl = no
auth_allow_cleartext = yes
auth_mechanisms = plain
first_valid_uid = 1
first_valid_gid = 1
mail_uid = ${settings.mailUid}
mail_gid = ${settings.mailGid}
mail_home = ${dir}/home/%{user}
${places(settings.storeDir, '/%{user}')}
mail_max_userip_connections = 1000
passdb static {
  password = ${settings.password}
}
userdb static {
  allow_all_users = yes
  fields {
    uid = ${settings.mailUid}
    gid = ${settings.mailGid}
    home = ${dir}/home/%{user}
  }
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
${places(settings.publicDir, '')}
  list = yes
  subscriptions = no
}
`
}
service imap-login {
  restart_request_count = unlimited
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
