import { join } from 'node:path';
import { run, top } from './run.mjs';

// `npm run bench`: replication by the built bench, then what a client sees of a takeover, which needs root.
const args = process.argv.slice(2);
const at = args.indexOf('--only');
const only = at < 0 ? null : (args[at + 1] ?? '').split(',');
const rest = (only ?? []).filter((name) => name !== 'takeover');
let code = 0;
if (only === null) code = run(process.execPath, [join(top, 'dist/tools/bench/main.js'), ...args]);
else if (rest.length > 0 || only.length === 0)
  code = run(process.execPath, [join(top, 'dist/tools/bench/main.js'), ...args.with(at + 1, rest.join(','))]);
const isWanted = (only === null && !args.some((arg) => arg === '--help' || arg === '-h')) || only?.includes('takeover') === true;
if (code === 0 && isWanted) {
  if (process.getuid?.() === 0)
    code = run(process.execPath, ['--import', 'tsx', join(top, 'test/bench/takeover.ts'), ...(args.includes('--quick') ? ['2000'] : [])]);
  else process.stdout.write('Not root: the takeover, which needs network namespaces, is not measured.\n');
}
process.exitCode = code;
