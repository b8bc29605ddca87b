import { dirname } from 'node:path';
import type { DoctorFinding } from '../../../protocol/control.ts';
import type { Config } from '../../config/config.ts';
import { doveconfFile } from '../../platform/doveconf.ts';
import { displayPath } from '../../platform/files.ts';
import { dovecotFacts, isWithin, type MailPlace } from './dovecot-places.ts';
import { fail, gigabytes, pass, quoted, warn, type Check, type Facts } from './finding.ts';

/** Over its bound by this much, the history is not only waiting for its next clearing. */
const historyShareMax = 1.1;
/** More ids than this are not asked for one by one. */
const idsMax = 20;

/** The mail store, and who else has to do with it. */
export const storeChecks: Check[] = [
  { id: 'owners', run: judgeOwners },
  {
    id: 'attributes',
    run({ config, probe }) {
      // A primary without them has none to send.
      if (config.role !== 'standby') return [];
      return config.roots
        .filter((root) => probe.stat(root.path)?.directory && !probe.keepsXattrs(root.path))
        .map((root) =>
          warn(
            'attributes',
            `the file system of root ${root.name} keeps no extended attributes: ACLs and attributes of the mail server would be refused`,
            displayPath(root.path),
            'use ext4 or xfs for the mail on this node, as on the other one',
          ),
        );
    },
  },
  {
    id: 'mail-places',
    async run(facts) {
      const read = await readDovecot(facts);
      if (read === null) return [];
      const { places, replicates, command } = read;
      const troubles = [
        ...places.flatMap((place) => judgePlace(place, command, facts.config)),
        ...(replicates === null
          ? []
          : [
              fail(
                'mail-places',
                'Dovecot replicates the mail store by itself, too: it would write on the standby',
                `${command}: ${replicates}`,
                'remove `mail_replica` and the plugin `replication` from its configuration, then: doveadm reload',
              ),
            ]),
      ];
      return troubles.length > 0 || places.length === 0
        ? troubles
        : [pass('mail-places', 'what Dovecot keeps for its users lies in the roots')];
    },
  },
  {
    id: 'full-text',
    async run(facts) {
      const read = await readDovecot(facts);
      if (read === null || read.fullText.length === 0) return [];
      const again = "after a takeover its indexes are made anew: doveadm fts rescan -A, then doveadm index -A -q '*'";
      const evidence = `${read.command}: mail_plugins has ${read.fullText.join(', ')}`;
      const open = facts.config.roots.flatMap(({ name, format, exclude }) =>
        format === 'maildir' && read.fullText.some((plugin) => isCopied(plugin, exclude)) ? [name] : [],
      );
      if (open.length === 0) return [pass('full-text', `full-text indexes are left out of the copy; ${again}`, evidence)];
      return [
        warn(
          'full-text',
          `full-text indexes are copied with root ${open.join(', ')}: they change while they are copied, and are damaged after a takeover`,
          evidence,
          `name their directories in \`exclude\` of the root on both nodes (xapian-indexes/, fts-flatcurve/, lucene-indexes/); ${again}`,
        ),
      ];
    },
  },
  {
    id: 'other-replication',
    async run({ config, probe }) {
      const found = await probe.run('pgrep', ['-a', '-x', 'lsyncd']);
      const lines = found?.exitCode === 0 ? found.out.split('\n').filter((line) => line !== '') : [];
      return lines.flatMap((line) => {
        const [pid = '', ...args] = line.split(' ');
        const files = args.filter((arg) => arg.startsWith('/') && !arg.endsWith('/lsyncd'));
        const texts = [args.join('\n'), ...files.map((file) => probe.readText(file) ?? '')];
        const roots = config.roots.filter(({ path }) => texts.some((text) => namesPath(text, displayPath(path))));
        return roots.map((root) =>
          fail(
            'other-replication',
            `lsyncd replicates root ${root.name} as well: what it writes on the standby is foreign there`,
            `process ${pid}: ${args.join(' ')}`,
            'systemctl disable --now lsyncd, or take the root out of its configuration',
          ),
        );
      });
    },
  },
  {
    id: 'history',
    run({ config, probe, node }) {
      const { days, bytesMax } = config.history;
      const found = node.historyDirs().flatMap((dir) => {
        const measured = probe.treeBytes(dir);
        return measured ? [{ dir, ...measured }] : [];
      });
      const bytes = found.reduce((sum, each) => sum + each.bytes, 0);
      if (found.length === 0 || bytes === 0) return [];
      const atLeast = found.every(({ complete }) => complete) ? '' : 'at least ';
      const evidence = `${atLeast}${gigabytes(bytes)} in ${found.map(({ dir }) => displayPath(dir)).join(', ')}; history.max ${gigabytes(bytesMax)}, history.keep ${days} days`;
      if (bytes > bytesMax * historyShareMax)
        return [
          warn(
            'history',
            'the history is larger than it may be: nothing clears it',
            evidence,
            'it is cleared by the running agent of a standby: systemctl restart mailtwin, then journalctl -u mailtwin',
          ),
        ];
      const short = found.find(({ dir }) => probe.space(dir).freeBytes < config.limits.freeBytesMin);
      if (short && bytes > config.limits.freeBytesMin)
        return [
          warn(
            'history',
            'the disk is full, and the history has a part in it',
            evidence,
            'lower `history.max` or `history.keep` in the configuration and start the agent again: systemctl restart mailtwin',
          ),
        ];
      return [pass('history', 'the history is within its bounds', evidence)];
    },
  },
];

