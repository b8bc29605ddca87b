import { posix } from 'node:path';
import { parseSync, visitorKeys, type Node } from 'oxc-parser';

/**
 * The one direction in which the folders know each other:
 *
 *     protocol < agent/platform < middle rooms < replicate, failover < wiring < agent/main.ts;   tools -> protocol
 *
 * and who may touch the outside (files, sockets, processes, clock, randomness). Everyone else gets it handed in, and
 * so runs in the simulation.
 */

/** Rooms between the platform and replication. They know each other by type only. */
const middleRooms = [
  'capture',
  'journal',
  'delta',
  'mailstore',
  'link',
  'network',
  'fencing',
  'services',
  'history',
  'observe',
  'config',
  'control',
];
const upperRooms = ['replicate', 'failover'];

/** What main.ts alone would be too long for: it puts the rooms together, and only main.ts knows it. */
const wiringRoom = 'wiring';

/** Rooms that may call what Node and the system offer. */
const outsideRooms = new Set(['platform', 'link', 'control', 'observe', 'config', wiringRoom]);

/** Single files that may, too. In capture these are the watchers; whatever decides what a hint means is not among them. */
const outsideFiles =
  /^agent\/(main\.ts|services\/imap-login\.ts|capture\/(barrier-markers|choose-watcher|directory-watches|(fanotify|chokidar)[a-z-]*)\.ts)$/;

/** Rooms that import nothing of the outside but may keep time: a watcher works in slices, and gives up after a while. */
const keepsTime = new Set(['agent/capture']);

/** Node's modules that compute and touch nothing. */
const pureModules = new Set([
  'node:assert',
  'node:assert/strict',
  'node:buffer',
  'node:crypto',
  'node:events',
  'node:path',
  'node:path/posix',
  'node:util',
]);

/** Packages that compute and touch nothing. */
const purePackages = new Set(['msgpackr', 'xxhash-wasm', 'zod']);

/** Names of a pure module that are not pure. */
const impureNames = /^(random|generateKey|getRandomValues|webcrypto|subtle|generatePrime|setMaxListeners|once|on$|debug)/;

/** Packages with one home. */
const packageHomes: Record<string, RegExp> = {
  chokidar: /^agent\/capture\//,
  commander: /^tools\//,
  imapflow: /^(tools\/|test\/|agent\/services\/imap-login\.ts$)/,
  koffi: /^agent\/(platform|capture)\//,
  nodemailer: /^agent\/observe\/notices\//,
  lmdb: /^agent\/platform\//,
  pino: /^agent\/observe\//,
  'prom-client': /^agent\/observe\//,
  ws: /^agent\/link\//,
};

/** Globals that bring time, randomness or the outside. */
const impureGlobals = new Set([
  'setTimeout',
  'setInterval',
  'setImmediate',
  'clearTimeout',
  'clearInterval',
  'clearImmediate',
  'performance',
  'process',
  'fetch',
  'WebSocket',
  'crypto',
  'globalThis',
  'require',
]);

/** Each of these is a decision; `imports.test.ts` fails when one is not needed any more. */
export const exceptions: { from: string; to: string; why: string }[] = [
  { from: 'tools/cli/agent-entry.ts', to: 'agent/main.ts', why: '`mailtwin run` and `demo` are the agent in the same package' },
  { from: 'agent/history/keeper.ts', to: 'agent/journal/keys.ts', why: 'history keeps its list in the same index, in the same commit' },
  {
    from: 'agent/history/keeper.ts',
    to: 'agent/journal/replica-index.ts',
    why: 'history keeps its list in the same index, in the same commit',
  },
];

export interface Reference {
  specifier: string;
  isTypeOnly: boolean;
  /** Imported names; empty for `*`, a dynamic import and a side effect. */
  names: string[];
  line: number;
}

interface Findings {
  references: Reference[];
  globals: { name: string; line: number }[];
}

type AnyNode = Node & Record<string, unknown>;

