import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { loadAgent } from '../cli/agent-entry.ts';
import { describeCommands } from '../cli/program.ts';
import { packageVersion } from '../cli/version.ts';
import { makeDeb } from './deb.ts';
import { architectures, type Architecture } from './node-runtime.ts';

const help = `Makes the packages: a Debian package for each architecture, and the npm tarball.

  npm run package [-- --arch amd64] [-- --out DIR] [-- --quick]

  --arch ARCH   amd64 or arm64; may be repeated; both when not given
  --out DIR     where the packages go (.packages)
  --revision N  Debian's revision (1)
  --quick       compress little, for tests
  --no-npm      leave the npm tarball out
`;

// dist/tools/package/ when built.
const top = fileURLToPath(new URL(import.meta.url.includes('/dist/') ? '../../..' : '../..', import.meta.url));

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      arch: { type: 'string', multiple: true, default: [...architectures] },
      out: { type: 'string', default: join(top, '.packages') },
      revision: { type: 'string', default: '1' },
      quick: { type: 'boolean', default: false },
      'no-npm': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const wanted = values.arch.map((name) => architectures.find((arch) => arch === name) ?? name);
  const unknown = wanted.find((name) => !(architectures as readonly string[]).includes(name));
  if (unknown !== undefined) {
    process.stderr.write(`package: ${JSON.stringify(unknown)} is no architecture of mailtwin; there are ${architectures.join(' and ')}\n`);
    return 2;
  }
  const version = packageVersion();
  const configKeys = await (await loadAgent()).configKeys();
  const scratch = mkdtempSync(join(tmpdir(), 'mailtwin-package-'));
  mkdirSync(values.out, { recursive: true });
  try {
    for (const arch of wanted as Architecture[]) {
      const made = makeDeb({
        top,
        arch,
        version: `${version}-${values.revision}`,
        commands: describeCommands(version),
        configKeys,
        scratch: join(scratch, arch),
        cache: join(values.out, 'cache'),
        out: values.out,
        epochSeconds: sourceDate(),
        isQuick: values.quick,
      });
      tell(made);
    }
    if (!values['no-npm']) {
      const name = execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', values.out], {
        cwd: top,
        encoding: 'utf8',
      }).trim();
      tell(join(values.out, name));
    }
    return 0;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** When the source last changed, so that the same source makes the same package. */
function sourceDate(): number {
  const given = Number(process.env['SOURCE_DATE_EPOCH']);
  if (given > 0) return given;
  try {
    return Number(execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: top, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  } catch {
    return Math.floor(statSync(join(top, 'package.json')).mtimeMs / 1000);
  }
}

function tell(file: string): void {
  process.stdout.write(`${file}  ${(statSync(file).size / 1e6).toFixed(1)} MB\n`);
}

process.exitCode = await main();
