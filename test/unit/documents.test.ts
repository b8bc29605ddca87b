import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { documentAt, documentDirs, documents, installedMarkdown } from '../../tools/package/documents.ts';
import { anchorsOf, deadLinks, documentPaths, readText, top } from '../lab/markdown-files.ts';

describe('each link and each anchor leads somewhere', () => {
  it.each(documentPaths())('in %s', (path) => {
    expect(deadLinks(path, readText(path))).toEqual([]);
  });

  it('and one that leads nowhere is seen', () => {
    const text = '# One\n\n[a](#one) [b](#two) [c](README.md) [d](MISSING.md) [e](README.md#no-such-section) [f](http:nowhere)';
    expect(deadLinks('X.md', text)).toEqual(['#two', 'MISSING.md', 'README.md#no-such-section', 'http:nowhere']);
    expect([...anchorsOf('# A `b` (c)\n## Same\n## Same\n')]).toEqual(['a-b-c', 'same', 'same-1']);
  });
});

describe('the documents of the Debian package', () => {
  const paths = [
    ...Object.keys(documents),
    ...documentDirs.flatMap((dir) =>
      readdirSync(join(top, 'deploy', dir), { recursive: true, encoding: 'utf8' }).map((name) => `deploy/${dir}/${name}`),
    ),
    ...documentDirs.map((dir) => `deploy/${dir}`),
  ];
  const installed = new Map(paths.map((path) => [documentAt(path) ?? '', path]));
  const markdown = paths.filter((path) => path.endsWith('.md') && path !== 'CHANGELOG.md');

  it.each(markdown)('%s leads to what is installed, or to the source', (path) => {
    const text = (at: string) => installedMarkdown(installed.get(at) ?? '', readText(installed.get(at) ?? ''));
    const at = documentAt(path) ?? '';
    expect(deadLinks(at, text(at), (each) => installed.has(each), text)).toEqual([]);
  });
});
