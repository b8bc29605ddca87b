import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../agent/config/load.ts';
import { messageSpecs } from '../../protocol/messages.ts';
import { countTests, summaryLine } from '../setup/summary.mjs';

const top = join(import.meta.dirname, '../..');

/** The top level is fixed: whoever looks for something knows where it is, and nothing gathers there. */
const topLevel = {
  dirs: ['.ci', 'agent', 'deploy', 'protocol', 'test', 'tools'],
  files: [
    '.editorconfig',
    '.gitignore',
    '.npmrc',
    '.oxfmtrc.json',
    '.oxlintrc.json',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'LICENSE',
    'README.md',
    'SECURITY.md',
    'package-lock.json',
    'package.json',
    'tsconfig.json',
    'vitest.config.ts',
  ],
};

/** The rooms of each wing. A new one is added here and in agent/ARCHITECTURE.md. */
const rooms: Record<string, string[]> = {
  agent: [
    'capture',
    'config',
    'control',
    'delta',
    'failover',
    'fencing',
    'history',
    'journal',
    'link',
    'mailstore',
    'network',
    'observe',
    'platform',
    'replicate',
    'services',
    'wiring',
  ],
  tools: ['audit', 'bench', 'cli', 'docs', 'mailgen', 'package'],
  test: ['bench', 'contract', 'e2e', 'fixtures', 'fuzz', 'lab', 'setup', 'sim', 'soak', 'unit'],
  deploy: ['deb', 'docs', 'examples', 'grafana', 'images', 'prometheus', 'systemd'],
  protocol: [],
};

function list(path: string): { dirs: string[]; files: string[] } {
  const ignored = new Set([
    '.git',
    ...readFileSync(join(top, '.gitignore'), 'utf8')
      .split('\n')
      .map((line) => line.replace(/\/$/, '')),
  ]);
  const entries = readdirSync(join(top, path), { withFileTypes: true }).filter(({ name }) => !ignored.has(name) && !name.endsWith('.log'));
  const isDir = (wanted: boolean): string[] =>
    entries
      .filter((entry) => entry.isDirectory() === wanted)
      .map(({ name }) => name)
      .sort();
  return { dirs: isDir(true), files: isDir(false) };
}

function readText(path: string): string {
  return readFileSync(join(top, path), 'utf8');
}

describe('the house', () => {
  it('has the fixed top level, nothing more and nothing less', () => {
    expect(list('.')).toEqual(topLevel);
  });

  it.each(Object.entries(rooms))('has only known rooms in %s', (wing, known) => {
    expect(list(wing).dirs.filter((name) => !known.includes(name))).toEqual([]);
  });

  it('has no file that gathers what belongs elsewhere', () => {
    const files = Object.keys(rooms).flatMap((wing) => readdirSync(join(top, wing), { recursive: true, encoding: 'utf8' }));
    expect(files.filter((file) => /(^|\/)(index|utils?|helpers?|misc|common)\.(ts|mjs)$/.test(file))).toEqual([]);
  });

  it('names no registry host in the lock file', () => {
    const hosts = [...readText('package-lock.json').matchAll(/"resolved": "([^"]*)"/g)].map((match) => match[1]);
    expect(hosts).toEqual([]);
  });

  it('has every optional package that it speaks of in the lock file, without which npm ci refuses', () => {
    const { packages } = JSON.parse(readText('package-lock.json')) as {
      packages: Record<string, { optionalDependencies?: Record<string, string> }>;
    };
    const held = new Set(Object.keys(packages).map((path) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)));
    const named = Object.values(packages).flatMap(({ optionalDependencies }) => Object.keys(optionalDependencies ?? {}));
    expect(named.filter((name) => !held.has(name))).toEqual([]);
  });

  it('needs no install script: every package that has one ships its binary as an optional package or works without', () => {
    const { packages } = JSON.parse(readText('package-lock.json')) as { packages: Record<string, { hasInstallScript?: boolean }> };
    const scripted = Object.keys(packages).filter((path) => packages[path]?.hasInstallScript === true);
    // lmdb, koffi, esbuild, msgpackr-extract: prebuilt binaries; fsevents: only for macOS.
    const known = ['esbuild', 'fsevents', 'koffi', 'lmdb', 'msgpackr-extract'];
    expect(scripted.filter((path) => !known.includes(path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)))).toEqual([]);
  });

  it('has the same version in the package, the lock file and the changelog', () => {
    const { version } = JSON.parse(readText('package.json')) as { version: string };
    expect((JSON.parse(readText('package-lock.json')) as { version: string }).version).toBe(version);
    expect(readText('CHANGELOG.md')).toMatch(/^## \[Unreleased\]$/m);
  });

  it('keeps the commands that people and machines call', () => {
    const { scripts, bin } = JSON.parse(readText('package.json')) as { scripts: Record<string, string>; bin: Record<string, string> };
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(['check', 'test', 'build', 'demo', 'bench', 'soak']));
    expect(bin).toEqual({ mailtwin: 'dist/tools/cli/main.js' });
  });
});

