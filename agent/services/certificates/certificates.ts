import type { CertificateStatus, CertificateTold } from '../../../protocol/certificate.ts';
import { certificateLimits } from '../../../protocol/certificate.ts';
import type { ServicesConfig } from '../../config/takeover-sections/services.ts';
import type { CertificateFile } from '../../platform/certificate-file.ts';
import { sleep, type Clock } from '../../platform/clock.ts';
import { doveconfFile, doveconfSettings } from '../../platform/doveconf.ts';
import type { Exec } from '../../platform/exec.ts';
import { certificatePlaces, type CertificatePlace } from './certificate-places.ts';
import { postfixCertificates } from './postfix-places.ts';

export interface CertificateParts {
  services: Pick<ServicesConfig, 'units' | 'configCheck'> | null;
  exec: Exec;
  /** Reads a PEM certificate and its key; a key of null is not looked for. */
  read: (cert: string, key: string | null) => CertificateFile;
  clock: Clock;
}

const everyMs = 600_000;
/** Readings that were not renewed for so long are not repeated (I18). */
const readingsMsMax = 1_800_000;
const askMs = 5000;
/** How a file of a key alone is told. */
const holdsNone = ' holds no certificate';

/**
 * The certificates that clients of this node's Dovecot and Postfix see, or would see after a takeover. One that does not answer hides
 * nothing of the other. Null when none answers, or none is named by the configuration.
 */
export async function readCertificates({ services, exec, read }: Omit<CertificateParts, 'clock'>): Promise<CertificateStatus[] | null> {
  const file = services && doveconfFile(services);
  const hasPostfix = services?.units.some((unit) => /^postfix(@.*)?\.service$/.test(unit)) === true;
  const asked = await Promise.all([file ? dovecotPlaces(file, exec) : null, hasPostfix ? postfixCertificates(exec) : null]);
  const known = asked.filter((places) => places !== null);
  if (known.length === 0) return null;
  return known.flat().flatMap(({ name, cert, key, mayBeKeyAlone }) => {
    const { endsMs, names, problem } = read(cert, key);
    if (mayBeKeyAlone && problem?.endsWith(holdsNone)) return [];
    return [{ name, file: cert, names, endsAt: endsMs === null ? null : new Date(endsMs).toISOString(), problem }];
  });
}

async function dovecotPlaces(file: readonly string[], exec: Exec): Promise<CertificatePlace[] | null> {
  const shown = await exec('doveconf', ['-P', '-n', ...file], { timeoutMs: askMs }).catch(() => null);
  return shown?.code === 0 ? certificatePlaces(doveconfSettings(shown.stdout)) : null;
}

/**
 * Reads the certificates again and again: they are renewed while the agent runs.
 *
 * - `certificates.readings()`: what was read last; empty when nothing is known.
 * - `certificates.told()`: what the other node is told of the default one; null when there is none.
 * - `certificates.run(signal)`: reads until then.
 */
export class Certificates {
  readonly #p: CertificateParts;
  #last: { readings: CertificateStatus[]; atMs: number } | null = null;

  constructor(parts: CertificateParts) {
    this.#p = parts;
  }

  readings(): CertificateStatus[] {
    const last = this.#last;
    return last !== null && this.#p.clock.monotonicMs() - last.atMs <= readingsMsMax ? last.readings : [];
  }

  told(): CertificateTold | null {
    const usual = this.readings().find(({ name }) => name === 'default');
    if (!usual || usual.endsAt === null) return null;
    const names = usual.names.map((name) => name.slice(0, certificateLimits.nameCharsMax)).slice(0, certificateLimits.namesMax);
    return { names, endsMs: Math.max(0, Date.parse(usual.endsAt)) };
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const readings = await readCertificates(this.#p);
      // What cannot be read now keeps its last reading until that is too old.
      if (readings !== null) this.#last = { readings, atMs: this.#p.clock.monotonicMs() };
      await sleep(this.#p.clock, everyMs, signal);
    }
  }
}
