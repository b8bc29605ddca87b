import { dirname } from 'node:path';
import type { BytePath } from '../platform/files.ts';
import type { Config } from './config.ts';

/** What `ProtectSystem=full` makes read-only (systemd.exec(5)). */
export const systemPlaces = ['/boot', '/efi', '/etc', '/usr'] as const;
/** What `ReadOnlyPaths=` of deploy/systemd/mailtwin.service names. */
export const namedPlaces = ['/run', '/var/spool/cron', '/var/lib/dpkg', '/var/lib/apt', '/var/lib/systemd'] as const;
const homes = ['/home', '/root', '/run/user'];
const temporary = ['/tmp', '/var/tmp'];
/** `RuntimeDirectory=` is writable as it is. */
const runtimeDirectory = '/run/mailtwin';

/**
 * Opens the sandbox of the agent's unit as far as this configuration needs it.
 *
 * @returns the lines below `[Service]` of a drop-in; none where the unit fits as it is, which is the usual case.
 */
export function sandboxLines(config: Pick<Config, 'state' | 'roots' | 'services'>): string[] {
  const written = writtenPlaces(config);
  const isIn = (places: readonly string[]) => (path: string) => places.some((place) => isWithin(path, place));
  const holds = (place: string) => written.some((path) => isWithin(place, path));
  const lines: string[] = [];
  if (systemPlaces.some(holds)) lines.push('ProtectSystem=no');
  if (written.some(isIn(homes))) lines.push('ProtectHome=no');
  if (written.some(isIn(temporary))) lines.push('PrivateTmp=no');
  if (namedPlaces.some(holds))
    lines.push(
      'ReadOnlyPaths=',
      `ReadOnlyPaths=${namedPlaces
        .filter((p) => !holds(p))
        .map((p) => `-${p}`)
        .join(' ')}`,
    );
  const opened = written.filter((path) => isIn([...systemPlaces, ...namedPlaces].filter((place) => !holds(place)))(path));
  return [...lines, ...opened.map((path) => `ReadWritePaths=${quoted(`-${path}`)}`)];
}

/** Directories that the agent writes to, as byte strings. */
function writtenPlaces({ state, roots, services }: Pick<Config, 'state' | 'roots' | 'services'>): BytePath[] {
  const gate = services ? dirname(services.gate) : runtimeDirectory;
  const own = [state, gate].map((path) => Buffer.from(path, 'utf8').toString('latin1'));
  const paths = [...own, ...roots.flatMap(({ path, staging }) => (staging === null ? [path] : [path, staging]))];
  return [...new Set(paths)].filter((path) => !isWithin(path, runtimeDirectory));
}

function isWithin(path: string, place: string): boolean {
  return path === place || place === '/' || path.startsWith(`${place}/`);
}

/** A word of a unit file: specifiers begin with a percent sign, and other bytes than ASCII are written as C does (systemd.syntax(7)). */
function quoted(word: BytePath): string {
  const escaped = word
    .replaceAll('%', '%%')
    .replace(/["\\]/g, (character) => `\\${character}`)
    .replace(/[^\x20-\x7e]/g, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return `"${escaped}"`;
}
