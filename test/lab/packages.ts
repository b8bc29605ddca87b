/** Debian packages that the end-to-end tests need. */
export const debianPackages = [
  'dovecot-core',
  'dovecot-imapd',
  'dovecot-lmtpd',
  'iproute2',
  'util-linux',
  'e2fsprogs',
  'rsync',
  'iputils-arping',
  'iputils-ping',
  'attr',
  'openssl',
  'openipmi',
  'ipmitool',
  'fence-agents',
];
