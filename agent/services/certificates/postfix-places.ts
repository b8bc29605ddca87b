import type { Exec } from '../../platform/exec.ts';
import type { CertificatePlace } from './certificate-places.ts';

const askMs = 5000;
/** More services of master.cf than this are not looked at. */
const placesMax = 20;
const files = ['smtpd_tls_chain_files', 'smtpd_tls_cert_file', 'smtpd_tls_key_file'] as const;
const asked = [...files, 'smtpd_tls_security_level', 'smtpd_use_tls'];

/**
 * The certificates that clients of Postfix may see: `postfix`, and `postfix SERVICE` for each service of master.cf that names files of
 * its own. Empty where it offers no TLS, null when it does not answer.
 */
export async function postfixCertificates(exec: Exec): Promise<CertificatePlace[] | null> {
  const [shown, own] = await Promise.all([['-x', ...asked], ['-P']].map((args) => settingsOf(exec, args)));
  if (!shown || !own) return null;
  const usual = new Map(shown);
  // A service of its own may offer TLS, with the files of all, where Postfix otherwise does not.
  const isOn = [...shown, ...own].some(([name, value]) => offersTls(name.replace(/^.*\//, ''), value));
  const services = new Map<string, Map<string, string>>();
  for (const [name, value] of own) {
    const [, service, key] = /^([^/]+\/[^/]+)\/(\w+)$/.exec(name) ?? [];
    if (service === undefined || key === undefined || !files.some((each) => each === key)) continue;
    services.set(service, (services.get(service) ?? new Map(usual)).set(key, value));
  }
  return [
    ...(isOn ? placesOf('postfix', usual) : []),
    ...[...services].flatMap(([service, settings]) => placesOf(`postfix ${service}`, settings)),
  ].slice(0, placesMax);
}

function offersTls(key: string, value: string): boolean {
  if (key === 'smtpd_tls_security_level') return value !== '' && value !== 'none';
  return (key === 'smtpd_use_tls' || key === 'smtpd_tls_wrappermode') && value === 'yes';
}

/** Chains take the place of the other two; the key stands among them, in whichever file. */
function placesOf(name: string, settings: ReadonlyMap<string, string>): CertificatePlace[] {
  const value = (key: (typeof files)[number]) => settings.get(key) ?? '';
  const chains = value('smtpd_tls_chain_files')
    .split(/[\s,]+/)
    .filter(isPath);
  const [only] = chains;
  if (only !== undefined && chains.length === 1) return [{ name, cert: only, key: only }];
  if (chains.length > 1) return chains.map((cert) => ({ name, cert, key: null, mayBeKeyAlone: true }));
  const cert = value('smtpd_tls_cert_file');
  if (!isPath(cert)) return [];
  const key = value('smtpd_tls_key_file');
  return [{ name, cert, key: isPath(key) ? key : key === '' || key.startsWith('$') ? cert : null }];
}

async function settingsOf(exec: Exec, args: readonly string[]): Promise<[string, string][] | null> {
  const ran = await exec('postconf', args, { timeoutMs: askMs }).catch(() => null);
  if (ran?.code !== 0) return null;
  return ran.stdout.split('\n').flatMap((line): [string, string][] => {
    const [, key, value] = /^(\S+) =\s*(.*)$/.exec(line) ?? [];
    return key === undefined || value === undefined ? [] : [[key, value.trim()]];
  });
}

const isPath = (text: string) => text.startsWith('/');
