import type { DovecotSetting } from '../../platform/doveconf.ts';

/** Where the configuration of a mail server says that a certificate lies. */
export interface CertificatePlace {
  /** For which name of the server clients see it (`local_name`); `default` for all others. */
  name: string;
  cert: string;
  /** Null where the configuration does not tell. */
  key: string | null;
  /** A list of files of which some may hold a key and no certificate. */
  mayBeKeyAlone?: true;
}

/** More names than this are not looked at. */
const placesMax = 20;

/**
 * The certificates that clients may see, by what `doveconf -P -n` shows (without `-P` it hides where the keys lie); empty where TLS
 * is off. A block takes what it does not say itself from above.
 */
export function certificatePlaces(settings: readonly DovecotSetting[]): CertificatePlace[] {
  const inSection = (section: string) => settings.filter((each) => each.section === section);
  const global = [...inSection(''), ...inSection('ssl_server')];
  if (valueOf(global, 'ssl') === 'no') return [];
  const names = settings.flatMap(({ section }) => /^local_name (.+?)(?: ssl_server)?$/.exec(section)?.[1] ?? []);
  const blocks = [...new Set(names)].map((name) => ({
    name: name.replace(/^"(.*)"$/, '$1'),
    own: [...inSection(`local_name ${name}`), ...inSection(`local_name ${name} ssl_server`)],
  }));
  return [{ name: 'default', own: global }, ...blocks]
    .flatMap(({ name, own }): CertificatePlace[] => {
      const cert = fileOf(own, 'cert');
      if (cert === null) return [];
      return [{ name, cert, key: fileOf(own, 'key') ?? fileOf(global, 'key') }];
    })
    .slice(0, placesMax);
}

/** `ssl_cert = </file` of Dovecot 2.3, `ssl_server_cert_file = /file` of 2.4. */
function fileOf(settings: readonly DovecotSetting[], what: 'cert' | 'key'): string | null {
  const later = valueOf(settings, `ssl_server_${what}_file`) ?? valueOf(settings, `${what}_file`);
  const path = later ?? valueOf(settings, `ssl_${what}`)?.replace(/^<\s*/, '') ?? '';
  // What is written into the configuration itself is no file, and a key there is nothing to be carried around.
  return path.startsWith('/') ? path : null;
}

function valueOf(settings: readonly DovecotSetting[], key: string): string | undefined {
  return settings.findLast((each) => each.key === key)?.value;
}
