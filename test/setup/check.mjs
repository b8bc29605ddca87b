import { ensureNodeModules } from './node-modules.mjs';
import { run, runNodeSteps } from './run.mjs';
import { staticSteps, vitest } from './steps.mjs';

// `npm run check`: what a developer runs before each commit; seconds. Tests named *.slow.test.ts are left to `npm test`.
if (!ensureNodeModules()) process.exit(1);
const failed = await runNodeSteps(staticSteps);
const projects = ['--project', 'unit', '--project', 'contract'];
if (run(process.execPath, [vitest, 'run', '--reporter=dot', ...projects, '--exclude', '**/*.slow.test.ts']) !== 0) failed.push('tests');
process.stdout.write(failed.length === 0 ? 'check passed\n' : `check failed: ${failed.join(', ')}\n`);
process.exitCode = failed.length === 0 ? 0 : 1;
