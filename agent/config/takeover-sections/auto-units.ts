import { readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** The text of a unit file by its name; null where there is none, or where it is masked. Handed in. */
export type ReadUnit = (name: string) => string | null;

/** Where unit files lie (systemd.unit(5)), the first one counts. */
const dirs = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
];

/** What takes, keeps or hands out mail, as packages of Debian name it; in the order in which systemd is told. */
const mailUnits = [
  'mailtwin-active.target',
  'dovecot.service',
  'cyrus-imapd.service',
  'courier-authdaemon.service',
  'courier-imap.service',
  'courier-pop.service',
  'rspamd.service',
  'opendkim.service',
  'opendmarc.service',
  'amavis.service',
  'postfix@-.service',
  'postfix.service',
  'exim4.service',
];

/** `services.units: auto`: the mail services of which this node has a unit. */
export function autoUnits(read: ReadUnit = readUnitFile): string[] {
  const found = mailUnits.filter((name) => {
    if (name !== 'postfix@-.service') return read(name) !== null;
    // Up to Debian 12 the instance is the server, and the service only stands for all of them; since Debian 13 they conflict.
    return read('postfix@.service') !== null && /^ExecStart=\/(usr\/)?bin\/true$/m.test(read('postfix.service') ?? '');
  });
  // The target alone serves nobody.
  return found.some((name) => name !== 'mailtwin-active.target') ? found : [];
}

/** Reads the unit file that systemd would take. */
function readUnitFile(name: string): string | null {
  for (const dir of dirs) {
    const path = join(dir, name);
    try {
      if (linkOf(path) === '/dev/null') return null;
      return readFileSync(path, 'utf8');
    } catch {
      // Not here; a file that cannot be read is judged by doctor when systemd cannot load it either.
    }
  }
  return null;
}

function linkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
