import { dirname } from 'node:path';
import type { DoctorFinding } from '../../../protocol/control.ts';
import type { Config } from '../../config/config.ts';
import { openTo } from '../../platform/secret-file.ts';
import { devicesOf } from './fencing-checks.ts';
import { fail, octal, pass, quoted, warn, type Check, type Facts } from './finding.ts';
import type { SecretFile } from './probe.ts';

interface Secret {
  /** Where the configuration names it. */
  key: string;
  path: string;
  /** A PEM file has many lines, and a certificate is no secret. */
  is: 'secret' | 'key' | 'certificate';
}

const dayMs = 86_400_000;
const certificateDaysMin = 14;

/** The files that hold what nobody but the agent may read. What is in them is never told. */
export const secretChecks: Check[] = [
  {
    id: 'secrets',
    run(facts) {
      const secrets = secretsOf(facts.config);
      if (secrets.length === 0) return [];
      const troubles = secrets.flatMap((secret) => judge(secret, facts));
      return troubles.length > 0 ? troubles : [pass('secrets', `${secrets.length} files of secrets are there and private`)];
    },
  },
  {
    id: 'certificate',
    run({ probe, config }) {
      const tls = config.metrics?.tls;
      if (!tls) return [];
      const { endsMs, fits } = probe.certificate(tls.cert, tls.key);
      if (endsMs === null)
        return [
          fail('certificate', 'the certificate of `metrics.tls` cannot be read', tls.cert, `write a certificate to ${tls.cert}, as PEM`),
        ];
      if (fits === false)
        return [
          fail(
            'certificate',
            'certificate and key of `metrics.tls` do not belong together',
            `${tls.cert} and ${tls.key}`,
            'name the key that the certificate was made for, then start the agent again',
          ),
        ];
      const days = Math.floor((endsMs - probe.wallMs()) / dayMs);
      const evidence = `${tls.cert} ends ${new Date(endsMs).toISOString().slice(0, 10)}`;
      const remedy = `write a new certificate to ${tls.cert} and start the agent again: systemctl restart mailtwin`;
      if (days < 0) return [fail('certificate', 'the certificate of `metrics.tls` has expired', evidence, remedy)];
      if (days < certificateDaysMin)
        return [warn('certificate', `the certificate of \`metrics.tls\` expires in ${days} days`, evidence, remedy)];
      return [pass('certificate', 'the certificate of `metrics.tls` is good', evidence)];
    },
  },
];

function secretsOf({ fencing, services, metrics, notices }: Config): Secret[] {
  const secret = (key: string, path: string | null | undefined, is: Secret['is'] = 'secret') => (path ? [{ key, path, is }] : []);
  return [
    ...fencing.flatMap((level, i) =>
      devicesOf(level).flatMap((device) =>
        device.type === 'agent'
          ? Object.entries(device.secrets).flatMap(([name, path]) => secret(`fencing.${i}.secrets.${name}`, path))
          : [],
      ),
    ),
    ...secret('services.imap.passwordFile', services?.imap?.passwordFile),
    ...secret('metrics.auth.passwordFile', metrics?.auth?.passwordFile),
    ...secret('metrics.tls.key', metrics?.tls?.key, 'key'),
    ...secret('notices.smtp.login.passwordFile', notices?.smtp?.login?.passwordFile),
    ...secret('notices.smtp.caFile', notices?.smtp?.caFile, 'certificate'),
    ...secret('notices.webhook.secretFile', notices?.webhook?.secretFile),
  ];
}

function judge({ key, path, is }: Secret, { probe }: Facts): DoctorFinding[] {
  const file = probe.secretFile(path);
  const at = quoted(path);
  const shown = `${path} (\`${key}\`)`;
  const write =
    is === 'secret'
      ? `(umask 077; cat > ${at}), type the secret on one line, then Ctrl-D`
      : `write it to ${at} as PEM${is === 'key' ? ', mode 0600' : ''}, or correct \`${key}\``;
  const broken = brokenBy(file, is);
  if (broken !== null) return [fail('secrets', `${broken}: \`${key}\``, shown, write)];
  if (file.state === 'refused') {
    const remedy = 'run the doctor and the agent as root, or give the file to the user that the agent runs as';
    return [
      probe.userId() === 0
        ? fail('secrets', `a file of secrets cannot be read: \`${key}\``, shown, `look at ${at}: the disk, or what guards it`)
        : warn('secrets', `this user may not read a file of secrets: \`${key}\``, shown, remedy),
    ];
  }
  if (is === 'certificate') return [];
  const evidence = `${path} has mode ${octal(file.mode)}, owner ${file.uid}, group ${file.gid}`;
  const open = openTo(file);
  if (open !== null)
    return [
      fail(
        'secrets',
        `${open} can reach a file of secrets: \`${key}\``,
        evidence,
        `chmod 600 ${at}, and change the secret if others could have read it`,
      ),
    ];
  if (file.uid !== 0 && file.uid !== probe.userId())
    return [warn('secrets', `a file of secrets belongs to another user: \`${key}\``, evidence, `chown root: ${at} && chmod 600 ${at}`)];
  if (file.inOpenDirectory) {
    const dir = dirname(path);
    return [
      warn('secrets', `every user can replace a file of secrets: \`${key}\``, `${dir} can be written by all`, `chmod o-w ${quoted(dir)}`),
    ];
  }
  return [];
}

/** Why a file is of no use; null when it can be used. */
function brokenBy({ state }: SecretFile, is: Secret['is']): string | null {
  if (state === 'missing') return 'a file of the configuration is missing';
  if (state === 'not-a-file') return 'the name of a file means something else';
  if (state === 'empty') return 'a file of the configuration is empty';
  return state === 'more' && is === 'secret' ? 'a file of secrets holds more than one line' : null;
}
