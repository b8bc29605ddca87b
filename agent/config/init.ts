import { existsSync, mkdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { syncDir, writeDurable } from '../platform/durable-file.ts';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode } from '../platform/files.ts';
import type { Config } from './config.ts';
import { parseConfig } from './load.ts';
import { renderConfig, type TemplateValues } from './template.ts';
import { parseHostPort } from './values.ts';

/** The files of a key pair, by name in the state directory. Made by link/identity.ts. */
export interface IdentityFiles {
  files: Record<string, string>;
  fingerprint: string;
}

export interface InitOptions {
  /** The configuration file to write. */
  file: string;
  node: string;
  role: string;
  /** NAME=PATH:FORMAT, at least one. */
  roots: readonly string[];
  /** HOST:PORT. */
  listen?: string;
  /** Default /var/lib/mailtwin. */
  state?: string;
  /** HOST:PORT or off. */
  metrics?: string;
  peerAddresses?: readonly string[];
}

/**
 * Writes a commented configuration (mode 0600) and this node's key pair in the state directory (mode 0700).
 *
 * Nothing is overwritten, and when anything fails, what was made by then is removed again.
 *
 * @param makeIdentity makes a key pair for the node of that name; writes nothing.
 * @throws OperatorError: `usage` (exit code 2), `config`, `exists`, `init-failed`.
 */
export function initNode(options: InitOptions, makeIdentity: (node: string) => IdentityFiles): { config: Config; fingerprint: string } {
  const file = resolve(options.file);
  const text = renderConfig(valuesOf(options));
  const config = checkRendered(file, text, (path) => path);
  const identity = makeIdentity(config.node);
  const targets = [
    ...Object.entries(identity.files).map(([name, content]) => ({ path: join(config.state, name), content })),
    { path: file, content: text },
  ];
  for (const { path } of targets) refuseExisting(path);

  const undo: (() => void)[] = [];
  try {
    makeDirs(config.state, 0o700, undo);
    makeDirs(dirname(file), 0o755, undo);
    // The configuration comes last: where it stands, the key stands too.
    for (const { path, content } of targets) {
      writeDurable(path, content, { exclusive: true });
      undo.push(() => unlinkSync(path));
    }
  } catch (error) {
    for (const step of undo.reverse()) step();
    if (errnoCode(error) === 'EEXIST' && error instanceof Error && 'dest' in error) refuseExisting(String(error.dest), true);
    throw new OperatorError(
      'init-failed',
      `cannot write the configuration and key: ${error instanceof Error ? error.message : String(error)}; nothing was changed`,
      'Run the command as a user who may write there, or choose other places with --config and --state.',
    );
  }
  return { config, fingerprint: identity.fingerprint };
}

/** Reads NAME=PATH:FORMAT. The path may hold colons; the format is what follows the last one. */
export function parseRootArgument(text: string): { name: string; path: string; format: 'maildir' | 'plain' } {
  const wrong = (what: string) =>
    usage(`--root ${JSON.stringify(text)}: ${what}`, 'Write NAME=PATH:FORMAT, for example --root mail=/var/vmail:maildir.');
  const equals = text.indexOf('=');
  if (equals < 1) throw wrong('has no name before a "="');
  const colon = text.lastIndexOf(':');
  if (colon <= equals) throw wrong('has no format after a ":"');
  const path = text.slice(equals + 1, colon);
  const format = text.slice(colon + 1);
  if (!path.startsWith('/')) throw wrong(`the path ${JSON.stringify(path)} is not absolute`);
  if (format !== 'maildir' && format !== 'plain')
    throw wrong(`${JSON.stringify(format)} is not a format; the formats are maildir and plain`);
  return { name: text.slice(0, equals), path, format };
}

function usage(message: string, remedy: string): OperatorError {
  return new OperatorError('usage', message, remedy, 2);
}

function valuesOf(options: InitOptions): TemplateValues {
  const address = (option: string, text: string, portMin: number) => {
    const parsed = parseHostPort(text, portMin);
    if (parsed === null)
      throw usage(
        `${option} ${JSON.stringify(text)} is not HOST:PORT`,
        `Write for example ${option} 192.0.2.10:7420 or [2001:db8::10]:7420.`,
      );
    return parsed;
  };
  if (options.role !== 'primary' && options.role !== 'standby')
    throw usage(`--role ${JSON.stringify(options.role)} is not a role to start with`, 'Write --role primary or --role standby.');
  if (options.roots.length === 0) throw usage('no root was given', 'Write at least one --root NAME=PATH:FORMAT.');
  return {
    node: options.node,
    role: options.role,
    state: resolve(options.state ?? '/var/lib/mailtwin'),
    listen: address('--listen', options.listen ?? '0.0.0.0:7420', 0),
    metrics: options.metrics === 'off' ? null : address('--metrics', options.metrics ?? '127.0.0.1:9720', 0),
    peerAddresses: (options.peerAddresses ?? []).map((text) => address('--peer', text, 1)),
    roots: options.roots.map(parseRootArgument),
  };
}

/** The file must load before it is written; a complaint then speaks of options, because there is no file yet. */
function checkRendered(file: string, text: string, real: (path: string) => string): Config {
  try {
    return parseConfig(file, text, real);
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    const what = error.message.replace(/^.*?:\d+: /, '');
    throw usage(
      `what was asked for makes no valid configuration: ${what}`,
      error.remedy.startsWith('Correct line') ? 'Correct the option; see `mailtwin init --help`.' : error.remedy,
    );
  }
}

function refuseExisting(path: string, certain = false): void {
  if (certain || existsSync(path)) {
    throw new OperatorError(
      'exists',
      `${path} is there already; nothing was changed`,
      'Nothing is ever overwritten: use what is there, move it away, or choose other places with --config and --state.',
    );
  }
}

function makeDirs(dir: string, mode: number, undo: (() => void)[]): void {
  if (existsSync(dir)) return;
  makeDirs(dirname(dir), 0o755, undo);
  mkdirSync(dir, { mode });
  undo.push(() => rmdirSync(dir));
  syncDir(dirname(dir));
}
