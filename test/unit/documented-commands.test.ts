import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { configKeys } from '../../agent/config/keys.ts';
import { parseConfig } from '../../agent/config/load.ts';
import { createMetrics } from '../../agent/observe/metrics.ts';
import { packageVersion } from '../../tools/cli/version.ts';
import { flatten } from '../../tools/cli/command-facts.ts';
import { describeCommands } from '../../tools/cli/program.ts';
import { commandsPage } from '../../tools/docs/commands-page.ts';
import { documentPaths, readText, top } from '../lab/markdown-files.ts';
import { sampleStatus } from './control-fixture.ts';

/** What the documents tell people to type, to write and to look for: held against the product. */

const commands = flatten(describeCommands(packageVersion()));
/** What users and admins read. ARCHITECTURE and PROTOCOL are for readers of the code, CHANGELOG speaks of what was. */
const paths = documentPaths().filter((path) => !['CHANGELOG.md', 'agent/ARCHITECTURE.md', 'protocol/PROTOCOL.md'].includes(path));

/** Lines of the code blocks, those that end in a backslash joined; without comments. */
function typed(text: string): string[] {
  return text
    .replaceAll(/\\\n\s+/g, '')
    .split('\n')
    .filter((line) => /^ {4}\S/.test(line))
    .flatMap((line) => (line.trim().split(/\s+#\s/)[0] ?? '').split(/\s+&&\s+|;\s+/))
    .map((line) => line.replace(/^npx /, '').trim());
}

/** Code in the text of a paragraph or a table. */
function spans(text: string): string[] {
  return [...text.replaceAll(/^ {4}.*$/gm, '').matchAll(/`([^`\n]+)`/g)].map(([, span = '']) => span);
}

/** Why this is no command line of mailtwin; null when it is one. `isWhole`: with all that the command needs. */
function fault(line: string, isWhole: boolean): string | null {
  const [command = ''] = line.split(/ 2?[<>|] ?/);
  const words = (command.match(/(?:[^\s'"]|'[^']*'|"[^"]*")+/g) ?? []).slice(1).filter((word) => word !== '...');
  if (
    words[0] === '--help' ||
    commands[0]?.options.some(({ names }) => names.includes(words[0] ?? '')) ||
    words[0] === 'COMMAND' ||
    words[0] === 'help'
  )
    return null;
  let facts = commands.find(({ path }) => path.length === 1 && path[0] === words[0]);
  if (!facts) return words.length === 0 ? null : `there is no command ${words[0]}`;
  let rest = words.slice(1);
  for (const below of facts.commands)
    if (below.path.at(-1) === rest[0]) {
      const parent = facts;
      facts = {
        ...below,
        options: [...below.options, ...parent.options.filter(({ names }) => names.includes('--config') || names.includes('--json'))],
      };
      rest = rest.slice(1);
      break;
    }
  if (facts.commands.length > 0 && facts.options.length === 0 && isWhole) return `${facts.path.join(' ')} needs a command below it`;
  const args: string[] = [];
  for (let i = 0; i < rest.length; i++) {
    const word = rest[i] ?? '';
    if (!word.startsWith('-')) args.push(word);
    else if (word !== '--help') {
      const option = facts.options.find(({ names }) => names.includes(word.split('=')[0] ?? ''));
      if (!option) return `${facts.path.join(' ')} has no option ${word}`;
      if (option.value !== null && !word.includes('=')) i++;
      if (isWhole && i >= rest.length) return `${word} needs a value`;
    }
  }
  const isVariadic = facts.args.some((arg) => arg.isVariadic);
  if (args.length > facts.args.length && !isVariadic) return `${facts.path.join(' ')} takes ${facts.args.length} arguments`;
  if (isWhole && args.length < facts.args.filter(({ isRequired }) => isRequired).length) return `${facts.path.join(' ')} needs an argument`;
  return null;
}

const isMailtwin = (line: string) => /^mailtwin( |$)/.test(line);

describe('the command lines of the documents', () => {
  it.each(paths)('are what the program takes, in %s', (path) => {
    const text = readText(path);
    const wrong = [
      ...typed(text)
        .filter((line) => isMailtwin(line) && !/^mailtwin: |^mailtwin \d/.test(line))
        .map((line) => ({ line, why: fault(line, true) })),
      ...spans(text)
        .filter((line) => isMailtwin(line) && !line.includes('.deb'))
        .map((line) => ({ line, why: fault(line, false) })),
    ].filter(({ why }) => why !== null);
    expect(wrong).toEqual([]);
  });

  it('are seen where they are wrong', () => {
    expect(typed('a\n\n    npx mailtwin status \\\n        --nothing   # look\n    b && mailtwin wat\n')).toEqual([
      'mailtwin status --nothing',
      'b',
      'mailtwin wat',
    ]);
    expect(fault('mailtwin status --nothing', true)).toBe('status has no option --nothing');
    expect(fault('mailtwin wat', true)).toBe('there is no command wat');
    expect(fault('mailtwin plan show', true)).toBe('plan show needs an argument');
    expect(fault('mailtwin nics assign lan eno1 eno2', true)).toBe('nics assign takes 2 arguments');
    expect(fault('mailtwin gate install --config x', true)).toBeNull();
  });

  it.each(paths)('call scripts, soaks, test files and paths that there are, in %s', (path) => {
    const text = readText(path);
    const { scripts } = JSON.parse(readText('package.json')) as { scripts: Record<string, string> };
    const soaks = readText('test/soak/main.ts');
    const lines = [...typed(text), ...spans(text)];
    for (const line of lines) {
      const script = /^(?:[A-Z_]+=\S+ )?npm run ([a-z]+)/.exec(line)?.[1];
      if (script !== undefined) expect(Object.keys(scripts), line).toContain(script);
      for (const [, soak = ''] of line.matchAll(/npm run soak -- --([a-z0-9]+)/g))
        if (soak !== 'help') expect(soaks, line).toContain(`-- --${soak}`);
      for (const [file] of line.matchAll(/(?<![\w/.-])(?:test|deploy|tools|agent|protocol)\/[\w./-]*[\w-]/g))
        expect(existsSync(join(top, file)), `${line}: ${file}`).toBe(true);
    }
  });
});

describe('the configuration in the documents', () => {
  /** What `auto` stands for is this machine's. */
  const ownUnits = (block: string) => block.replace('units: auto', 'units: [dovecot.service]');
  const base = {
    node: 'mail-a',
    role: 'primary',
    state: '/var/lib/mailtwin',
    roots: [{ name: 'mail', path: '/var/vmail', format: 'maildir' }],
  };
  const sections = new Set(configKeys().map(({ key }) => key.split(/[.[]/)[0]));
  const snippets = paths.flatMap((path) =>
    [...`${readText(path)}\n`.matchAll(/(?:^ {4}.*\n|^\n(?= {4}))+/gm)]
      .flatMap(([block]) => block.split(/\n{2,}/))
      .map((block) => block.replace(/^\n+/, '').replaceAll(/^ {4}/gm, ''))
      .filter((block) => sections.has(/^([a-z]+):(?: |\n)/.exec(block)?.[1] ?? ''))
      .map((block) => ({ path, block })),
  );

  it.each(snippets)('of $path is taken as it is', ({ path, block }) => {
    const config = parseConfig(path, stringify({ ...base, ...(parse(ownUnits(block)) as object) }), (each) => each);
    expect(config.node).toBe('mail-a');
  });

  it('is found', () => {
    expect(snippets.length).toBeGreaterThan(2);
  });
});

describe('what the documents say to look for', () => {
  it.each(paths)('metrics and alerts of %s exist', async (path) => {
    const metrics = createMetrics({ status: () => sampleStatus(), wallMs: () => Date.parse(sampleStatus().at), processMetrics: false });
    const known = new Set([...(await metrics.render()).matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
    const rules = readText('deploy/prometheus/rules.yml');
    const text = readText(path);
    for (const [name] of text.matchAll(/\bmailtwin_[a-z_]+[a-z]\b/g))
      if (!name.endsWith('_timestamp_seconds') || known.has(name))
        expect([...known], name).toContain(name.replace(/_(bucket|sum|count)$/, ''));
    for (const [, name] of text.matchAll(/`(Mailtwin[A-Z]\w+)`|^### (Mailtwin[A-Z]\w+)$/gm))
      if (name !== undefined) expect(rules).toContain(`alert: ${name}\n`);
  });

  it('the page of commands is what the program says (`npm run docs`)', () => {
    expect(readText('deploy/docs/commands.md')).toBe(commandsPage(describeCommands(packageVersion())));
  });

  it('the README is a page, and each document is one that it leads to', () => {
    const readme = readText('README.md');
    expect(readme.split('\n').length - 1).toBeLessThanOrEqual(120);
    for (const name of readdirSync(join(top, 'deploy/docs'))) expect(readme).toContain(`(deploy/docs/${name}`);
  });
});
