import { describe, expect, it } from 'vitest';
import type { LeftOutStatus } from '../../protocol/control.ts';
import { dovecotFacts } from '../../agent/observe/doctor/dovecot-places.ts';
import { leftOutChecks } from '../../agent/observe/doctor/left-out-checks.ts';
import type { DoctorProbe } from '../../agent/observe/doctor/probe.ts';
import { sampleStatus } from './control-fixture.ts';
import { healthyNode, healthyProbe, sampleConfig } from './doctor-fixture.ts';

const base = sampleStatus();

async function findings(left: Partial<LeftOutStatus> & Pick<LeftOutStatus, 'places'>, change: Partial<DoctorProbe> = {}) {
  const status = {
    ...base,
    leftOut: [{ reason: 'link-out', text: 'link', count: 1, kept: 0, unexpected: 1, examples: ['x'], since: base.at, ...left }],
  };
  const check = leftOutChecks[0]!;
  return await check.run({ probe: healthyProbe(change), node: healthyNode(), config: sampleConfig(), status });
}

const link = (path: string, detail: string, kept = false) => ({ places: [{ root: 'mail', path, detail, kept }] });
const where = base.roots[0]?.path ?? '';

describe('what doctor says of what is left out (I22)', () => {
  it('names the root to add, with its format', async () => {
    const tree: Record<string, string[]> = { '/disk2/example.com': ['u1'], '/disk2/example.com/u1': ['cur', 'new', 'tmp'] };
    const list = (path: string) => tree[path] ?? [];
    const [found] = await findings(link('example.com', '/disk2/example.com', true), { list });
    expect(found).toMatchObject({ level: 'warn', id: 'left-out' });
    expect(found?.summary).toContain('the standby keeps what it had there');
    expect(found?.remedy).toContain('{ name: example.com, path: /disk2/example.com, format: maildir }');
    expect(found?.remedy).toContain(`mount that directory at ${where}/example.com`);
  });

  it('takes a directory without mailboxes for plain, and never a name that is taken', async () => {
    const [found] = await findings(link('a/b', '../../../srv/mail'));
    expect(found?.remedy).toMatch(/\{ name: mail-2, path: \/\S*srv\/mail, format: plain \}/);
  });

  it('says of a link to a file, and to nothing, what else to do', async () => {
    const [file] = await findings(link('x', '/etc/aliases'), { stat: () => ({ directory: false, mode: 0o600, uid: 0, gid: 0, dev: '1' }) });
    expect(file?.remedy).toContain('put the file into the root');
    const [nothing] = await findings(link('x', '/gone'), { stat: () => null });
    expect(nothing?.summary).toContain('to nothing');
  });

  it('says how to remove what is kept of something that the configuration excludes', async () => {
    const [found] = await findings({ reason: 'excluded', kept: 1, places: [{ root: 'mail', path: 'old', detail: 'old/', kept: true }] });
    expect(found?.remedy).toContain("mailtwin allow-delete 'mail/old'");
  });

  it('passes what is left out by design', async () => {
    expect(await findings({ reason: 'special', unexpected: 0, count: 3, places: [] })).toMatchObject([{ level: 'pass' }]);
  });
});

describe('full-text search in the configuration of Dovecot', () => {
  it.each([
    ['mail_plugins = " fts fts_flatcurve quota"\nprotocol imap {\n  mail_plugins = fts fts_xapian\n}', ['fts_xapian']],
    ['mail_plugins = fts fts_flatcurve quota', ['fts', 'fts_flatcurve']],
    ['mail_plugins {\n  fts = yes\n  fts_flatcurve = yes\n  quota = yes\n}', ['fts', 'fts_flatcurve']],
    ['mail_plugins = quota', []],
  ])('%j', (text, plugins) => expect(dovecotFacts(text).fullText).toEqual(expect.arrayContaining(plugins)));
});
