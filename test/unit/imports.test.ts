import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { breaches, exceptions, inspect } from './import-rules.ts';

const top = join(import.meta.dirname, '../..');

function sources(): { file: string; source: string }[] {
  return ['protocol', 'agent', 'tools'].flatMap((wing) =>
    readdirSync(join(top, wing), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.[cm]?[jt]sx?$/.test(name))
      .map((name) => ({ file: `${wing}/${name}`, source: readFileSync(join(top, wing, name), 'utf8') })),
  );
}

describe('the import rule', () => {
  const results = sources().map(({ file, source }) => breaches(file, source));

  it('is kept by every file under protocol, agent and tools', () => {
    expect(results.length).toBeGreaterThan(20);
    expect(results.flatMap((result) => result.breaches)).toEqual([]);
  });

  it('gives files by their paths to those alone who neither write in a root nor send what they read there (I11)', () => {
    const byPath = sources().filter(({ file, source }) => !file.startsWith('agent/platform/') && /\brealFiles\b/.test(source));
    expect(byPath.map(({ file }) => file)).toEqual([
      // Which directories there are, and which mounts: hints are no more than reasons to look.
      'agent/capture/chokidar-watcher.ts',
      'agent/capture/fanotify-watcher.ts',
      // The gate, secrets, power switches; and how many messages an INBOX has.
      'agent/wiring/appliance.ts',
      'agent/wiring/doctor.ts',
      'agent/wiring/fence.ts',
      'agent/wiring/metrics-secrets.ts',
      'agent/wiring/notices.ts',
      // Whether a root is there, and how much room.
      'agent/wiring/takeover/facts.ts',
    ]);
  });

  it('has no exception that nobody needs', () => {
    const used = new Set(results.flatMap((result) => result.used));
    expect(exceptions.filter((exception) => !used.has(exception))).toEqual([]);
  });
});

describe('the import rule refuses', () => {
  it.each([
    ['protocol importing the agent', 'protocol/a.ts', `import type { Log } from '../agent/platform/log.ts';`],
    ['the platform importing a middle room', 'agent/platform/a.ts', `import type { B } from '../journal/b.ts';`],
    ['a middle room importing a value of another', 'agent/journal/a.ts', `import { b } from '../delta/b.ts';`],
    ['a value import whose names are all types', 'agent/journal/a.ts', `import { type B } from '../delta/b.ts';`],
    ['a middle room importing replication, even a type', 'agent/link/a.ts', `import type { B } from '../replicate/b.ts';`],
    ['replication importing the wiring', 'agent/replicate/a.ts', `import type { B } from '../wiring/b.ts';`],
    ['a tool importing the wiring', 'tools/cli/a.ts', `import { b } from '../../agent/wiring/b.ts';`],
    ['the wiring importing main', 'agent/wiring/a.ts', `import { b } from '../main.ts';`],
    ['replication importing main', 'agent/replicate/a.ts', `import { b } from '../main.ts';`],
    ['failover importing a value of replication', 'agent/failover/a.ts', `import { b } from '../replicate/b.ts';`],
    ['the agent importing a tool', 'agent/main.ts', `import { b } from '../tools/cli/b.ts';`],
    ['a tool importing the agent', 'tools/cli/main.ts', `import { b } from '../../agent/main.ts';`],
    ['a tool importing a type of the agent', 'tools/cli/a.ts', `import type { B } from '../../agent/config/config.ts';`],
    ['product code importing a test', 'tools/cli/a.ts', `import { b } from '../../test/lab/b.ts';`],
    ['a dynamic import', 'agent/journal/a.ts', `const b = await import('../delta/b.ts');`],
    ['a dynamic import that is computed', 'agent/journal/a.ts', `const b = await import(name);`],
    ['a type of an import', 'protocol/a.ts', `export type B = import('../agent/platform/log.ts').Log;`],
    ['a re-export', 'agent/journal/a.ts', `export { b } from '../delta/b.ts';`],
    ['a re-export of everything', 'agent/journal/a.ts', `export * from '../delta/b.ts';`],
    ['a side effect', 'agent/journal/a.ts', `import '../delta/b.ts';`],
    ['a worker in another room', 'agent/link/a.ts', `const url = new URL('../capture/b.ts', import.meta.url);`],
    ['files in the journal', 'agent/journal/a.ts', `import { readFileSync } from 'node:fs';`],
    ['files without the node: prefix', 'agent/delta/a.ts', `import fs from 'fs';`],
    ['a process in replication', 'agent/replicate/a.ts', `import { spawn } from 'node:child_process';`],
    ['timers by import', 'agent/history/a.ts', `import { setTimeout } from 'node:timers/promises';`],
    ['files in capture outside the watchers', 'agent/capture/settle.ts', `import { readdirSync } from 'node:fs';`],
    ['random bytes', 'agent/delta/a.ts', `import { createHash, randomBytes } from 'node:crypto';`],
    ['lmdb outside the platform', 'agent/journal/a.ts', `import { open } from 'lmdb';`],
    ['a room that is not known', 'agent/helpers/a.ts', ``],
    ['the wall clock', 'agent/replicate/a.ts', `const now = Date.now();`],
    ['the wall clock by constructor', 'agent/replicate/a.ts', `const now = new Date();`],
    ['randomness', 'agent/delta/a.ts', `const r = Math.random();`],
    ['a timer', 'agent/replicate/a.ts', `setTimeout(() => {}, 10);`],
    ['a timer in an object', 'agent/replicate/a.ts', `const clock = { setTimeout };`],
    ['the monotonic clock', 'agent/journal/a.ts', `const t = performance.now();`],
    ['the process', 'agent/mailstore/a.ts', `const home = process.env['HOME'];`],
  ])('%s', (_what, file, source) => {
    expect(breaches(file, source).breaches).toHaveLength(1);
  });
});

