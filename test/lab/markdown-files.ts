import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

/** The documents of the product, as their readers follow them. */

export const top = join(import.meta.dirname, '../..');

export function readText(path: string): string {
  return readFileSync(join(top, path), 'utf8');
}

/** Every document, by its path in the checkout. */
export function documentPaths(): string[] {
  const below = (dir: string) =>
    readdirSync(join(top, dir))
      .filter((name) => name.endsWith('.md'))
      .map((name) => posix.join(dir, name));
  return [...below('.'), ...below('deploy/docs'), ...below('deploy/prometheus'), 'agent/ARCHITECTURE.md', 'protocol/PROTOCOL.md'];
}

/** What GitHub calls the sections of a text. */
export function anchorsOf(text: string): Set<string> {
  const seen = new Map<string, number>();
  return new Set(
    [...withoutCode(text).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => {
      const name = title
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-');
      const times = seen.get(name) ?? 0;
      seen.set(name, times + 1);
      return times === 0 ? name : `${name}-${times}`;
    }),
  );
}

/** Targets of the links and pictures of a text. */
export function linksOf(text: string): string[] {
  return [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
}

/** The links that lead nowhere. `has`: whether a path exists; `read`: the text of a document there. */
export function deadLinks(
  path: string,
  text: string,
  has: (path: string) => boolean = (each) => existsSync(join(top, each)),
  read: (path: string) => string = readText,
): string[] {
  return linksOf(text).filter((link) => {
    if (/^[a-z]+:/.test(link)) return !/^https:\/\/[\w.-]+\/\S*$|^https:\/\/[\w.-]+$|^mailto:/.test(link);
    const [target = '', anchor] = link.split('#');
    const at = target === '' ? path : posix.normalize(posix.join(posix.dirname(path), target));
    if (target !== '' && !has(at)) return true;
    return anchor !== undefined && !anchorsOf(target === '' ? text : read(at)).has(anchor);
  });
}

function withoutCode(text: string): string {
  return text.replaceAll(/^( {4}|\t).*$/gm, '').replaceAll(/^```[^]*?^```$/gm, '');
}
