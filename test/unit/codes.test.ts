import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { exitCodes } from '../../protocol/control.ts';
import { guardNames } from '../../protocol/takeover.ts';
import { allCodes, codeSections } from '../../tools/cli/codes/code-table.ts';
import { errorsPage } from '../../tools/docs/errors-page.ts';
import { runCli } from './cli-fixture.ts';
import { codesIn, type Source } from './code-scan.ts';

const top = join(import.meta.dirname, '../..');

function sources(): Source[] {
  return ['protocol', 'agent', 'tools'].flatMap((wing) =>
    readdirSync(join(top, wing), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.[cm]?[jt]s$/.test(name))
      .map((name) => ({ file: `${wing}/${name}`, text: readFileSync(join(top, wing, name), 'utf8') })),
  );
}

/** What stands for a `code` and is no word for people: zod's kind of complaint, and answers by which all went well. */
const noCodes = ['custom', 'ok', 'staged'];

describe('the table of codes', () => {
  const uses = codesIn(sources(), ['code', 'codes']);
  const used = new Set(uses.map(({ code }) => code));
  const entries = codeSections.flatMap(({ codes }) => Object.entries(codes));

  it('has each code that the sources give out', () => {
    const known = new Set([...entries.map(([code]) => code), ...noCodes]);
    expect(uses.filter(({ code }) => !known.has(code)).map(({ code, at }) => `${code} at ${at}`)).toEqual([]);
    expect(used.size).toBeGreaterThan(200);
    expect(noCodes.filter((code) => !used.has(code))).toEqual([]);
  });

  it('has no code that nothing gives out, and each once', () => {
    expect(entries.map(([code]) => code).filter((code) => !used.has(code))).toEqual([]);
    expect(entries.length).toBe(new Set(entries.map(([code]) => code)).size);
  });

  it.each(entries)('says in whole sentences what %s means and what to do', (_, { means, causes, next }) => {
    expect(means).toMatch(/^[A-Z`].*\.$/);
    expect(next).toMatch(/^[A-Z`].*\.$/);
    for (const cause of causes) expect(cause).not.toMatch(/\.$/);
    if (next !== 'Nothing.' && !next.startsWith('Read its outcome')) expect(causes.length).toBeGreaterThan(0);
  });

  it('is what deploy/docs/errors.md says (`npm run docs`)', () => {
    expect(readFileSync(join(top, 'deploy/docs/errors.md'), 'utf8')).toBe(errorsPage());
  });
});

describe('the scan for codes sees', () => {
  it.each([
    ['a class with a code', `class Failure { constructor(code: string, text: string) {} } throw new Failure('no-disk', 'x');`],
    ['an object', `say({ code: 'no-disk' });`],
    ['one of two', `say({ code: full ? 'no-disk' : other });`],
    ['a fallback', `say({ code: given ?? 'no-disk' });`],
    ['a function of the file', `const say = (level: string, code: string) => level; say('bad', 'no-disk');`],
    ['a type', `interface Held { code: 'no-disk' | null }`],
    ['a schema', `const held = z.object({ code: z.enum(['no-disk']) });`],
    ['a field of a class', `class Away { readonly code = 'no-disk'; }`],
    ['a text that is printed', 'process.stderr.write(`mailtwin: no-disk: ${why}`);'],
  ])('%s', (_, text) => {
    expect(codesIn([{ file: 'a.ts', text }], ['code'])).toEqual([{ code: 'no-disk', at: 'a.ts:1' }]);
  });

  it('a function of another file, unless this one has its own of that name', () => {
    const there = { file: 'there.ts', text: `export function say(code: string) {}` };
    expect(codesIn([there, { file: 'a.ts', text: `say('no-disk');` }], ['code'])).toEqual([{ code: 'no-disk', at: 'a.ts:1' }]);
    expect(codesIn([there, { file: 'a.ts', text: `const say = (what: string) => what; say('disks');` }], ['code'])).toEqual([]);
  });
});

describe('mailtwin explain', () => {
  it('prints what a code means, its causes and what to do', async () => {
    const { code, out, err } = await runCli(['explain', 'peer-lost'], {});
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(
      /^peer-lost \(code\)\n {2}The other node is not connected[^\n]*\n {2}likely causes:\n( {4}- .*\n)+ {2}what to do: .*\n$/,
    );
  });

  it('knows each code, each guard and each exit code', async () => {
    for (const word of [...allCodes(), ...guardNames, ...Object.values(exitCodes).map(String)])
      expect(await runCli(['explain', word], {}), word).toMatchObject({ code: 0, err: '' });
  });

  it('tells a code and a guard of one name apart', async () => {
    const { out } = await runCli(['explain', 'clock-skew', '--json'], {});
    const { entries } = JSON.parse(out) as { entries: { kind: string }[] };
    expect(entries.map(({ kind }) => kind)).toEqual(['code', 'guard']);
  });

  it('lists every code without an argument', async () => {
    const { code, out } = await runCli(['explain'], {});
    expect(code).toBe(0);
    const words = new Set(out.split(/\s+/));
    expect(allCodes().filter((each) => !words.has(each))).toEqual([]);
  });

  it('offers the nearest for one that there is not, in one error', async () => {
    const near = await runCli(['explain', 'peer-lots'], {});
    expect(near).toMatchObject({ code: 2, out: '' });
    expect(near.err).toMatch(/^mailtwin: unknown-code: there is no code "peer-lots"\n {2}what to do: did you mean peer-lost[^\n]*\n$/);
    expect((await runCli(['explain', 'xxxxxxxxxxxxxxxxxxxxxxx'], {})).err).toContain('`mailtwin explain` lists all');
    // A name that every object has is no code.
    expect((await runCli(['explain', 'constructor'], {})).code).toBe(2);
  });
});