describe('the import rule allows', () => {
  it.each([
    ['a lower room', 'agent/replicate/a.ts', `import { b } from '../journal/b.ts'; import { c } from '../../protocol/c.ts';`],
    ['a type of a room beside', 'agent/journal/a.ts', `import type { B } from '../delta/b.ts'; export type { C } from '../link/c.ts';`],
    [
      'everything of ours in main',
      'agent/main.ts',
      `import { a } from './replicate/a.ts'; import { b } from './link/b.ts'; import fs from 'node:fs';`,
    ],
    ['the wiring in main', 'agent/main.ts', `import { a } from './wiring/a.ts';`],
    [
      'everything below it in the wiring',
      'agent/wiring/a.ts',
      `import { a } from '../replicate/a.ts'; import { b } from '../link/b.ts'; import { mkdirSync } from 'node:fs';`,
    ],
    ['hashing', 'agent/journal/a.ts', `import { createHash } from 'node:crypto';`],
    ['a type of the outside', 'agent/replicate/a.ts', `import type { Server } from 'node:net';`],
    ['an import in a comment or a string', 'protocol/a.ts', `// import '../agent/main.ts'\nexport const s = "import '../agent/main.ts'";`],
    [
      'a member that has the name of a global',
      'agent/replicate/a.ts',
      `clock.setTimeout(f); const o = { process: 1 }; o.process; interface P { performance: number }`,
    ],
    ['a timer in capture', 'agent/capture/walk.ts', `setImmediate(next);`],
    ['a date that is computed', 'agent/observe/a.ts', `new Date(ms).toISOString();`],
  ])('%s', (_what, file, source) => {
    expect(breaches(file, source).breaches).toEqual([]);
  });

  it('and sees each import once', () => {
    expect(inspect('a.ts', `import { a, type B } from './a.ts';\nimport type { C } from './c.ts';`).references).toEqual([
      { specifier: './a.ts', isTypeOnly: false, names: ['a', 'B'], line: 1 },
      { specifier: './c.ts', isTypeOnly: true, names: ['C'], line: 2 },
    ]);
  });
});
