import { join } from 'node:path';
import { displayPath } from '../../platform/files.ts';
import { openTo } from '../../platform/secret-file.ts';
import { fail, octal, pass, warn, type Check } from './finding.ts';

/** Oldest Node.js that package.json allows. */
const nodeOldest = [20, 19] as const;
const keyFile = 'node.key';

/** What the node itself is made of: program, key, directories. */
export const setupChecks: Check[] = [
  {
    id: 'versions',
    async run({ probe }) {
      const { node, koffi, lmdb } = probe.versions();
      const [major = 0, minor = 0] = node.replace(/^v/, '').split('.').map(Number);
      const evidence = `Node.js ${node}, koffi ${koffi ?? 'missing'}, lmdb ${lmdb ?? 'missing'}`;
      if (major < nodeOldest[0] || (major === nodeOldest[0] && minor < nodeOldest[1]))
        return [fail('versions', 'Node.js is too old', evidence, `install Node.js ${nodeOldest.join('.')} or newer`)];
      if (koffi === null || lmdb === null)
        return [
          fail(
            'versions',
            'a library is missing',
            evidence,
            'install the package again on this machine; it brings libraries for this processor and C library',
          ),
        ];
      const { os, kernel } = await probe.system();
      return [pass('versions', `${evidence}; ${os}, Linux ${kernel}`)];
    },
  },
  {
    id: 'state',
    run({ probe, config }) {
      const stat = probe.stat(config.state);
      if (!stat)
        return [
          fail(
            'state',
            `the state directory ${config.state} is missing`,
            'no such directory',
            'run `mailtwin init` for this node, or mount the file system that holds it',
          ),
        ];
      if (!stat.directory)
        return [fail('state', `${config.state} is not a directory`, `mode ${octal(stat.mode)}`, 'name the right directory in `state:`')];
      if (stat.mode & 0o077)
        return [
          warn(
            'state',
            'other users can look into the state directory',
            `${config.state} has mode ${octal(stat.mode)}`,
            `chmod 700 ${config.state}`,
          ),
        ];
      return [pass('state', `state directory ${config.state} is private`)];
    },
  },
  {
    id: 'key',
    run({ probe, config }) {
      const path = join(config.state, keyFile);
      const stat = probe.stat(path);
      if (!stat)
        return [
          fail(
            'key',
            'the key of this node is missing',
            path,
            'run `mailtwin init` on a new node; on an old one put the key back from a backup, or make a new one and pair again',
          ),
        ];
      const open = openTo(stat);
      if (open !== null)
        return [
          fail(
            'key',
            `${open} can reach the key of this node`,
            `${path} has mode ${octal(stat.mode)}`,
            `chmod 600 ${path}; if somebody may have read it, make a new key and pair again`,
          ),
        ];
      return [pass('key', 'the key of this node is private')];
    },
  },
  {
    id: 'root',
    run({ probe, config }) {
      return config.roots.map((root) => {
        const path = displayPath(root.path);
        const stat = probe.stat(root.path);
        if (!stat)
          return fail('root', `root ${root.name} is missing`, path, 'mount its file system, or correct its path in the configuration');
        if (!stat.directory) return fail('root', `root ${root.name} is not a directory`, path, 'correct its path in the configuration');
        const survey = probe.survey(root.path);
        if (survey.unreadable.length > 0) {
          return fail(
            'root',
            `root ${root.name} holds files that this user cannot read`,
            survey.unreadable.map(displayPath).join(', '),
            'run the agent (and the doctor) as root or as the user that owns the mail',
          );
        }
        if (survey.dirs + survey.files === 0 && config.role === 'primary' && !root.mayBeEmpty) {
          return fail(
            'root',
            `root ${root.name} is empty`,
            path,
            'an empty directory looks like a missing mount: mount its file system, or set `mayBeEmpty: true` for a new store',
          );
        }
        return pass('root', `root ${root.name} at ${path} is there and can be read${survey.complete ? '' : ' (as far as was looked)'}`);
      });
    },
  },
  {
    id: 'staging',
    run({ probe, config }) {
      return config.roots.flatMap((root) => {
        if (root.staging === null) return [];
        const staging = probe.stat(root.staging);
        const at = probe.stat(root.path);
        if (!staging)
          return [
            warn('staging', `the staging directory of root ${root.name} is not there yet`, root.staging, `mkdir -m 700 ${root.staging}`),
          ];
        if (at && at.dev !== staging.dev) {
          return [
            fail(
              'staging',
              `the staging directory of root ${root.name} is on another file system`,
              `${root.staging} and ${displayPath(root.path)}`,
              'choose a directory on the same file system, because files are renamed from there into place',
            ),
          ];
        }
        return [pass('staging', `staging of root ${root.name} is on its file system`)];
      });
    },
  },
  {
    id: 'mail-server',
    async run({ probe }) {
      const dovecot = await probe.run('dovecot', ['--version']);
      if (dovecot && dovecot.exitCode === 0) return [pass('mail-server', `Dovecot ${dovecot.out.trim().split('\n')[0]}`)];
      return [pass('mail-server', 'no Dovecot was found on the search path', 'both nodes need the same version of the same mail server')];
    },
  },
];
