import { posix } from 'node:path';

/** Where a file of the checkout is in /usr/share/doc/mailtwin; null when it is not installed there. */
export function documentAt(path: string): string | null {
  const known = documents[path];
  if (known !== undefined) return known;
  const [wing, dir, ...rest] = path.split('/');
  return wing === 'deploy' && dir !== undefined && documentDirs.includes(dir) ? posix.join(dir, ...rest) : null;
}

/** Single files, by their path in the checkout. */
export const documents: Readonly<Record<string, string>> = {
  'README.md': 'README.md',
  'SECURITY.md': 'SECURITY.md',
  'agent/ARCHITECTURE.md': 'ARCHITECTURE.md',
  'protocol/PROTOCOL.md': 'PROTOCOL.md',
  'CHANGELOG.md': 'changelog.gz',
  LICENSE: 'copyright',
};

/** Directories of deploy/ that are installed as they are. */
export const documentDirs = ['docs', 'examples', 'prometheus', 'grafana', 'systemd', 'images'];

const source = 'https://github.com/mailtwin/mailtwin/blob/main';

/** A Markdown file of the checkout with its links as they lead from where it is installed; what is not installed is linked to the source. */
export function installedMarkdown(path: string, text: string): string {
  const here = documentAt(path) ?? path;
  return text.replaceAll(/\]\(([^)\s#]+)(#[^)\s]*)?\)/g, (whole, target: string, anchor = '') => {
    if (/^[a-z]+:/.test(target)) return whole;
    const wanted = posix.normalize(posix.join(posix.dirname(path), target)).replace(/\/$/, '');
    const there = documentAt(wanted);
    return there === null ? `](${source}/${wanted}${anchor})` : `](${posix.relative(posix.dirname(here), there)}${anchor})`;
  });
}
