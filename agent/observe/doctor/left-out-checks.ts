import { posix } from 'node:path';
import type { DoctorFinding, LeftOutStatus, Status } from '../../../protocol/control.ts';
import type { Config } from '../../config/config.ts';
import type { DoctorProbe } from './probe.ts';
import { pass, warn, type Check } from './finding.ts';

/** Below a root of many users the messages lie deep: as far down as this they are looked for. */
const depthMax = 3;
const namesMax = 20;

/** What is left out of replication, and what a person does about each (I22). */
export const leftOutChecks: Check[] = [
  {
    id: 'left-out',
    run({ config, probe, status }) {
      if (!status) return [];
      const found = status.leftOut.flatMap((each) => judge(each, config, probe, status));
      const byDesign = status.leftOut.filter(({ count, unexpected }) => count > unexpected);
      if (byDesign.length === 0) return found;
      const texts = byDesign.map(({ text, count, unexpected, examples }) => `${count - unexpected} × ${text} (${examples[0] ?? ''})`);
      return [...found, pass('left-out', 'some things are left out of the copy by design', texts.join('; '))];
    },
  },
];

function judge({ reason, text, unexpected, examples, places }: LeftOutStatus, config: Config, probe: DoctorProbe, status: Status) {
  if (unexpected === 0) return [];
  const more =
    unexpected > places.length ? [warn('left-out', `${unexpected - places.length} more: ${text}`, '', 'see `mailtwin status`')] : [];
  const each = places.map((place, i): DoctorFinding => {
    const where = `${place.root}/${place.path}`;
    const keeps = place.kept ? '; the standby keeps what it had there' : '';
    if (reason === 'link-out' && place.detail !== null) return judgeLink({ ...place, where, keeps }, place.detail, config, probe, status);
    return warn(
      'left-out',
      `${where} is left out (${text})${keeps}`,
      examples[i] ?? '',
      place.kept
        ? `put back what was there, or remove the standby's copy: mailtwin allow-delete '${where}'`
        : `if its mail belongs to the copy, change \`exclude\` of root ${place.root} on both nodes`,
    );
  });
  return [...each, ...more];
}

interface Link {
  root: string;
  path: string;
  where: string;
  keeps: string;
}

function judgeLink({ root, path, where, keeps }: Link, target: string, config: Config, probe: DoctorProbe, status: Status): DoctorFinding {
  const rootPath = status.roots.find(({ name }) => name === root)?.path ?? '/';
  const leadsTo = posix.resolve(rootPath, posix.dirname(path), target);
  const evidence = `${posix.join(rootPath, path)} -> ${target}`;
  const bytes = (text: string) => Buffer.from(text, 'utf8').toString('latin1');
  const stat = probe.stat(bytes(leadsTo));
  const exclude = `or name it in \`exclude\` of root ${root} on both nodes`;
  if (!stat) return warn('left-out', `${where} leads out of its root, to nothing${keeps}`, evidence, `remove the link, ${exclude}`);
  if (!stat.directory)
    return warn(
      'left-out',
      `${where} leads out of its root: what it leads to is not on the standby${keeps}`,
      evidence,
      `put the file into the root instead of the link, ${exclude}`,
    );
  const format = holdsMaildirs(probe, leadsTo, depthMax) ? 'maildir' : 'plain';
  const name = freeName(posix.basename(leadsTo), config);
  return warn(
    'left-out',
    `${where} leads out of its root: what is in ${leadsTo} is not on the standby${keeps}`,
    evidence,
    `mount that directory at ${posix.join(rootPath, path)} instead of the link, or name it as a root on both nodes: ` +
      `{ name: ${name}, path: ${leadsTo}, format: ${format} }, ${exclude}`,
  );
}

function holdsMaildirs(probe: DoctorProbe, path: string, depth: number): boolean {
  const names = probe.list(path);
  if (names.includes('cur') && names.includes('new')) return true;
  return depth > 0 && names.slice(0, namesMax).some((name) => holdsMaildirs(probe, posix.join(path, name), depth - 1));
}

function freeName(wanted: string, config: Config): string {
  const name = /^[A-Za-z0-9][A-Za-z0-9._-]{0,50}$/.test(wanted) ? wanted : 'mail';
  const taken = new Set(config.roots.map((root) => root.name));
  let free = name;
  for (let i = 2; taken.has(free); i++) free = `${name}-${i}`;
  return free;
}