describe('the list of invariants', () => {
  const rows = [...readText('agent/ARCHITECTURE.md').matchAll(/^\| (I\d+) \|.*\|$/gm)].map(([line, number]) => ({ line, number }));

  it('has the first eighteen, and each once, in order', () => {
    const numbers = rows.map(({ number }) => Number(number?.slice(1)));
    expect(numbers).toEqual([...new Set(numbers)].toSorted((x, y) => x - y));
    expect(numbers.slice(0, 18)).toEqual(Array.from({ length: 18 }, (_, i) => i + 1));
  });

  it.each(rows)('$number names a test that exists, or says plainly that nothing holds it yet', ({ line }) => {
    const named = [...line.matchAll(/`(test\/[^`]+\.test\.ts)` "([^"]+)"/g)];
    if (named.length === 0) expect(line).toContain('| not built yet');
    expect(line.match(/test\.ts/g) ?? []).toHaveLength(named.length);
    for (const [, file = '', name = ''] of named) expect(readText(file), `${file} has no test called ${name}`).toContain(name);
  });

  it('names every room of the agent in the map', () => {
    const map = readText('agent/ARCHITECTURE.md');
    expect(list('agent').dirs.filter((room) => !map.includes(`\`${room}/`))).toEqual([]);
  });
});

describe('the text of the protocol', () => {
  const text = readText('protocol/PROTOCOL.md');

  it.each(Object.entries(messageSpecs))('has the message %s as it is', (type, { number, lane, fieldNames }) => {
    const row = text.split('\n').find((line) => line.startsWith(`| ${number} | \`${type}\` |`));
    expect(row).toContain(`| ${lane} | ${fieldNames.join(', ')} |`);
  });
});

describe('the sample configurations', () => {
  const samples = readdirSync(join(top, 'deploy/examples')).filter((name) => name.endsWith('.yaml'));

  it('are there for both roles', () => {
    expect(samples).toEqual(expect.arrayContaining(['primary.yaml', 'standby.yaml']));
  });

  it.each(samples)('%s is taken as it is', (name) => {
    const config = parseConfig(name, readText(`deploy/examples/${name}`), (path) => path);
    expect(config.roots.length).toBeGreaterThan(0);
  });
});

describe('the closing line of npm test', () => {
  const tests = (...statuses: string[]): { status: string }[] => statuses.map((status) => ({ status }));

  it('counts passed, failed and skipped tests', () => {
    const report = {
      testResults: [
        { status: 'passed', assertionResults: tests('passed', 'passed', 'pending') },
        { status: 'failed', assertionResults: tests('passed', 'failed', 'todo') },
      ],
    };
    expect(countTests(report)).toEqual({ passed: 3, failed: 1, skipped: 2 });
    expect(summaryLine(countTests(report))).toBe('3 passed, 1 failed, 2 skipped');
  });

  it('counts a file that failed without a failed test', () => {
    const report = {
      testResults: [
        { status: 'failed', assertionResults: tests('passed', 'skipped') },
        { status: 'failed', assertionResults: [] },
      ],
    };
    expect(countTests(report)).toEqual({ passed: 1, failed: 2, skipped: 1 });
  });

  it('leaves out what did not happen', () => {
    expect(summaryLine({ passed: 12, failed: 0, skipped: 0 })).toBe('12 passed, 0 failed');
  });
});