/** A path that stands in a text for itself, or with more below it. */
function namesPath(text: string, path: string): boolean {
  return text.split(/[\s"'=,;()]+/).some((word) => word === path || word.startsWith(`${path}/`));
}

async function judgeOwners({ config, probe }: Facts): Promise<DoctorFinding[]> {
  const unknown: { kind: 'user' | 'group'; id: number; example: string }[] = [];
  const asked = new Set<string>();
  for (const root of config.roots) {
    for (const owner of probe.owners(root.path)) {
      const key = `${owner.kind} ${owner.id}`;
      if (asked.has(key) || asked.size >= idsMax) continue;
      asked.add(key);
      const shown = await probe.run('getent', [owner.kind === 'user' ? 'passwd' : 'group', String(owner.id)]);
      // Exit code 2 is the one that says that there is none.
      if (shown?.exitCode === 2) unknown.push(owner);
    }
  }
  if (asked.size === 0) return [];
  if (unknown.length === 0) return [pass('owners', 'this host knows the owners of the mail')];
  const user = unknown.find(({ kind }) => kind === 'user');
  const group = unknown.find(({ kind }) => kind === 'group');
  return [
    warn(
      'owners',
      'mail belongs to ids that this host does not know; they must mean the same on both nodes',
      unknown.map(({ kind, id, example }) => `${kind} ${id} owns ${displayPath(example)}`).join(', '),
      `compare \`getent passwd; getent group\` on both nodes and make what is missing here with the same number: ${[
        ...(group ? [`groupadd --system --gid ${group.id} NAME`] : []),
        ...(user ? [`useradd --system --uid ${user.id}${group ? ` --gid ${group.id}` : ''} --no-create-home NAME`] : []),
      ].join(' && ')}`,
    ),
  ];
}

const fullTextDirs: Record<string, string> = {
  fts_xapian: 'xapian-indexes',
  fts_flatcurve: 'fts-flatcurve',
  fts_lucene: 'lucene-indexes',
};

function isCopied(plugin: string, exclude: readonly string[]): boolean {
  const dir = fullTextDirs[plugin];
  return dir !== undefined && !exclude.some((pattern) => pattern.replaceAll('/', '') === dir);
}

/** Which Dovecot is meant is certain only where the configuration names it. */
async function readDovecot({ config, probe }: Facts): Promise<(ReturnType<typeof dovecotFacts> & { command: string }) | null> {
  const file = config.services && doveconfFile(config.services);
  if (!file) return null;
  const call = ['-n', ...file];
  const shown = await probe.run('doveconf', call);
  return shown?.exitCode === 0 ? { ...dovecotFacts(shown.out), command: `doveconf ${call.map(quoted).join(' ')}` } : null;
}

const meant = {
  mail: 'the mail',
  control: 'the UIDs (control files)',
  index: 'the indexes',
  sieve: 'the filters of users (Sieve)',
  attributes: 'the attributes of mailboxes (METADATA)',
};

function judgePlace(place: MailPlace, command: string, config: Config): DoctorFinding[] {
  const { what, driver, prefix, setting } = place;
  const isIn = isWithin(
    place,
    config.roots.map(({ path }) => displayPath(path)),
  );
  if (isIn === null) return [];
  const evidence = `${command}: ${setting} leads to ${prefix}`;
  if (!isIn) {
    const dir = place.isWhole || prefix.endsWith('/') ? prefix.replace(/\/+$/, '') : dirname(prefix);
    const remedy = `name the directory as a root on both nodes: { name: ${what}, path: ${dir}, format: ${what === 'sieve' || what === 'attributes' ? 'plain' : 'maildir'} }`;
    const summary = `${meant[what]} lie outside of the roots and are not replicated`;
    // Without indexes and filters the mail is served all the same; without the UIDs every client loads all of it again.
    return [
      what === 'mail' || what === 'control'
        ? fail('mail-places', summary, evidence, remedy)
        : warn('mail-places', summary, evidence, remedy),
    ];
  }
  const root = config.roots.find(({ path }) => isWithin(place, [displayPath(path)]));
  if (what === 'mail' && root?.format === 'maildir' && driver !== null && driver !== '' && driver !== 'maildir')
    return [
      fail(
        'mail-places',
        `root ${root.name} has the format maildir, but Dovecot keeps ${driver} there`,
        evidence,
        `mailtwin knows maildir: convert the mail to it (doveadm backup), or take another format for root ${root.name}`,
      ),
    ];
  return [];
}
