import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nextSteps, type NextFacts } from '../../agent/observe/page/next-steps.ts';
import { languageOf } from '../../agent/observe/page/pages.ts';
import { LagHistory } from '../../agent/observe/page/lag-history.ts';
import type { Status } from '../../protocol/control.ts';
import { sampleStatus } from './control-fixture.ts';

const files = join(import.meta.dirname, '../../agent/observe/page/files');

function steps(change: Partial<Status> = {}, more: Partial<NextFacts> = {}): string[] {
  const facts: NextFacts = {
    status: sampleStatus(change),
    takeover: { report: null, running: false, unfinished: null },
    findings: [],
    ways: [],
    ...more,
  };
  return nextSteps(facts).map(({ level, code }) => `${level} ${code}`);
}
const lost = { ...sampleStatus().peer, connected: false, role: null, epoch: null };

describe('what to do next', () => {
  it('is nothing when all is well', () => expect(steps()).toEqual([]));

  it.each<[string, Partial<Status>, Partial<NextFacts>, string[]]>([
    ['a standby that hears nothing', { role: 'standby', peer: lost }, {}, ['bad peer-lost-standby']],
    ['a primary without its standby', { peer: lost }, {}, ['bad peer-lost-primary']],
    ['a node that was replaced', { role: 'fenced' }, {}, ['bad fenced']],
    [
      'a takeover that was interrupted',
      {},
      { takeover: { report: null, running: false, unfinished: { id: '1', kind: 'failover' } } },
      ['bad unfinished'],
    ],
    ['a pair that was never compared', { lastVerify: null }, {}, ['warn verify']],
    [
      'differences',
      { lastVerify: { at: '2026-01-01T00:00:00.000Z', result: 'different', deep: true, differences: 2 } },
      {},
      ['bad verify'],
    ],
    ['a mail server that takes no notices', {}, { ways: [{ way: 'smtp', waiting: 1, lastError: 'no route' }] }, ['warn notices']],
  ])('is said for %s', (_, change, more, expected) => expect(steps(change, more)).toEqual(expected));

  it('puts the urgent first, and tells nothing twice that both the agent and the doctor say', () => {
    const warnings = [
      { code: 'peer-lost', text: 'lost', remedy: 'look' },
      { code: 'clock-skew', text: 'apart', remedy: 'ntp' },
    ];
    const findings = [
      { id: 'warnings', level: 'warn' as const, summary: 'the agent warns', evidence: '', remedy: '' },
      { id: 'key', level: 'fail' as const, summary: 'open', evidence: '', remedy: 'chmod' },
    ];
    expect(steps({ peer: lost, warnings }, { findings })).toEqual(['bad peer-lost-primary', 'bad doctor-key', 'warn clock-skew']);
  });
});

describe('the files of the page', () => {
  const scripts = readdirSync(files).filter((name) => name.endsWith('.js'));

  it('make no text into HTML, and run none', () => {
    for (const name of scripts)
      expect(readFileSync(join(files, name), 'utf8'), name).not.toMatch(
        /(innerHTML|outerHTML)\s*=|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc/,
      );
  });

  it('have no inline script or style, and ask nobody else', () => {
    for (const name of readdirSync(files)) {
      const text = readFileSync(join(files, name), 'utf8');
      expect(text, name).not.toMatch(/<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:/);
      expect(text.replaceAll('http://www.w3.org/2000/svg', ''), name).not.toMatch(/https?:\/\//);
    }
  });

  it('say the same in both languages', () => {
    const text = readFileSync(join(files, 'words.js'), 'utf8');
    const keys = (from: string, to: string) =>
      [...text.slice(text.indexOf(from), text.indexOf(to)).matchAll(/^ {2}([a-zA-Z]+):/gm)].map(([, key]) => key);
    expect(keys('const de', 'export const language')).toEqual(keys('const en', 'const de'));
  });
});

describe('the language of the page', () => {
  it.each([
    ['de-DE,de;q=0.9,en;q=0.8', 'de'],
    ['en-GB,en;q=0.9,de;q=0.5', 'en'],
    ['fr, de;q=0.3', 'de'],
    ['de;q=0, en', 'en'],
    ['', 'en'],
    ['x'.repeat(5000), 'en'],
  ])('for %s is %s', (header, language) => expect(languageOf(header)).toBe(language));
});

describe('the lag that the agent remembers', () => {
  it('is bounded (I12)', () => {
    const history = new LagHistory();
    for (let at = 0; at < 1000; at++) history.add({ at, seconds: null });
    expect(history.samples).toHaveLength(300);
    expect(history.samples[0]?.at).toBe(700);
  });
});
