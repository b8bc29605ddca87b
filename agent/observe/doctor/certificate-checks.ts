import type { CertificateStatus } from '../../../protocol/certificate.ts';
import type { DoctorFinding } from '../../../protocol/control.ts';
import { fail, pass, warn, type Check, type Facts } from './finding.ts';

const daysWarn = 14;
const dayMs = 86_400_000;

/** The certificates that clients see, or would see after a takeover: each node has files of its own. */
export const certificateChecks: Check[] = [
  {
    id: 'certificate',
    async run(facts) {
      const certificates = await facts.node.certificates();
      if (certificates === null || certificates.length === 0) return [];
      const usual = certificates.find(({ name }) => name === 'default');
      return [...certificates.map((each) => judge(facts, each)), ...(usual ? compare(facts, usual) : [])];
    },
  },
];

function judge({ probe }: Facts, { name, file, names, endsAt, problem }: CertificateStatus): DoctorFinding {
  const [isPostfix, service] = [/^postfix( |$)/.test(name), name.replace(/^postfix ?/, '')];
  const what = isPostfix
    ? `the certificate of Postfix${service === '' ? '' : ` for its service ${service}`}`
    : `the certificate of the mail server${name === 'default' ? '' : ` for ${name}`}`;
  const renew = `renew it on this node, too, or copy it with its key from the other one; then, where the mail server runs: ${isPostfix ? 'postfix reload' : 'doveadm reload'}`;
  if (problem !== null)
    return probe.userId() === 0 || !problem.includes('EACCES')
      ? fail('certificate', `${what} cannot be used on this node`, problem, renew)
      : warn('certificate', `${what} could not be looked at`, problem, 'run the doctor as root');
  const ends = Date.parse(endsAt ?? '');
  const days = Math.floor((ends - probe.wallMs()) / dayMs);
  const evidence = `${file} for ${names.join(', ') || 'no name'}, until ${endsAt ?? 'an unknown time'}`;
  if (!(ends > probe.wallMs())) return fail('certificate', `${what} has expired on this node`, evidence, renew);
  if (days < daysWarn) return warn('certificate', `${what} on this node ends in ${days} ${days === 1 ? 'day' : 'days'}`, evidence, renew);
  return pass('certificate', `${what} holds for ${days} more days`, evidence);
}

/** Clients know the server by its name, whichever node serves. */
function compare({ status, config }: Facts, { names }: CertificateStatus): DoctorFinding[] {
  const theirs = status?.peer.certificate ?? null;
  if (!status || theirs === null || names.length === 0) return [];
  const only = (some: readonly string[], others: readonly string[]) => some.filter((each) => !others.includes(each));
  const here = only(names, theirs.names);
  const there = only(theirs.names, names);
  if (here.length === 0 && there.length === 0) return [];
  const node = status.peer.node ?? 'the other node';
  return [
    warn(
      'certificate',
      'the certificates of the two nodes are for different names: after a takeover clients may refuse the other one',
      `only on ${config.node}: ${here.join(', ') || 'none'}; only on ${node}: ${there.join(', ') || 'none'}`,
      'install a certificate for the same names on both nodes',
    ),
  ];
}