/** Everything a source file imports (static, type, dynamic, re-exported, worker URL) and every impure global it uses. */
export function inspect(file: string, source: string): Findings {
  const { program, errors } = parseSync(file, source, { sourceType: 'module', preserveParens: false });
  if (errors.length > 0) throw new Error(`${file}: ${errors[0]?.message}`);
  const findings: Findings = { references: [], globals: [] };
  const lineOf = (node: AnyNode): number => source.slice(0, node.start).split('\n').length;
  const refer = (node: AnyNode, target: unknown, isTypeOnly: boolean, names: string[] = []): void => {
    const value = (target as AnyNode | null)?.['value'];
    findings.references.push({ specifier: typeof value === 'string' ? value : '(computed)', isTypeOnly, names, line: lineOf(node) });
  };
  const use = (node: AnyNode, name: string): void => void findings.globals.push({ name, line: lineOf(node) });

  const visit = (node: AnyNode): void => {
    switch (node.type) {
      case 'ImportDeclaration':
        return refer(node, node.source, node.importKind === 'type', node.specifiers.flatMap(importedName));
      case 'ExportAllDeclaration':
        return refer(node, node.source, node.exportKind === 'type');
      case 'ExportNamedDeclaration':
        if (node.source) return refer(node, node.source, node.exportKind === 'type');
        break;
      case 'ImportExpression':
        refer(node, node.source, false);
        break;
      case 'TSImportType':
        refer(node, node.source, true);
        break;
      case 'TSImportEqualsDeclaration':
        return refer(node, (node.moduleReference as AnyNode)['expression'], false);
      case 'NewExpression':
        if (isNamed(node.callee, 'URL') && node.arguments.length === 2) refer(node, node.arguments[0], false);
        if (isNamed(node.callee, 'Date') && node.arguments.length === 0) use(node, 'new Date()');
        break;
      case 'CallExpression':
        if (isNamed(node.callee, 'Date')) use(node, 'Date()');
        break;
      case 'MemberExpression':
        if (isNamed(node.object, 'Date') && isNamed(node.property, 'now')) use(node, 'Date.now');
        if (isNamed(node.object, 'Math') && isNamed(node.property, 'random')) use(node, 'Math.random');
        break;
      case 'Identifier':
        if (impureGlobals.has(node.name)) use(node, node.name);
        break;
      default:
    }
    const keys = visitorKeys[node.type] ?? [];
    // The name of a property or a member is not a use of the global of the same name.
    const ownName = node['computed'] === true ? undefined : node.type === 'MemberExpression' ? node.property : node['key'];
    for (const key of keys) {
      for (const child of [node[key]].flat()) {
        if (typeof child === 'object' && child !== null && child !== ownName) visit(child as AnyNode);
      }
    }
  };
  visit(program as unknown as AnyNode);
  return findings;
}

function isNamed(node: unknown, name: string): boolean {
  return (node as AnyNode).type === 'Identifier' && (node as AnyNode)['name'] === name;
}

function importedName(specifier: unknown): string[] {
  const imported = (specifier as AnyNode)['imported'] as AnyNode | undefined;
  return typeof imported?.['name'] === 'string' ? [imported['name']] : [];
}

/** The room of a file: `protocol`, `agent/journal`, `agent/main.ts`, `tools`; null where there is no such room. */
export function roomOf(file: string): string | null {
  const [wing, second = ''] = file.split('/');
  if (wing === 'protocol' || wing === 'tools') return wing;
  if (wing !== 'agent') return null;
  const known = ['main.ts', 'platform', wiringRoom, ...middleRooms, ...upperRooms].includes(second);
  return known ? `agent/${second}` : null;
}

/** Every breach of the rule in one file, as `file:line: what`; and which exceptions it needed. */
export function breaches(file: string, source: string): { breaches: string[]; used: (typeof exceptions)[number][] } {
  const room = roomOf(file);
  if (room === null) return { breaches: [`${file}: no such room`], used: [] };
  const { references, globals } = inspect(file, source);
  const found: string[] = [];
  const used: (typeof exceptions)[number][] = [];
  for (const reference of references) {
    const { specifier, line } = reference;
    const target = specifier.startsWith('.') ? posix.join(posix.dirname(file), specifier) : null;
    const exception = exceptions.find(({ from, to }) => from === file && to === target);
    if (exception) used.push(exception);
    const reason = exception ? null : target === null ? whyNotPackage(file, reference) : whyNotFile(room, target, reference.isTypeOnly);
    if (reason !== null) found.push(`${file}:${line}: imports ${specifier}: ${reason}`);
  }
  if (!mayTouchOutside(file) && !keepsTime.has(room))
    found.push(...globals.map(({ name, line }) => `${file}:${line}: uses ${name}: time, randomness and the outside are handed in`));
  return { breaches: found, used };
}

/** Why `room` may not import `target`, a file of ours; null when it may. */
function whyNotFile(room: string, target: string, isTypeOnly: boolean): string | null {
  const other = roomOf(target);
  if (other === null) return 'is in no room that may be imported';
  if (other === room) return null;
  if (room === 'protocol') return 'protocol imports nothing of ours';
  if (other === 'protocol') return null;
  if (room === 'tools' || other === 'tools') return 'tools and agent share only protocol';
  if (levelOf(other) < levelOf(room)) return null;
  if (levelOf(other) > levelOf(room)) return `${room} is below ${other}`;
  return isTypeOnly ? null : `${room} knows ${other} by type only (import type)`;
}

function levelOf(room: string): number {
  const name = room.slice('agent/'.length);
  if (name === 'platform') return 0;
  if (middleRooms.includes(name)) return 1;
  if (upperRooms.includes(name)) return 2;
  return name === wiringRoom ? 3 : 4;
}

function mayTouchOutside(file: string): boolean {
  return file.startsWith('tools/') || outsideFiles.test(file) || outsideRooms.has(file.split('/')[1] ?? '');
}

/** Why `file` may not import a module that is not ours; null when it may. */
function whyNotPackage(file: string, { specifier, names, isTypeOnly }: Reference): string | null {
  const home = packageHomes[specifier];
  if (home && !home.test(file)) return 'this package has another home';
  if (isTypeOnly || mayTouchOutside(file) || home) return null;
  if (!pureModules.has(specifier) && !purePackages.has(specifier)) return 'touches the outside, which is handed in here';
  const impure = names.find((name) => impureNames.test(name));
  return impure === undefined ? null : `${impure} is not a pure function`;
}
