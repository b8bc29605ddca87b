import { readFileSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { isMap, isScalar, LineCounter, parseDocument, type Document, type Node } from 'yaml';
import type { z } from 'zod';
import { defaultExcludes } from '../../protocol/exclude.ts';
import { nearest } from '../../protocol/nearest.ts';
import { OperatorError } from '../platform/errors.ts';
import { errnoCode } from '../platform/files.ts';
import type { Config } from './config.ts';
import { checkNotices, toNoticesConfig } from './notices.ts';
import { checkPlaces, type Problem } from './places.ts';
import { fileSchema, sectionKeys } from './schema.ts';
import { toFencingConfig } from './takeover-sections/fencing.ts';
import { toServicesConfig } from './takeover-sections/services.ts';
import { checkNetwork, toNetworkConfig } from './takeover-sections/network.ts';
import { toTakeoverConfig } from './takeover-sections/takeover.ts';

const fileBytesMax = 1024 * 1024;

/**
 * Reads and checks a configuration file.
 *
 * @throws OperatorError (code `config`, exit code 2) that names file, line, key, what is wrong and what to write instead.
 */
export function loadConfig(file: string): Config {
  const path = resolve(file);
  let text: string;
  try {
    const bytes = readFileSync(path);
    if (bytes.length > fileBytesMax)
      throw configError(
        `${path}: is larger than ${fileBytesMax} bytes`,
        'This is not a configuration file of mailtwin; name another one with --config.',
      );
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof OperatorError) throw error;
    if (errnoCode(error) === 'ENOENT')
      throw configError(`${path}: there is no such file`, 'Make one with `mailtwin init`, or name another one with --config.');
    if (error instanceof TypeError) throw configError(`${path}: is not UTF-8 text`, 'Save the file as UTF-8.');
    throw configError(
      `${path}: cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      'Run the command as the user who owns the file, or name another one with --config.',
    );
  }
  return parseConfig(path, text, realPath);
}

/** @throws OperatorError when an alias (`*name`) stands for nothing, for itself, or for more and more. */
function plainOf(document: Document, file: string): unknown {
  const remedy = 'Write the value itself in the place of the alias (`*name`).';
  try {
    const value = document.toJS({ maxAliasCount: 100 }) as unknown;
    if (leadsBack(value)) throw configError(`${file}: an alias (\`*name\`) stands for what it is part of`, remedy);
    return value;
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    throw configError(`${file}: ${error.message}`, remedy);
  }
}

/** Whether a value is part of itself. */
function leadsBack(value: unknown, above = new Set<unknown>()): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (above.has(value)) return true;
  above.add(value);
  const found = Object.values(value).some((each) => leadsBack(each, above));
  above.delete(value);
  return found;
}

/** Like `loadConfig`, from text. `real` resolves symbolic links, so that overlapping roots are found behind them. */
export function parseConfig(file: string, text: string, real: (path: string) => string): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const broken = document.errors[0] ?? document.warnings[0];
  if (broken) {
    const { line } = lines.linePos(broken.pos[0]);
    throw configError(
      `${file}:${line}: ${broken.code === 'DUPLICATE_KEY' ? 'a key stands twice in the same section' : `is not YAML: ${broken.message}`}`,
      `Correct line ${line}.`,
    );
  }
  const result = fileSchema.safeParse(plainOf(document, file));
  const problems = result.success
    ? [...checkPlaces(result.data, real), ...(result.data.network ? checkNetwork(result.data.network) : []), ...checkNotices(result.data)]
    : result.error.issues.flatMap(problemsOf);
  if (problems.length > 0 || !result.success) {
    const found = problems.map((problem) => ({ ...problem, line: lineOf(document, lines, problem) })).sort((a, b) => a.line - b.line);
    const first = found[0];
    if (!first) throw new Error('a configuration was refused without a reason');
    const key = showPath(first.path);
    const more = found.slice(1, 6).map((p) => `line ${p.line} (${showPath(p.path) || 'file'})`);
    throw configError(
      `${file}:${first.line}: ${key === '' ? '' : `${key}: `}${first.what}${more.length > 0 ? `; also wrong: ${more.join(', ')}` : ''}`,
      first.remedy ?? `Correct line ${first.line} of ${file}.`,
    );
  }
  return toConfig(file, result.data, real);
}

function configError(message: string, remedy: string): OperatorError {
  return new OperatorError('config', message, remedy, 2);
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    // A root that is not there yet, or may not be looked at, is judged by its name; it is refused later, by its own error.
    return path;
  }
}

