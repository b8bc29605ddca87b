import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { configKeys } from '../../agent/config/keys.ts';
import { sectionKeys } from '../../agent/config/schema.ts';
import { renderConfig } from '../../agent/config/template.ts';
import { configurationPage, sectionOf, sectionsAbout } from '../../tools/docs/configuration-page.ts';
import { configManPage } from '../../tools/package/config-man-page.ts';

const keys = configKeys();
const names = keys.map(({ key }) => key);

describe('the keys of the configuration', () => {
  it.each(keys)('$key is described: what may stand there, and what it means in whole sentences', ({ form, means }) => {
    expect(form).not.toBe('');
    expect(means).toMatch(/^[A-Z`].*\.$/);
  });

  it('are all that the schema knows, each once', () => {
    expect(new Set(names).size).toBe(names.length);
    const inSchema = Object.entries(sectionKeys).flatMap(([section, its]) =>
      its.map((key) => (section === '' ? key : `${section}.${key}`)),
    );
    const bare = new Set(names.map((name) => name.replaceAll('[]', '')));
    const isSection = (key: string) => [...bare].some((name) => name.startsWith(`${key}.`));
    // The points of hooks are said in one key.
    expect(inSchema.filter((key) => !bare.has(key) && !isSection(key) && !key.startsWith('takeover.hooks.'))).toEqual([]);
    expect(names.length).toBeGreaterThan(70);
  });

  it('have their default in the form of the file', () => {
    const fallback = (name: string) => keys.find(({ key }) => key === name)?.fallback;
    expect(fallback('limits.freeSpaceMin')).toBe('`256MiB`');
    expect(fallback('limits.massDelete')).toBe('`20%`');
    expect(fallback('metrics.listen')).toBe('`127.0.0.1:9720`');
    expect(fallback('fencing[].timeoutSeconds')).toBe('`60` (`agent`), `30` (`command`), `90` (`all`), `15` (`cooperative`)');
    expect(fallback('node')).toBeNull();
  });

  it('are missing a meaning where the schema says none', () => {
    const found = configKeys(
      z.strictObject({ told: z.string().meta({ form: 'a text', description: 'Told.' }), untold: z.number().default(3) }),
    );
    expect(found.map(({ key, means, fallback }) => ({ key, means, fallback }))).toEqual([
      { key: 'told', means: 'Told.', fallback: null },
      { key: 'untold', means: '', fallback: '`3`' },
    ]);
  });

  it('have a section in the documentation', () => {
    expect(names.filter((name) => !(sectionOf(name, keys) in sectionsAbout))).toEqual([]);
    expect(Object.keys(sectionsAbout).filter((section) => !names.some((name) => sectionOf(name, keys) === section))).toEqual([]);
  });

  it('are what deploy/docs/configuration.md says (`npm run docs`)', () => {
    expect(readFileSync(join(import.meta.dirname, '../../deploy/docs/configuration.md'), 'utf8')).toBe(configurationPage(keys));
  });

  it('are explained by the same words in the file that init writes', () => {
    const text = renderConfig({
      node: 'mail-a',
      role: 'primary',
      state: '/var/lib/mailtwin',
      listen: { host: '0.0.0.0', port: 7420 },
      metrics: null,
      peerAddresses: [],
      roots: [{ name: 'mail', path: '/var/vmail', format: 'maildir' }],
    });
    const comments = text.replaceAll(/\n *# /g, ' ');
    const { roots: _, ...written } = parse(text) as Record<string, unknown>;
    const leaves = (value: unknown, path: string): string[] =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? Object.entries(value).flatMap(([key, inner]) => leaves(inner, path === '' ? key : `${path}.${key}`))
        : [path];
    for (const name of leaves(written, '').filter((each) => each !== 'metrics'))
      expect(comments, name).toContain(keys.find(({ key }) => key === name)?.means.replaceAll('`', ''));
  });
});

describe('the manual page mailtwin.yaml(5)', () => {
  const page = configManPage(keys, '1.2.3', '2026-01-02');

  it('has every key with its meaning', () => {
    for (const { key } of keys) expect(page).toContain(`\n.B ${key.replaceAll('-', '\\-')}\n`);
    expect(page).not.toContain('`');
  });

  it('is what groff takes without a warning', () => {
    const { status, stderr, stdout } = spawnSync('groff', ['-man', '-Tutf8', '-ww'], { input: page, encoding: 'utf8' });
    if (status === null) return expect(process.env['CI'], 'groff is missing').toBeUndefined();
    expect(stderr).toBe('');
    // Bold is a letter struck twice.
    expect(stdout.replaceAll(/.\u0008/g, '')).toContain('limits.massDelete');
  });
});
