import type { MetricsConfig } from '../config/config.ts';
import { OperatorError } from '../platform/errors.ts';
import { realFiles } from '../platform/real-files.ts';
import { openTo, readSecret } from '../platform/secret-file.ts';

const pemBytesMax = 256 * 1024;

/** What the metrics' server needs of files. @throws OperatorError `secret-file`, `metrics-tls`. */
export function metricsSecrets({ tls, auth }: MetricsConfig): {
  tls: { cert: string; key: string } | null;
  auth: { user: string; password: string } | null;
} {
  return {
    tls: tls && { cert: readPem(tls.cert, 'certificate'), key: readPem(tls.key, 'key') },
    auth: auth && { user: auth.user, password: readSecret(realFiles, auth.passwordFile, 'the password of the metrics') },
  };
}

function readPem(path: string, what: string): string {
  const file = realFiles.readFile(Buffer.from(path, 'utf8').toString('latin1'), pemBytesMax);
  if (!file) throw new OperatorError('metrics-tls', `the ${what} of \`metrics.tls\` is not there: ${path}`, `write it to ${path}, as PEM`);
  const open = what === 'key' ? openTo(file.stat) : null;
  if (open !== null) throw new OperatorError('metrics-tls', `the key of \`metrics.tls\` is open to ${open}: ${path}`, `chmod 600 ${path}`);
  return file.data.toString('latin1');
}