function problemsOf(issue: z.core.$ZodIssue): Problem[] {
  const path = issue.path as (string | number)[];
  if (issue.code === 'unrecognized_keys') {
    const known = sectionKeys[path.filter((part) => typeof part === 'string').join('.')] ?? [];
    return issue.keys.map((key) => {
      const near = nearest(key, known)[0] ?? null;
      return {
        path: [...path, key],
        what: `unknown key${near === null ? '' : `; did you mean "${near}"?`}`,
        remedy: near === null ? `Remove it, or use one of: ${known.join(', ')}.` : `Write "${near}".`,
      };
    });
  }
  // A union hides what its branches said; the last branch is the one with the unit.
  if (issue.code === 'invalid_union') {
    const inner = issue.errors.at(-1)?.[0];
    if (inner && inner.code === 'custom') return [{ path, what: inner.message }];
  }
  const missing = issue.code !== 'custom' && issue.input === undefined && issue.message.startsWith('nothing is not ');
  if (missing)
    return [
      {
        path,
        what: `is missing; it must be ${issue.message.replace(/^nothing is not (one of: )?/, (_, many: string | undefined) => (many ? 'one of: ' : ''))}`,
        remedy: `Add "${String(path.at(-1))}:".`,
      },
    ];
  return [{ path, what: issue.message }];
}

/** The line of a value, of a key, or, for what is missing, of the section that lacks it. */
function lineOf(document: Document, lines: LineCounter, problem: Problem): number {
  for (let depth = problem.path.length; depth >= 0; depth--) {
    const parent = depth === 0 ? undefined : (document.getIn(problem.path.slice(0, depth - 1), true) as Node | undefined);
    const pair = isMap(parent) ? parent.items.find((item) => isScalar(item.key) && item.key.value === problem.path[depth - 1]) : undefined;
    const key = pair && isScalar(pair.key) ? pair.key : undefined;
    const node = key ?? (document.getIn(problem.path.slice(0, depth), true) as Node | undefined);
    if (node && typeof node === 'object' && node.range) return lines.linePos(node.range[0]).line;
  }
  return 1;
}

function showPath(path: readonly (string | number)[]): string {
  return path.reduce<string>(
    (text, part) => (typeof part === 'number' ? `${text}[${part + 1}]` : text === '' ? part : `${text}.${part}`),
    '',
  );
}

/** Names on disk are bytes: what the file says in UTF-8 is carried as a byte string. */
function bytePath(path: string): string {
  return Buffer.from(resolve(path), 'utf8').toString('latin1');
}

/**
 * A root that is a link is where the link leads: nothing is read through a link afterwards. A name that is not UTF-8 stays as
 * it was written.
 */
function rootPath(path: string, real: (path: string) => string): string {
  const leadsTo = real(resolve(path));
  return bytePath(leadsTo.includes('\ufffd') ? path : leadsTo);
}

function toConfig(file: string, form: z.output<typeof fileSchema>, real: (path: string) => string): Config {
  return {
    file,
    node: form.node,
    role: form.role,
    state: resolve(form.state),
    listen: form.listen,
    peer: form.peer,
    roots: form.roots.map((root) => ({
      name: root.name,
      path: rootPath(root.path, real),
      format: root.format,
      mayBeEmpty: root.mayBeEmpty,
      staging: root.staging === undefined ? null : bytePath(root.staging),
      exclude: (root.exclude ?? defaultExcludes[root.format]).map((text) => Buffer.from(text, 'utf8').toString('latin1')),
    })),
    capture: form.capture,
    limits: {
      bandwidth: form.limits.bandwidth.map((window) => ({ fromMinute: window.from, toMinute: window.to, bytesPerSecond: window.rate })),
      massDeleteShare: form.limits.massDelete,
      massDeleteFilesMin: form.limits.massDeleteFilesMin,
      freeBytesMin: form.limits.freeSpaceMin,
    },
    scrub: { days: form.scrub.days, bytesPerSecondMax: form.scrub.maxRate },
    history: { days: form.history.keep, bytesMax: form.history.max },
    metrics: form.metrics && {
      ...form.metrics.listen,
      tls: form.metrics.tls ?? null,
      auth: form.metrics.auth ?? null,
      names: form.metrics.names ?? [],
    },
    log: form.log,
    fencing: toFencingConfig(form.fencing),
    services: form.services ? toServicesConfig(form.services) : null,
    network: form.network ? toNetworkConfig(form.network) : null,
    takeover: toTakeoverConfig(form.takeover),
    notices: form.notices ? toNoticesConfig(form.notices) : null,
  };
}
