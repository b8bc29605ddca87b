import { join } from 'node:path';
import { run, top } from './run.mjs';

// `npm run bench`: replication by the built bench, then how long an agent stands still in what is hard for it, and what a client sees of
// a takeover. These are measured with the tests' own means; the last one needs root.
const args = process.argv.slice(2);
const at = args.indexOf('--only');
const only = at < 0 ? null : (args[at + 1] ?? '').split(',');
const isQuick = args.includes('--quick');
const isHelp = args.some((arg) => arg === '--help' || arg === '-h');
const own = ['standstill', 'takeover'];
const rest = (only ?? []).filter((name) => !own.includes(name));
/** @param {string} name */
const isWanted = (name) => (only === null && !isHelp) || only?.includes(name) === true;
/** @param {string} name @param {string[]} parameters */
const bench = (name, ...parameters) => run(process.execPath, ['--import', 'tsx', join(top, 'test/bench', name), ...parameters]);
let code = 0;
if (only === null) code = run(process.execPath, [join(top, 'dist/tools/bench/main.js'), ...args]);
else if (rest.length > 0 || only.length === 0)
  code = run(process.execPath, [join(top, 'dist/tools/bench/main.js'), ...args.with(at + 1, rest.join(','))]);
if (code === 0 && isWanted('standstill')) code = bench('standstill.ts', ...(isQuick ? ['0.05'] : []));
if (code === 0 && isWanted('takeover')) {
  if (process.getuid?.() === 0) code = bench('takeover.ts', ...(isQuick ? ['2000'] : []));
  else process.stdout.write('Not root: the takeover, which needs network namespaces, is not measured.\n');
}
process.exitCode = code;
